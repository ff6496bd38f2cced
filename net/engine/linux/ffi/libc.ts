/**
 * The one place where libc is opened. This folder is the room with pointers:
 * what it exports takes and gives numbers and typed arrays, and has no policy.
 *
 * Memory whose address C keeps beyond one call lies in an ArrayBuffer made
 * here or by the caller (never in the small arrays that V8 holds in its moving
 * heap) and is held by the object that owns the struct that points to it.
 */
import { OperationError } from "../../../errors.ts";
import { type LibcSymbols, SYMBOLS } from "./symbols.ts";

/** An opened libc. */
export interface Libc extends Disposable {
  /** The file that was opened. */
  readonly name: string;
  /** Its functions. */
  readonly symbols: LibcSymbols;
  /** errno as the last synchronous call of this thread has left it. */
  errno(): number;
}

/** Opens libc with the whole symbol table; a few milliseconds of native code are made. */
export function openLibc(): Libc {
  const name = findLibc();
  if (name === undefined) {
    throw new OperationError("Cannot open libc: no file of glibc or musl here");
  }
  const library = Deno.dlopen(name, SYMBOLS);
  const { symbols } = library;
  const location = symbols.__errno_location();
  if (location === null) {
    library.close();
    throw new OperationError(`Cannot use "${name}": errno has no address`);
  }
  // The address holds for the thread, and an isolate stays on its thread.
  const errno = new Int32Array(
    Deno.UnsafePointerView.getArrayBuffer(location, 4),
  );
  return {
    name,
    symbols,
    errno: () => errno[0]!,
    [Symbol.dispose]: () => library.close(),
  };
}

/**
 * The file name of this process's libc, or undefined. musl takes glibc's name
 * for itself; where a build does not, its file is looked for.
 */
export function findLibc(): string | undefined {
  if (opens("libc.so.6")) return "libc.so.6";
  for (const folder of ["/lib", "/usr/lib"]) {
    for (const file of filesIn(folder)) {
      const match = /^libc\.musl-(.+)\.so\.1$/.exec(file);
      const path = `${folder}/${file}`;
      if (match?.[1] === Deno.build.arch && opens(path)) return path;
    }
  }
  return undefined;
}

function opens(name: string): boolean {
  try {
    Deno.dlopen(name, {}).close();
    return true;
  } catch {
    return false;
  }
}

function filesIn(folder: string): string[] {
  try {
    return Array.from(Deno.readDirSync(folder), ({ name }) => name);
  } catch {
    // Not there, or not permitted to be read.
    return [];
  }
}

/** The address of memory that the caller keeps alive, as a number below 2^53. */
export function addressOf(memory: Uint8Array<ArrayBuffer>): number {
  const pointer = Deno.UnsafePointer.of(memory);
  return pointer === null ? 0 : Number(Deno.UnsafePointer.value(pointer));
}

/** Writes a 64-bit address as two 32-bit words, low word first. */
export function setAddress(
  words: Uint32Array,
  index: number,
  address: number,
): void {
  words[index] = address >>> 0;
  words[index + 1] = Math.floor(address / 0x1_0000_0000);
}
