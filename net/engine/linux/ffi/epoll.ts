/** epoll(7): which of many descriptors have something to tell. */
import {
  EINTR,
  EPOLL_CLOEXEC,
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLL_CTL_MOD,
} from "./constants.ts";
import { checked, SystemCallError } from "./errno.ts";
import type { Libc } from "./libc.ts";
import { EPOLL_EVENT } from "./structs.ts";

/** An epoll instance with room for the events of one wait. */
export class Epoll implements Disposable {
  readonly #libc: Libc;
  readonly #descriptor: number;
  readonly #capacity: number;
  readonly #words: Int32Array<ArrayBuffer>;
  /** The event that a call of `epoll_ctl` reads. */
  readonly #one: Int32Array<ArrayBuffer>;
  // In 32-bit words.
  readonly #stride: number;
  readonly #tokenAt: number;

  /** Room for `capacity` events. */
  constructor(libc: Libc, capacity: number) {
    const { size, at } = EPOLL_EVENT[Deno.build.arch]!;
    this.#libc = libc;
    this.#capacity = capacity;
    this.#stride = size / 4;
    this.#tokenAt = at.data! / 4;
    this.#words = new Int32Array(new ArrayBuffer(capacity * size));
    this.#one = new Int32Array(new ArrayBuffer(size));
    this.#descriptor = checked(
      "epoll_create1",
      libc.symbols.epoll_create1(EPOLL_CLOEXEC),
      libc,
    );
  }

  /** Waits for events of a descriptor, told with `token`; 0 or the errno. */
  add(fd: number, events: number, token: number): number {
    return this.#control(EPOLL_CTL_ADD, fd, events, token);
  }

  /** Other events or another token; events that hold now are told again. */
  modify(fd: number, events: number, token: number): number {
    return this.#control(EPOLL_CTL_MOD, fd, events, token);
  }

  /** No more events of a descriptor. Closing the last copy of it does the same. */
  remove(fd: number): number {
    return this.#control(EPOLL_CTL_DEL, fd, 0, 0);
  }

  #control(operation: number, fd: number, events: number, token: number) {
    this.#one[0] = events;
    this.#one[this.#tokenAt] = token;
    const result = this.#libc.symbols.epoll_ctl(
      this.#descriptor,
      operation,
      fd,
      this.#one,
    );
    return result < 0 ? this.#libc.errno() : 0;
  }

  /** Waits with the thread, -1 for ever; how many events there are. */
  wait(timeoutMs: number): number {
    const count = this.#libc.symbols.epoll_wait(
      this.#descriptor,
      this.#words,
      this.#capacity,
      timeoutMs,
    );
    if (count >= 0) return count;
    const errno = this.#libc.errno();
    if (errno === EINTR) return 0;
    throw new SystemCallError("epoll_wait", errno);
  }

  /** Bits of event `i` of the last wait. */
  events(i: number): number {
    return this.#words[i * this.#stride]!;
  }

  /** Token of event `i` of the last wait. */
  token(i: number): number {
    return this.#words[i * this.#stride + this.#tokenAt]!;
  }

  [Symbol.dispose](): void {
    this.#libc.symbols.close(this.#descriptor);
  }
}
