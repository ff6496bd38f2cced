/**
 * Sets the version of the library and of all role packages, which move together.
 *
 *     deno task version 1.2.3
 */
import { fromFileUrl, join } from "@std/path";

const ROOT = fromFileUrl(new URL("..", import.meta.url));
const VERSION_LINE = /("version": ")[^"]*(")/;

/** The manifests of all packages, the library's first. */
export async function manifestFiles(root: string = ROOT): Promise<string[]> {
  const library = join(root, "deno.json");
  const { workspace } = JSON.parse(await Deno.readTextFile(library));
  return [
    library,
    ...workspace.map((member: string) => join(root, member, "deno.json")),
  ];
}

/** Writes a version to all manifests; throws a TypeError where it is none. */
export async function setVersion(
  version: string,
  root: string = ROOT,
): Promise<void> {
  if (!/^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$/.test(version)) {
    throw new TypeError(`"${version}" is no version such as 1.2.3`);
  }
  for (const file of await manifestFiles(root)) {
    const text = await Deno.readTextFile(file);
    if (!VERSION_LINE.test(text)) {
      throw new TypeError(`"${file}" has no version`);
    }
    await Deno.writeTextFile(
      file,
      text.replace(VERSION_LINE, `$1${version}$2`),
    );
  }
}

if (import.meta.main) {
  const [version = "", ...rest] = Deno.args;
  try {
    if (rest.length > 0) throw new TypeError("one version is wanted");
    await setVersion(version);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    await Deno.stderr.write(
      new TextEncoder().encode(`version: ${error.message}\n`),
    );
    Deno.exit(2);
  }
}
