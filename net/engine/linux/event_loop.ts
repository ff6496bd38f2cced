/**
 * Keeps Deno's own event loop awake for a moment where that pays (spin.ts says
 * when): a core that falls asleep costs some 25 µs to wake, twice in a message
 * there and back.
 *
 * Deno waits in epoll_wait(2), and an epoll instance can be polled itself: it
 * is readable while it has something to tell. So behind the last thing that a
 * turn of the loop does (setImmediate), its epoll is asked until there is
 * something, or for 50 µs; the loop's own wait then returns at once. A chain
 * of setImmediate alone asks too rarely: one turn in 61, or every 73 µs.
 */
import { setImmediate } from "node:timers";
import { linuxEngineUnavailable } from "./datagram/engine.ts";
import { POLLIN } from "./ffi/constants.ts";
import { type Libc, openLibc } from "./ffi/libc.ts";
import { PollPair } from "./ffi/poll.ts";
import { localAddress } from "./ffi/socket.ts";
import { Spin, SPIN_MS } from "./stream/busy_poll.ts";

/** What /proc says of a descriptor that is an epoll instance. */
const EPOLL_LINK = "anon_inode:[eventpoll]";

/** A turn with more events is a crowd's: the next ones are let pass unwatched. */
const CROWD = 4;
const UNWATCHED = 128;

/** Asks before the event loop sleeps. */
export class EventLoopSpin implements Disposable {
  /** How often it was asked, and how often that brought something. */
  asked = 0;
  found = 0;

  readonly #libc: Libc;
  readonly #epoll: PollPair;
  readonly #spinMs: number;
  readonly #spin = new Spin();
  /** Events of this turn of the loop. */
  #events = 0;
  #unwatched = 0;
  #closed = false;
  readonly #turnEnds = () => this.#ask();

  /** Of the epoll instance that this thread's event loop waits in. */
  constructor(libc: Libc, epoll: number, spinMs = SPIN_MS) {
    this.#libc = libc;
    this.#epoll = new PollPair(libc, epoll, POLLIN);
    this.#spinMs = spinMs;
  }

  /** Something was read in this turn of the loop. */
  happened(): void {
    if (this.#unwatched > 0) this.#unwatched--;
    else if (this.#events++ === 0) setImmediate(this.#turnEnds);
  }

  #ask(): void {
    const spin = this.#spin;
    spin.happened(this.#events);
    if (this.#events > CROWD) this.#unwatched = UNWATCHED;
    this.#events = 0;
    if (this.#closed || !spin.wanted()) return;
    const untilMs = performance.now() + this.#spinMs;
    let found: boolean;
    do found = this.#epoll.wait(0); while (
      !found && performance.now() < untilMs
    );
    this.asked++;
    if (found) this.found++;
    spin.asked(found ? 1 : 0);
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#libc[Symbol.dispose]();
  }
}

/**
 * For this thread's event loop, which is known by a listener of its own that
 * is bound to `port`. Undefined where it cannot be had: not Linux, FFI or
 * /proc not permitted (they want `--allow-ffi` and `--allow-all`), or one core
 * alone, which whoever answers would wait for.
 */
export function openEventLoopSpin(
  port: number,
  spinMs?: number,
): EventLoopSpin | undefined {
  if (
    navigator.hardwareConcurrency < 2 || linuxEngineUnavailable() !== undefined
  ) return undefined;
  const libc = openLibc();
  try {
    const epoll = epolls().find((epoll) =>
      watched(epoll).some((fd) => portOf(libc, fd) === port)
    );
    if (epoll !== undefined) return new EventLoopSpin(libc, epoll, spinMs);
  } catch {
    // /proc may not be read.
  }
  libc[Symbol.dispose]();
  return undefined;
}

/** The epoll instances of this process. */
function epolls(): number[] {
  return Array.from(Deno.readDirSync("/proc/self/fd"), ({ name }) => name)
    .filter((name) => linkOf(name) === EPOLL_LINK).map(Number);
}

function linkOf(fd: string): string | undefined {
  try {
    return Deno.readLinkSync(`/proc/self/fd/${fd}`);
  } catch {
    // Closed again: the one that the folder was read by.
    return undefined;
  }
}

/** Descriptors that an epoll instance watches: `tfd:  12 events: ...` (proc(5)). */
function watched(epoll: number): number[] {
  const info = Deno.readTextFileSync(`/proc/self/fdinfo/${epoll}`);
  return Array.from(info.matchAll(/^tfd:\s*(\d+)/gm), ([, fd]) => Number(fd));
}

function portOf(libc: Libc, fd: number): number | undefined {
  try {
    return localAddress(libc, fd).port;
  } catch {
    // No socket, or one of another family.
    return undefined;
  }
}
