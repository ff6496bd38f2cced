/**
 * One log file: takes whole datagrams and writes them at its end with as few
 * system calls as possible.
 *
 * 1. `append` gathers small runs of datagrams; a large run goes to the file
 *    from where it lies, behind what was gathered.
 * 2. `writeOut` hands the gathered bytes on.
 * 3. Every write first makes room: a file that is full or whose time is over
 *    is rotated, always between two datagrams.
 * 4. A write that fails leaves whole datagrams in the file: the part of the
 *    last one is cut off again or, where the file cannot be cut, completed by
 *    the next write that succeeds.
 * 5. What was not written stays gathered for `retry`; what does not fit there
 *    any more is dropped and counted by reason.
 */
import { OperationError } from "../../errors.ts";
import type { CounterBlock } from "../../observe/counters.ts";
import { DatagramRuns } from "./datagram_runs.ts";
import { fileError } from "./file_error.ts";
import { FileState } from "./file_state.ts";
import { rotatedName } from "./log_name.ts";

/** What log files count, in the order of their slots. */
export const LOG_COUNTERS = [
  "writtenDatagrams",
  "writtenBytes",
  "droppedDiskFullDatagrams",
  "droppedDiskFullBytes",
  "droppedWriteErrorDatagrams",
  "droppedWriteErrorBytes",
  "writeErrors",
  "rotations",
  "rotationErrors",
  "syncErrors",
] as const;

/** One of {@linkcode LOG_COUNTERS}. */
export type LogCounter = typeof LOG_COUNTERS[number];

const Slot = {
  writtenDatagrams: 0,
  writtenBytes: 1,
  diskFullDatagrams: 2,
  writeErrorDatagrams: 4,
  writeErrors: 6,
  rotations: 7,
  rotationErrors: 8,
  syncErrors: 9,
} as const;

/** Bytes that a file gathers: at least one datagram of any format. */
export const GATHER_BYTES: number = 512 * 1024;

/** Runs from this size on are not worth a copy. */
const DIRECT_BYTES = 16 * 1024;

/** Runs of datagrams that a file gathers. */
const GATHER_RUNS = 8192;

/** How long a rotation that failed is not tried again, in milliseconds. */
const ROTATION_PAUSE_MS = 1000;

/** Whether others may write to the file as well. */
export type FileLock = "exclusive" | "shared";

/** When a file is rotated. */
export interface RotationOptions {
  /** A file takes no datagram that would make it larger than this. */
  maxBytes?: number | undefined;
  /** A file takes what comes within one interval; they start at multiples of it since 1970, UTC. */
  intervalMs?: number | undefined;
}

/** What befell a file. */
export interface AppendFileEvents {
  /** A write failed, for the first time since one succeeded. */
  onError: (error: OperationError) => void;
  /** A write succeeded again. */
  onRecovered: () => void;
  /** A file got the name `rotated`, in the same folder. */
  onRotated: (rotated: string) => void;
  /** The file could not be rotated: it goes on growing. */
  onRotationError: (error: OperationError) => void;
  /** The file was removed, and its path opened anew. */
  onRemoved: () => void;
}

/** Memory in which a file gathers; one file after another may use it. */
export class GatherMemory {
  /** The gathered bytes. */
  readonly bytes: Uint8Array<ArrayBuffer> = new Uint8Array(GATHER_BYTES);
  /** Where the datagrams in them end. */
  readonly runs: DatagramRuns = new DatagramRuns(GATHER_RUNS);
}

/** Options of an {@linkcode AppendFile}. */
export interface AppendFileOptions extends RotationOptions {
  /** Where the file is. */
  path: string;
  /** Whether a failed write is tried again; else the first one ends the file. */
  retry: boolean;
  /** Whether a line that an earlier run left unfinished is ended first. */
  lines?: boolean;
  /** Whether a rotated file is on the disk before the next one begins. */
  syncRotated?: boolean;
  /** Where it counts. */
  counters: CounterBlock<LogCounter>;
  /** What it tells. */
  events: AppendFileEvents;
  /**
   * The lock to hold on the file. Default: none. A rotated file is compressed
   * and removed, so one process alone may write to a path that it rotates.
   */
  lock?: FileLock | undefined;
  /** State shared with other writers of the file. Default: an own one. */
  state?: FileState | undefined;
  /** Memory that no other open file uses. Default: new memory. */
  memory?: GatherMemory | undefined;
  /** Milliseconds since 1970. */
  now: () => number;
}

/** Appends whole datagrams to a file. */
export class AppendFile {
  /** Where the file is. */
  readonly path: string;
  /** Free for another file when this one is closed. */
  readonly memory: GatherMemory;
  readonly #options: AppendFileOptions;
  readonly #slots: Float64Array;
  readonly #state: FileState;
  readonly #gathered: Uint8Array<ArrayBuffer>;
  readonly #runs: DatagramRuns;
  /** The one run of a large write. */
  readonly #direct = new DatagramRuns(1);
  #used = 0;
  #file: Deno.FsFile | undefined;
  #generation = 0;
  #regular = true;
  /** Whether the first of the gathered bytes end a datagram that the file has a part of. */
  #unfinished = false;
  #failure: OperationError | undefined;
  #ended = false;
  #unsynced = false;
  #rotateAfterMs = 0;
  #lastRotationMs = -Infinity;

  constructor(options: AppendFileOptions) {
    this.path = options.path;
    this.#options = options;
    this.#slots = options.counters.slots;
    this.#state = options.state ?? new FileState();
    this.memory = options.memory ?? new GatherMemory();
    this.#gathered = this.memory.bytes;
    this.#runs = this.memory.runs;
  }

  /** What keeps it from writing, while something does. */
  get failure(): OperationError | undefined {
    return this.#failure;
  }

  /** Opens the file, or throws an OperationError. Without it, the first write opens it. */
  open(): void {
    this.#state.lock();
    try {
      this.#reopen();
    } finally {
      this.#state.unlock();
    }
  }

  /** Takes a run of whole datagrams, each `size` bytes but the last one. Does not throw. */
  append(datagrams: Uint8Array<ArrayBuffer>, size: number): void {
    const length = datagrams.length;
    if (length >= DIRECT_BYTES && this.#failure === undefined) {
      if (this.writeOut()) {
        this.#direct.clear();
        this.#direct.add(length, size);
        const done = this.#write(datagrams, this.#direct);
        if (done < length) this.#keepRest(datagrams, done);
        return;
      }
    } else if (length > GATHER_BYTES - this.#used || this.#runs.full) {
      if (this.#failure === undefined) this.writeOut();
    }
    if (
      length <= GATHER_BYTES - this.#used && !this.#runs.full && !this.#ended
    ) {
      this.#gathered.set(datagrams, this.#used);
      this.#used += length;
      this.#runs.add(length, size);
    } else this.#dropRun(length, size);
  }

  /** Writes what was gathered; whether nothing is left. Does not throw. */
  writeOut(): boolean {
    if (this.#runs.count === 0) return true;
    if (this.#failure !== undefined) return false;
    return this.#writeGathered();
  }

  /** Tries again what failed; whether it succeeded. */
  retry(): boolean {
    return !this.#ended && this.#writeGathered();
  }

  /** Has the path opened anew by the next write: another program has renamed the file. */
  reopen(): void {
    if (!this.writeOut()) return;
    this.#state.lock();
    this.#state.generation++;
    this.#state.unlock();
  }

  /** Lets go of a file that another thread has rotated, or another program renamed. */
  follow(): void {
    if (this.#file === undefined || this.#failure !== undefined) return;
    if (this.#generation === this.#state.generation) return;
    this.#state.lock();
    try {
      this.#followRotation();
    } catch (cause) {
      this.#fail(cause);
    } finally {
      this.#state.unlock();
    }
  }

  /** Opens the path anew where the open file has no name any more: nobody could read it. */
  reopenIfRemoved(): void {
    if (this.#file === undefined || this.#failure !== undefined) return;
    if (!this.#regular || this.#unfinished) return;
    this.#state.lock();
    try {
      if (this.#file.statSync().nlink !== 0) return;
      this.#reopenMoved();
      this.#options.events.onRemoved();
    } catch (cause) {
      this.#fail(cause);
    } finally {
      this.#state.unlock();
    }
  }

  /** Rotates the file where its interval is over, written to or not. */
  rotateIfOver(): void {
    if (!this.writeOut() || this.#file === undefined) return;
    this.#state.lock();
    try {
      this.#followRotation();
      if (this.#intervalIsOver()) this.#rotate();
    } catch (cause) {
      this.#fail(cause);
    } finally {
      this.#state.unlock();
    }
  }

  /** Has the system put what was written here on the disk, and waits for it. */
  sync(): void {
    if (this.#unsynced) this.#syncAll();
  }

  /** The same for what all threads have written, without holding up this one. */
  async syncLater(): Promise<void> {
    if (!this.#state.unsynced) return;
    this.follow();
    const file = this.#file;
    if (file === undefined) return;
    this.#state.unsynced = false;
    this.#unsynced = false;
    // Written after the flag fell, it rises again; written to a file that was
    // rotated meanwhile, the rotation has synced it.
    if (this.#generation !== this.#state.generation) {
      this.#state.unsynced = true;
    }
    try {
      await file.syncData();
    } catch (cause) {
      // A file that was rotated meanwhile is closed, and was synced before.
      if (file === this.#file) this.#syncFailed(cause);
    }
  }

  /** Tries once more what is left, drops what cannot be written, and closes the file. */
  close(): void {
    if (this.#runs.count > 0 && !this.#ended) this.#writeGathered();
    this.#dropGathered();
    this.#file?.close();
    this.#file = undefined;
  }

  #writeGathered(): boolean {
    const done = this.#write(this.#gathered, this.#runs);
    if (done === this.#used && this.#failure === undefined) {
      this.#used = 0;
      this.#runs.clear();
      return true;
    }
    this.#gathered.copyWithin(0, done, this.#used);
    this.#used -= done;
    this.#runs.dropFront(done);
    if (this.#ended) this.#dropGathered();
    return false;
  }

  /** Writes runs of datagrams, and says how many of their bytes are in the file for good. */
  #write(bytes: Uint8Array<ArrayBuffer>, runs: DatagramRuns): number {
    const length = runs.byteLength;
    let done = 0;
    this.#state.lock();
    try {
      if (this.#file === undefined) this.#reopen();
      else this.#followRotation();
      while (done < length) {
        const end = this.#roomFor(runs, done, length);
        while (done < end) done += this.#writeSome(bytes, done, end);
        this.#unfinished = false;
      }
      this.#recovered();
    } catch (cause) {
      done = this.#cutOff(runs, done);
      this.#fail(cause);
    } finally {
      this.#state.unlock();
    }
    this.#slots[Slot.writtenBytes]! += done;
    this.#slots[Slot.writtenDatagrams]! += runs.datagramsBefore(done);
    return done;
  }

  /** Where the next write ends: behind the datagrams that the file has room for, after a rotation where it has none. */
  #roomFor(runs: DatagramRuns, done: number, length: number): number {
    const { maxBytes } = this.#options;
    if (this.#unfinished) return runs.nextBoundary(done);
    if (this.#intervalIsOver()) this.#rotate();
    if (maxBytes === undefined) return length;
    const end = runs.boundary(done + maxBytes - this.#state.size);
    if (end > done) return end;
    // Not even one datagram: only an empty file takes one that is too large,
    // and a file that cannot be rotated takes them all.
    if (this.#state.size === 0) return runs.nextBoundary(done);
    return this.#rotate() ? this.#roomFor(runs, done, length) : length;
  }

  #writeSome(bytes: Uint8Array<ArrayBuffer>, from: number, to: number): number {
    const whole = from === 0 && to === bytes.length;
    const piece = whole ? bytes : bytes.subarray(from, to);
    let written: number;
    try {
      written = this.#file!.writeSync(piece);
    } catch (error) {
      // The system call was interrupted by a signal before it wrote: EINTR.
      if (error instanceof Deno.errors.Interrupted) return 0;
      throw error;
    }
    if (written === 0) throw new Error("the file takes no bytes");
    this.#state.size += written;
    this.#unsynced = true;
    this.#state.unsynced = true;
    return written;
  }

  /** After a failed write: takes the part of a datagram off the file again, where that can be done. */
  #cutOff(runs: DatagramRuns, done: number): number {
    const boundary = runs.boundary(done);
    const part = done - boundary;
    if (part === 0 || this.#unfinished) return done;
    try {
      // Another program may have appended behind the part: then it stays.
      if (this.#regular && this.#file!.statSync().size === this.#state.size) {
        this.#file!.truncateSync(this.#state.size - part);
        this.#state.size -= part;
        return boundary;
      }
    } catch {
      // The failure that led here is reported; the part is completed later.
    }
    this.#unfinished = true;
    return done;
  }

  #fail(cause: unknown): void {
    this.#slots[Slot.writeErrors]!++;
    const first = this.#failure === undefined;
    this.#failure = fileError("write to", this.path, cause);
    if (!this.#options.retry) this.#ended = true;
    if (first) this.#options.events.onError(this.#failure);
  }

  #recovered(): void {
    if (this.#failure === undefined) return;
    this.#failure = undefined;
    this.#options.events.onRecovered();
  }

  /** Keeps the rest of a large run for `retry`: nothing else is gathered then. */
  #keepRest(datagrams: Uint8Array<ArrayBuffer>, done: number): void {
    this.#direct.dropFront(done);
    this.#gathered.set(datagrams.subarray(done), 0);
    this.#used = datagrams.length - done;
    const first = this.#direct.nextBoundary(0);
    this.#runs.add(first, first);
    if (first < this.#used) {
      const second = this.#direct.nextBoundary(first) - first;
      this.#runs.add(this.#used - first, second);
    }
    if (this.#ended) this.#dropGathered();
  }

  #dropGathered(): void {
    if (this.#runs.count === 0) return;
    this.#countDropped(this.#runs.datagramsBefore(Infinity), this.#used);
    this.#used = 0;
    this.#runs.clear();
  }

  #dropRun(length: number, size: number): void {
    this.#direct.clear();
    this.#direct.add(length, size);
    this.#countDropped(this.#direct.datagramsBefore(Infinity), length);
  }

  #countDropped(datagrams: number, bytes: number): void {
    const slot = isDiskFull(this.#failure)
      ? Slot.diskFullDatagrams
      : Slot.writeErrorDatagrams;
    this.#slots[slot]! += datagrams;
    this.#slots[slot + 1]! += bytes;
  }

  #syncAll(): void {
    if (this.#file === undefined) return;
    this.#unsynced = false;
    try {
      this.#file.syncDataSync();
    } catch (cause) {
      this.#syncFailed(cause);
    }
  }

  #syncFailed(cause: unknown): void {
    this.#slots[Slot.syncErrors]!++;
    this.#fail(cause);
  }

  // The functions below run while the state is locked.

  #reopen(): void {
    const file = openAppending(this.path);
    const { isFile, size, mtime } = file.statSync();
    if (isFile) this.#lock(file);
    this.#file?.close();
    this.#file = file;
    this.#generation = this.#state.generation;
    this.#regular = isFile;
    this.#state.size = isFile ? size : 0;
    this.#state.period = this.#periodOf(
      size > 0 && mtime ? mtime.getTime() : this.#options.now(),
    );
    if (this.#options.lines && isFile && size > 0) this.#endLine(size);
  }

  /** Locks a file that is to replace the open one; closes it and throws where another process has it. */
  #lock(file: Deno.FsFile): void {
    const { lock } = this.#options;
    if (lock === undefined) return;
    // They may be one file, and its lock is held by this process.
    if (this.#file) unlock(this.#file);
    if (tryLock(file, lock)) return;
    file.close();
    if (this.#file) tryLock(this.#file, lock);
    throw new OperationError(
      `cannot log to "${this.path}": another process writes to it, and ${
        lock === "exclusive" ? "this one" : "that one"
      } rotates it; use another path`,
      { code: "EWOULDBLOCK" },
    );
  }

  /** Opens the path anew, for all threads, where another program has moved or removed the file. */
  #reopenMoved(): void {
    this.#reopen();
    this.#generation = ++this.#state.generation;
  }

  #isAtPath(): boolean {
    try {
      const { dev, ino } = this.#file!.statSync();
      const there = Deno.statSync(this.path);
      return there.dev === dev && there.ino === ino;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return false;
      throw error;
    }
  }

  /** Opens the path anew where the file has another name by now. */
  #followRotation(): void {
    if (this.#generation === this.#state.generation) return;
    // The end of a datagram belongs where its start is.
    if (this.#unfinished) return;
    if (this.#options.syncRotated) this.sync();
    this.#reopen();
  }

  /** A line that a killed run left unfinished must not take the next datagram into itself. */
  #endLine(size: number): void {
    const last = new Uint8Array(1);
    try {
      using reader = Deno.openSync(this.path);
      reader.seekSync(size - 1, Deno.SeekMode.Start);
      reader.readSync(last);
    } catch {
      // A file that may not be read cannot be looked at.
      return;
    }
    if (last[0] !== NEWLINE) this.#writeSome(NEWLINE_BYTES, 0, 1);
  }

  #periodOf(timeMs: number): number {
    const { intervalMs } = this.#options;
    return intervalMs === undefined ? 0 : Math.floor(timeMs / intervalMs);
  }

  #intervalIsOver(): boolean {
    const { intervalMs, now } = this.#options;
    if (intervalMs === undefined || this.#unfinished) return false;
    const period = this.#periodOf(now());
    if (period === this.#state.period) return false;
    if (this.#state.size > 0) return true;
    this.#state.period = period;
    return false;
  }

  /** Gives the file its rotated name and begins a new one; whether that was done. */
  #rotate(): boolean {
    const { now, events, syncRotated } = this.#options;
    const nowMs = now();
    if (nowMs < this.#rotateAfterMs || !this.#regular) return false;
    // What other threads have written, too.
    if (syncRotated) this.#syncAll();
    let rotated: string | undefined;
    try {
      if (!this.#isAtPath()) {
        this.#reopenMoved();
        return true;
      }
      rotated = this.#freeRotatedName(nowMs);
      Deno.renameSync(this.path, rotated);
      this.#reopen();
    } catch (cause) {
      this.#rotateAfterMs = nowMs + ROTATION_PAUSE_MS;
      this.#slots[Slot.rotationErrors]!++;
      if (rotated !== undefined) this.#undoRename(rotated);
      events.onRotationError(fileError("rotate", this.path, cause));
      return false;
    }
    this.#state.period = this.#periodOf(nowMs);
    this.#generation = ++this.#state.generation;
    this.#slots[Slot.rotations]!++;
    events.onRotated(rotated);
    return true;
  }

  /**
   * A clock that was set back must not put younger files before older ones, and
   * names of one millisecond would not sort like their numbers: the next free
   * millisecond is taken.
   */
  #freeRotatedName(nowMs: number): string {
    this.#lastRotationMs = Math.max(nowMs, this.#lastRotationMs + 1);
    for (;; this.#lastRotationMs++) {
      const name = rotatedName(this.path, this.#lastRotationMs);
      if (!exists(name) && !exists(`${name}.gz`)) return name;
    }
  }

  /** Without a new file the old one goes on, if possible under its name. */
  #undoRename(rotated: string): void {
    try {
      if (!exists(this.path) && exists(rotated)) {
        Deno.renameSync(rotated, this.path);
      }
    } catch {
      // The open handle still writes to it.
    }
  }
}

const NEWLINE = 10;
const NEWLINE_BYTES = new Uint8Array([NEWLINE]);

function isDiskFull(error: OperationError | undefined): boolean {
  return error?.code === "ENOSPC" || error?.code === "EDQUOT";
}

/** Locks as flock(2); whether it could. File systems without locks let everybody write. */
function tryLock(file: Deno.FsFile, lock: FileLock): boolean {
  // There, a lock keeps others from reading.
  if (Deno.build.os === "windows") return true;
  try {
    return file.tryLockSync(lock === "exclusive");
  } catch {
    return true;
  }
}

function unlock(file: Deno.FsFile): void {
  if (Deno.build.os === "windows") return;
  try {
    file.unlockSync();
  } catch {
    // Then there was none.
  }
}

function openAppending(path: string): Deno.FsFile {
  try {
    return Deno.openSync(path, { append: true, create: true });
  } catch (cause) {
    throw fileError("open", path, cause);
  }
}

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
