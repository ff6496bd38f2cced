/**
 * Tells of changes of interfaces, addresses and routes: a netlink socket that
 * is waited for on a thread of Deno's pool, shared by all watchers of an engine.
 */
import { POLLIN } from "./ffi/constants.ts";
import type { Libc } from "./ffi/libc.ts";
import { openNetworkNotices, takeNetworkNotices } from "./ffi/netlink.ts";
import { PollPair } from "./ffi/poll.ts";
import { closeDescriptor } from "./ffi/socket.ts";
import { WakeEvent } from "./wake_event.ts";

/** Changes come together: an interface that comes up has an address a little later. */
const SETTLE_MS = 50;

/** One netlink socket, open as long as it has watchers. */
export class LinuxNetworkWatch {
  readonly #acquire: () => Libc;
  readonly #release: () => void;
  readonly #watchers = new Set<() => void>();
  #wake: WakeEvent | undefined;
  #running: Promise<void> | undefined;

  /** `acquire` opens the libc when the first watcher comes, `release` gives it back. */
  constructor(acquire: () => Libc, release: () => void) {
    this.#acquire = acquire;
    this.#release = release;
  }

  /** Calls back after changes, until it is disposed of. */
  watch(onChange: () => void): AsyncDisposable {
    const watcher = () => onChange();
    this.#watchers.add(watcher);
    if (this.#wake === undefined) this.#open();
    return {
      [Symbol.asyncDispose]: async () => {
        if (!this.#watchers.delete(watcher) || this.#watchers.size > 0) return;
        this.#wake?.wake();
        await this.#running;
      },
    };
  }

  #open(): void {
    const libc = this.#acquire();
    let fd: number;
    try {
      fd = openNetworkNotices(libc);
    } catch {
      // Not permitted (RestrictAddressFamilies=, seccomp): what fails is still tried again.
      this.#release();
      return;
    }
    const wake = new WakeEvent(libc);
    this.#wake = wake;
    this.#running = this.#run(libc, fd, wake).finally(() => {
      closeDescriptor(libc, fd);
      wake[Symbol.dispose]();
      this.#release();
      this.#wake = undefined;
      // Somebody came while the last one left.
      if (this.#watchers.size > 0) this.#open();
    });
  }

  async #run(libc: Libc, fd: number, wake: WakeEvent): Promise<void> {
    const changed = new PollPair(libc, fd, POLLIN, wake.descriptor, POLLIN);
    const settled = new PollPair(libc, -1, 0, wake.descriptor, POLLIN);
    while (this.#watchers.size > 0) {
      await changed.waitAside(-1);
      if (this.#watchers.size === 0) return;
      if (changed.secondReady) wake.clear();
      if (!takeNetworkNotices(libc, fd)) continue;
      await settled.waitAside(SETTLE_MS);
      takeNetworkNotices(libc, fd);
      for (const watcher of this.#watchers) watcher();
    }
  }
}
