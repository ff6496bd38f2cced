/**
 * Files that are written whole or not at all. The text goes to a new file in
 * the same folder, is flushed to the disk and then put in place (rename(2) is
 * atomic), so that whoever reads it finds all of the old or all of the new,
 * even after a power cut in the middle.
 */
import { dirname } from "@std/path";
import { errorText, OperationError } from "./errors.ts";
import { inTime } from "./in_time.ts";

/** Of a file that was not there before. */
const NEW_FILE_MODE = 0o640;

/** Permission bits of a mode. */
const PERMISSIONS = 0o777;

/** How long a write may take. */
const WRITE_MS = 10_000;

/** Writes a file; one that was there keeps its mode. Throws an OperationError. */
export async function writeFileAtomically(
  file: string,
  text: string,
): Promise<void> {
  // A name that nobody can have put a link at, and never one that is there (O_EXCL).
  const temporary = `${file}.${crypto.randomUUID()}.tmp`;
  try {
    await inTime(replace(file, temporary, text), WRITE_MS);
  } catch (cause) {
    // Not awaited: what hangs for the write hangs for this too.
    Deno.remove(temporary).catch(() => {});
    throw new OperationError(
      `Cannot save "${file}": ${errorText(cause)}`,
      { cause },
    );
  }
}

async function replace(
  file: string,
  temporary: string,
  text: string,
): Promise<void> {
  const mode = await modeOf(file);
  const handle = await Deno.open(temporary, {
    write: true,
    createNew: true,
    mode,
  });
  try {
    let bytes = new TextEncoder().encode(text);
    while (bytes.length > 0) {
      bytes = bytes.subarray(await handle.write(bytes));
    }
    // The umask has taken bits from the mode of open(2).
    if (Deno.build.os !== "windows") await Deno.chmod(temporary, mode);
    // The data before the name: a rename may reach the disk first.
    await handle.sync();
  } finally {
    handle.close();
  }
  await Deno.rename(temporary, file);
  await syncFolder(dirname(file));
}

async function modeOf(file: string): Promise<number> {
  try {
    const { mode, isFile } = await Deno.stat(file);
    return isFile && mode !== null ? mode & PERMISSIONS : NEW_FILE_MODE;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return NEW_FILE_MODE;
    throw error;
  }
}

/** Makes a rename last (fsync(2): the folder's entry is a change to the folder). */
async function syncFolder(folder: string): Promise<void> {
  if (Deno.build.os === "windows") return;
  const handle = await Deno.open(folder);
  try {
    await handle.sync();
  } finally {
    handle.close();
  }
}
