/**
 * Keeps house among rotated files: no more of them than wanted, and those
 * compressed. It goes by what lies in the folder, so it also picks up what an
 * earlier run left, and removes what that run had only half compressed.
 *
 * 1. A rotated file `F` is compressed to `F.gz.tmp` in a Worker.
 * 2. `F.gz.tmp` is put on the disk and gets the name `F.gz`.
 * 3. `F` is removed.
 *
 * So a name that ends in `.gz` is always a whole file, and whatever ends the
 * process in between, one of `F` and `F.gz` has all the bytes.
 */
import { basename, dirname, join } from "@std/path";
import type { OperationError } from "../../errors.ts";
import { fileError } from "./file_error.ts";
import { parseRotatedName, splitNameSides } from "./log_name.ts";
import { workerModuleUnreadable } from "../../worker_module.ts";

const WORKER_MODULE = import.meta.resolve("./gzip_worker.ts");

/** Options of {@linkcode RotatedFiles}. */
export interface RotatedFilesOptions {
  /** The log file whose rotated files these are. */
  path: string;
  /** Whether it is split: then its name stands for those of all addresses. */
  split: boolean;
  /** How many rotated files of each log file to keep, the youngest. Default: all. */
  keep?: number | undefined;
  /** Whether they are compressed. */
  gzip: boolean;
  /** Called where a file could not be compressed or removed; it is tried again after the next rotation. */
  onError: (error: OperationError) => void;
}

/** Which file to compress into which one. */
export interface GzipRequest {
  /** The file to read. */
  source: string;
  /** The file to write. */
  target: string;
}

/** How it went: the error's text and name, or neither. */
export interface GzipAnswer {
  /** What went wrong. */
  error?: string;
  /** The system's name of it. */
  code?: string;
}

/** A rotated file, in whichever of its forms are there. */
interface RotatedFile {
  name: string;
  order: string;
  plain: boolean;
  compressed: boolean;
}

/** Removes and compresses rotated files. */
export class RotatedFiles {
  readonly #options: RotatedFilesOptions;
  readonly #folder: string;
  /** Files that could not be compressed in this round. */
  readonly #failed = new Set<string>();
  #running: Promise<void> | undefined;
  #again = false;
  #closed = false;
  #worker: Worker | undefined;
  #partial: string | undefined;
  #abort: (() => void) | undefined;

  constructor(options: RotatedFilesOptions) {
    this.#options = options;
    this.#folder = dirname(options.path);
  }

  /** Looks through the folder now, or once more after the look under way. */
  tidy(): void {
    this.#again = true;
    this.#failed.clear();
    this.#running ??= this.#run();
  }

  /** Resolves when nothing is left to do. */
  async settled(): Promise<void> {
    await this.#running;
  }

  /** Ends at once; what was half compressed is removed, and its source is left for the next run. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#abort?.();
    await this.#running;
  }

  async #run(): Promise<void> {
    try {
      while (this.#again && !this.#closed) {
        this.#again = false;
        const next = await this.#cleanUp();
        if (next === undefined || this.#closed) continue;
        await this.#compress(next);
        // Others may have come or gone meanwhile.
        this.#again = true;
      }
    } finally {
      this.#worker?.terminate();
      this.#worker = undefined;
      this.#running = undefined;
    }
  }

  /** Removes what is too old or broken off, and finds the oldest file to compress. */
  async #cleanUp(): Promise<string | undefined> {
    const { keep = Infinity, gzip } = this.#options;
    let oldest: RotatedFile | undefined;
    try {
      for (const files of (await this.#list()).values()) {
        files.sort((a, b) => a.order < b.order ? -1 : 1);
        for (const [i, file] of files.entries()) {
          if (i < files.length - keep) {
            this.#remove(file.name, file.plain);
            this.#remove(`${file.name}.gz`, file.compressed);
          } else if (file.compressed) this.#remove(file.name, file.plain);
          else if (
            gzip && !this.#failed.has(file.name) &&
            (oldest === undefined || file.order < oldest.order)
          ) oldest = file;
        }
      }
    } catch (cause) {
      this.#options.onError(fileError("tidy", this.#folder, cause));
      return undefined;
    }
    return oldest?.name;
  }

  /** Rotated files by the file that they were; half compressed ones are removed on the way. */
  async #list(): Promise<Map<string, RotatedFile[]>> {
    const found = new Map<string, Map<string, RotatedFile>>();
    for await (const entry of Deno.readDir(this.#folder)) {
      const parsed = entry.isFile ? parseRotatedName(entry.name) : undefined;
      if (parsed === undefined || !this.#isOurs(parsed.base)) continue;
      if (parsed.partial) {
        this.#remove(entry.name, true);
        continue;
      }
      const { base, order, compressed } = parsed;
      const files = found.get(base) ?? new Map<string, RotatedFile>();
      found.set(base, files);
      const file = files.get(order) ?? {
        name: compressed ? entry.name.slice(0, -3) : entry.name,
        order,
        plain: false,
        compressed: false,
      };
      files.set(order, file);
      if (compressed) file.compressed = true;
      else file.plain = true;
    }
    return new Map(
      [...found].map(([base, files]) => [base, [...files.values()]]),
    );
  }

  #isOurs(base: string): boolean {
    const name = basename(this.#options.path);
    if (!this.#options.split) return base === name;
    const [before, after] = splitNameSides(name);
    return base.startsWith(before) && base.endsWith(after) &&
      /_\d{1,5}$/.test(base.slice(before.length, base.length - after.length));
  }

  #remove(name: string, there: boolean): void {
    if (!there) return;
    const path = join(this.#folder, name);
    try {
      Deno.removeSync(path);
    } catch (cause) {
      if (cause instanceof Deno.errors.NotFound) return;
      this.#options.onError(fileError("remove", path, cause));
    }
  }

  async #compress(name: string): Promise<void> {
    const source = join(this.#folder, name);
    this.#partial = `${source}.gz.tmp`;
    try {
      await this.#gzip(source, this.#partial);
      Deno.renameSync(this.#partial, `${source}.gz`);
      Deno.removeSync(source);
    } catch (cause) {
      this.#failed.add(name);
      this.#remove(basename(this.#partial), true);
      if (!this.#closed) {
        this.#options.onError(fileError("compress", source, cause));
      }
    } finally {
      this.#partial = undefined;
    }
  }

  /** Has the Worker compress one file; rejects where it cannot or must not any more. */
  #gzip(source: string, target: string): Promise<void> {
    // Deno would write a report of its own to stderr.
    const unreadable = workerModuleUnreadable(WORKER_MODULE);
    if (unreadable) return Promise.reject(new Error(unreadable));
    this.#worker ??= new Worker(WORKER_MODULE, { type: "module" });
    const worker = this.#worker;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#abort = () => reject(new Error("the end came before it was done"));
    worker.onmessage = ({ data }: MessageEvent<GzipAnswer>) => {
      if (data.error === undefined) resolve();
      else reject(Object.assign(new Error(data.error), { code: data.code }));
    };
    worker.onerror = (event) => {
      event.preventDefault();
      this.#worker = undefined;
      reject(new Error(event.message));
    };
    const request: GzipRequest = { source, target };
    worker.postMessage(request);
    return promise.finally(() => {
      this.#abort = undefined;
      if (this.#closed) {
        worker.terminate();
        this.#worker = undefined;
      }
    });
  }
}
