/**
 * The linux engine: datagrams over libc's own calls, in batches, with what the
 * kernel can join and cut (UDP_GRO, UDP_SEGMENT) and what it can count.
 */
import { formatAddress, isIpv6 } from "../../../address.ts";
import { failedCall, OperationError, UsageError } from "../../../errors.ts";
import type {
  DatagramConnectOptions,
  DatagramEngine,
  DatagramListener,
  DatagramListenOptions,
  DatagramSender,
} from "../../datagram.ts";
import { checkInterfaceName } from "../../interfaces.ts";
import { resolveAll } from "../../resolve.ts";
import { SystemCallError } from "../ffi/errno.ts";
import { findLibc, type Libc, openLibc } from "../ffi/libc.ts";
import { BATCH_SLOTS } from "./listener.ts";
import {
  checkListenOptions,
  type JoinReads,
  listenPlacement,
  openListener,
} from "./open_listener.ts";
import { LinuxNetworkWatch } from "../network_watch.ts";
import { checkConnectOptions, openSender } from "./open_sender.ts";
import { WakeEvent } from "../wake_event.ts";

/** How the engine waits, and on what it stands. */
export interface LinuxEngineOptions {
  /**
   * Whether waits hold the thread. A Worker that has nothing else to do sets
   * it: its messages are not read meanwhile. Without it waits are promises.
   */
  blocking: boolean;
  /**
   * Descriptor of a {@linkcode WakeEvent} of another thread, which ends the
   * waits of every listener here. It must stay open as long as they do.
   */
  wakeDescriptor?: number | undefined;
  /**
   * When the kernel may join reads (UDP_GRO).
   * @default {"counted"}
   */
  joinReads?: JoinReads | undefined;
  /** An opened libc in place of this process's; it stays the caller's. */
  libc?: Libc | undefined;
}

/** The engine, and what only it can do. */
export interface LinuxEngine extends DatagramEngine {
  readonly name: "linux";
  /** An event whose `descriptor` is the `wakeDescriptor` of an engine in a Worker. */
  openWakeEvent(): WakeEvent;
}

/** Why the engine cannot be had here, or undefined where it can. Never prompts. */
export function linuxEngineUnavailable(): string | undefined {
  const { os, arch } = Deno.build;
  if (os !== "linux") return `it needs Linux, and this is ${os}`;
  if (arch !== "x86_64" && arch !== "aarch64") {
    return `it needs x86_64 or aarch64, and this is ${arch}`;
  }
  if (Deno.permissions.querySync({ name: "ffi" }).state !== "granted") {
    return "it calls libc, which is not permitted: give --allow-ffi";
  }
  if (findLibc() === undefined) {
    return "neither glibc (libc.so.6) nor musl (libc.musl-*.so.1) was found";
  }
  return undefined;
}

/** The engine; opens nothing before its first socket. */
export function createLinuxEngine(options: LinuxEngineOptions): LinuxEngine {
  const { blocking, wakeDescriptor, joinReads = "counted", libc } = options;
  const shared = new SharedLibc(libc);
  const networkWatch = new LinuxNetworkWatch(
    () => shared.acquire(),
    () => shared.release(),
  );
  return {
    name: "linux",
    get description(): string {
      return libc?.name ?? findLibc() ?? "no libc";
    },
    batchSize: BATCH_SLOTS,

    checkInterface: checkInterfaceName,
    checkListen: checkListenOptions,
    checkConnect: checkConnectOptions,

    placement(options: DatagramListenOptions): string {
      const libc = shared.acquire();
      try {
        return listenPlacement(libc, options);
      } catch (error) {
        if (!(error instanceof SystemCallError)) throw error;
        throw failedCall("listen on", formatAddress(options.address), error);
      } finally {
        shared.release();
      }
    },

    watchNetwork: (onChange: () => void): AsyncDisposable =>
      networkWatch.watch(onChange),

    async listen(options: DatagramListenOptions): Promise<DatagramListener> {
      checkListenOptions(options);
      const { address } = options;
      return await firstThatOpens("listen on", options, (hostname) => {
        const libc = shared.acquire();
        const release = () => shared.release();
        try {
          return openListener(
            { libc, release, blocking, joinReads, wakeDescriptor },
            { ...options, address },
            hostname,
          );
        } catch (error) {
          release();
          throw error;
        }
      });
    },

    async connect(options: DatagramConnectOptions): Promise<DatagramSender> {
      checkConnectOptions(options);
      return await firstThatOpens("send to", options, (hostname) => {
        const libc = shared.acquire();
        const release = () => shared.release();
        try {
          return openSender({ libc, release, blocking }, options, hostname);
        } catch (error) {
          release();
          throw error;
        }
      });
    },

    openWakeEvent(): WakeEvent {
      const libc = shared.acquire();
      try {
        return new WakeEvent(libc, undefined, () => shared.release());
      } catch (error) {
        shared.release();
        throw error;
      }
    },
  };
}

/**
 * Tries all addresses of a name, IPv4 first: a datagram cannot tell that nobody
 * listens on the other family. Throws for the last one.
 */
async function firstThatOpens<T>(
  action: string,
  { address }: DatagramListenOptions | DatagramConnectOptions,
  open: (hostname: string) => T,
): Promise<T> {
  const hostnames = (await resolveAll(address)).map((one) => one.hostname)
    .sort((a, b) => Number(isIpv6(a)) - Number(isIpv6(b)));
  let failure: unknown;
  for (const hostname of hostnames) {
    try {
      return open(hostname);
    } catch (error) {
      if (error instanceof UsageError) throw error;
      failure = error;
    }
  }
  // What is no errno of a call says already what cannot be done, and why.
  if (
    failure instanceof OperationError && !(failure instanceof SystemCallError)
  ) throw failure;
  throw failedCall(action, formatAddress(address), failure);
}

/**
 * libc as long as a socket is open. Opening it makes native code for each
 * function (some milliseconds, memory that only a garbage collection gives
 * back), so the sockets of an engine share it.
 */
class SharedLibc {
  readonly #given: Libc | undefined;
  #libc: Libc | undefined;
  #users = 0;

  constructor(given: Libc | undefined) {
    this.#given = given;
  }

  acquire(): Libc {
    this.#libc ??= this.#given ?? openLibc();
    this.#users++;
    return this.#libc;
  }

  release(): void {
    if (--this.#users > 0) return;
    if (this.#libc !== this.#given) this.#libc?.[Symbol.dispose]();
    this.#libc = undefined;
  }
}
