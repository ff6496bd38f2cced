/**
 * Ends a wait from outside, from any thread: an eventfd(2). Whoever opened it
 * closes it, after the threads that wait on its number have ended, so that the
 * number is never another file's.
 */
import type { Libc } from "./ffi/libc.ts";
import {
  clearEvent,
  closeDescriptor,
  openEvent,
  signalEvent,
} from "./ffi/socket.ts";

/** An event that ends a wait of `readable`, or the next one. */
export class WakeEvent implements Disposable {
  /** Its file descriptor: a number that another thread of this process can use. */
  readonly descriptor: number;
  readonly #libc: Libc;
  readonly #owned: boolean;
  readonly #release: () => void;
  #closed = false;

  /** A new event, or one that another thread has opened and will close. */
  constructor(
    libc: Libc,
    descriptor?: number,
    release: () => void = () => {},
  ) {
    this.#libc = libc;
    this.#owned = descriptor === undefined;
    this.#release = release;
    this.descriptor = descriptor ?? openEvent(libc);
  }

  /** Sets the event. */
  wake(): void {
    if (!this.#closed) signalEvent(this.#libc, this.descriptor);
  }

  /** Takes the event back. */
  clear(): void {
    clearEvent(this.#libc, this.descriptor);
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#owned) closeDescriptor(this.#libc, this.descriptor);
    this.#release();
  }
}
