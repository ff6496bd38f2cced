/** Files of a test, in a folder that goes when it ends. */
import { join } from "@std/path";
import { gunzipSync } from "node:zlib";
import { parseRotatedName } from "../../net/udp/file_log/log_name.ts";

/** A folder for as long as `fn` runs. */
export async function withFolder<Result>(
  fn: (folder: string) => Promise<Result>,
): Promise<Result> {
  const folder = await Deno.makeTempDir({ prefix: "mproxy-test-" });
  try {
    return await fn(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** A folder of a test's files, as long as its scope. */
export class TestFolder implements AsyncDisposable {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /** A new one. */
  static async create(): Promise<TestFolder> {
    return new TestFolder(await Deno.makeTempDir({ prefix: "mproxy-test-" }));
  }

  /** Writes a file; gives its path. */
  async file(name: string, content: Uint8Array | string): Promise<string> {
    const path = join(this.path, name);
    if (typeof content === "string") await Deno.writeTextFile(path, content);
    else await Deno.writeFile(path, content);
    return path;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Deno.remove(this.path, { recursive: true });
  }
}

/** The names in a folder, in order. */
export function namesIn(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
}

/** The content of a log's rotated files, unpacked, and of the present one, oldest first. */
export function readRotated(
  folder: string,
  name: string,
): Uint8Array<ArrayBuffer>[] {
  const rotated: { order: string; content: Uint8Array<ArrayBuffer> }[] = [];
  for (const entry of Deno.readDirSync(folder)) {
    const parsed = parseRotatedName(entry.name);
    if (parsed?.base !== name) continue;
    if (parsed.partial) throw new Error(`${entry.name} is half compressed`);
    const content = Deno.readFileSync(join(folder, entry.name));
    rotated.push({
      order: parsed.order,
      content: parsed.compressed
        ? new Uint8Array(gunzipSync(content))
        : content,
    });
  }
  rotated.sort((a, b) => a.order < b.order ? -1 : 1);
  return [
    ...rotated.map(({ content }) => content),
    Deno.readFileSync(join(folder, name)),
  ];
}

/** Resolves when a file whose name has this end is in a folder. */
export async function fileAppears(
  folder: string,
  end: string,
): Promise<string> {
  using watcher = Deno.watchFs(folder);
  const find = () => namesIn(folder).find((name) => name.endsWith(end));
  let found = find();
  if (found !== undefined) return found;
  for await (const _event of watcher) {
    found = find();
    if (found !== undefined) return found;
  }
  throw new Error(`The watch of "${folder}" ended`);
}
