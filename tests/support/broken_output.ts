/** Outputs that take nothing: a full disk, a pipe that nobody reads, a pipe whose reader left. */
import { join } from "@std/path";

/** What is wrong with an output. */
export type BrokenKind = "full disk" | "unread pipe" | "closed pipe";

/** All of them. */
export const BROKEN_KINDS: readonly BrokenKind[] = [
  "full disk",
  "unread pipe",
  "closed pipe",
];

/** Bytes that a pipe of Linux holds. */
const PIPE_BYTES = 65_536;

/** A path that a process can open for writing, and that then takes nothing. */
export class BrokenOutput implements Disposable {
  readonly kind: BrokenKind;
  readonly path: string;
  #reader: Deno.FsFile | undefined;

  private constructor(kind: BrokenKind, path: string, reader?: Deno.FsFile) {
    this.kind = kind;
    this.path = path;
    this.#reader = reader;
  }

  /** Makes one in a folder. */
  static async create(
    kind: BrokenKind,
    folder: string,
  ): Promise<BrokenOutput> {
    if (kind === "full disk") return new BrokenOutput(kind, "/dev/full");
    const path = join(folder, `pipe-${crypto.randomUUID()}`);
    await new Deno.Command("mkfifo", { args: [path] }).output();
    // Both ways: open(2) of a FIFO waits for the other end.
    const reader = await Deno.open(path, { read: true, write: true });
    if (kind === "unread pipe") {
      await reader.write(new Uint8Array(PIPE_BYTES));
    }
    return new BrokenOutput(kind, path, reader);
  }

  /** The reader of a closed pipe leaves, once the process has opened it. */
  opened(): void {
    if (this.kind === "closed pipe") this[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.#reader?.close();
    this.#reader = undefined;
  }
}
