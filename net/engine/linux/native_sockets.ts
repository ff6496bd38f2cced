/**
 * Sockets of this process's `Deno.Conn` and `node:net` connections, which show
 * no descriptor. A socket is found by its two ends, of which there is one pair
 * at a time, and is known from then on by its cookie (SO_COOKIE), a number that
 * the kernel gives to no other socket: a descriptor that was closed and belongs
 * to another file now is never touched.
 */
import { canonicalIp } from "../../address.ts";
import type {
  ControlledSocket,
  SocketControl,
  SocketEnds,
} from "../socket_control.ts";
import {
  EBADF,
  IPPROTO_TCP,
  SO_COOKIE,
  SOL_SOCKET,
  TCP_CLOSE,
  TCP_INFO,
} from "./ffi/constants.ts";
import type { Libc } from "./ffi/libc.ts";
import { decodeSockaddr, SOCKADDR_BYTES } from "./ffi/sockaddr.ts";
import { setKeepAlive } from "./ffi/tcp_options.ts";

/** A new descriptor is the lowest that is free: so many free ones in a row end the search. */
const FREE_IN_A_ROW = 256;

/** The first descriptor behind the standard ones. */
const FIRST_DESCRIPTOR = 3;

/** Finds sockets by their ends. */
export class NativeSockets implements SocketControl, Disposable {
  readonly #libc: Libc;
  /** Descriptors that are controlled: another connection's search passes them over. */
  readonly #controlled = new Set<number>();
  readonly #address = new Uint8Array(new ArrayBuffer(SOCKADDR_BYTES));
  readonly #length = new Uint32Array(new ArrayBuffer(4));

  /** The libc belongs to it from now on. */
  constructor(libc: Libc) {
    this.#libc = libc;
  }

  [Symbol.dispose](): void {
    this.#libc[Symbol.dispose]();
  }

  find(ends: SocketEnds): ControlledSocket | undefined {
    const { getpeername, getsockname } = this.#libc.symbols;
    let free = 0;
    for (let fd = FIRST_DESCRIPTOR; free < FREE_IN_A_ROW; fd++) {
      if (this.#controlled.has(fd)) {
        free = 0;
        continue;
      }
      this.#length[0] = SOCKADDR_BYTES;
      if (getpeername(fd, this.#address, this.#length) < 0) {
        free = this.#libc.errno() === EBADF ? free + 1 : 0;
        continue;
      }
      free = 0;
      if (!this.#isAddress(ends.remoteAddr)) continue;
      this.#length[0] = SOCKADDR_BYTES;
      if (getsockname(fd, this.#address, this.#length) < 0) continue;
      if (!this.#isAddress(ends.localAddr)) continue;
      const cookie = cookieOf(this.#libc, fd);
      if (cookie === undefined) return undefined;
      this.#controlled.add(fd);
      return new NativeSocket(
        this.#libc,
        fd,
        cookie,
        () => this.#controlled.delete(fd),
      );
    }
    return undefined;
  }

  /** Whether the struct that a call has filled is this address. */
  #isAddress({ hostname, port }: Deno.NetAddr): boolean {
    // The port stands at the same place in both families' structs, and differs most.
    if ((this.#address[2]! << 8 | this.#address[3]!) !== port) return false;
    try {
      return plainIp(decodeSockaddr(this.#address).hostname) ===
        plainIp(hostname);
    } catch {
      return false; // A socket of another family.
    }
  }
}

/** An IP literal in one spelling: IPv4 is IPv4, also on a socket for both families. */
function plainIp(hostname: string): string {
  const zone = hostname.indexOf("%");
  const ip = canonicalIp(zone < 0 ? hostname : hostname.slice(0, zone)) ??
    hostname;
  const mapped = /^::ffff:(?:(\d+\.\d+\.\d+\.\d+)|([0-9a-f]+):([0-9a-f]+))$/i
    .exec(ip);
  if (!mapped) return ip;
  if (mapped[1] !== undefined) return mapped[1];
  const high = parseInt(mapped[2]!, 16);
  const low = parseInt(mapped[3]!, 16);
  return [high >> 8, high & 0xff, low >> 8, low & 0xff].join(".");
}

const COOKIE = new BigUint64Array(1);
const INFO = new Uint8Array(new ArrayBuffer(8));
const SIZE = new Uint32Array(new ArrayBuffer(4));

/** `struct sockaddr` of the family AF_UNSPEC. */
const UNSPECIFIED = new Uint8Array(new ArrayBuffer(16));

function cookieOf({ symbols }: Libc, fd: number): bigint | undefined {
  SIZE[0] = 8;
  const bytes = new Uint8Array(COOKIE.buffer);
  const result = symbols.getsockopt(fd, SOL_SOCKET, SO_COOKIE, bytes, SIZE);
  return result < 0 ? undefined : COOKIE[0]!;
}

class NativeSocket implements ControlledSocket {
  readonly #libc: Libc;
  readonly #fd: number;
  readonly #cookie: bigint;
  readonly #forget: () => void;
  #released = false;

  constructor(libc: Libc, fd: number, cookie: bigint, forget: () => void) {
    this.#libc = libc;
    this.#fd = fd;
    this.#cookie = cookie;
    this.#forget = forget;
  }

  /** Sockets are closed in this thread, so that what is ours stays ours for the next call. */
  #isOurs(): boolean {
    return !this.#released &&
      cookieOf(this.#libc, this.#fd) === this.#cookie;
  }

  keepAlive(): void {
    if (this.#isOurs()) setKeepAlive(this.#libc, this.#fd);
  }

  /**
   * connect(2) to no address dissolves a TCP connection with a reset, and not
   * with an end before it, as the close of Deno's would have.
   */
  reset(): void {
    if (!this.#isOurs()) return;
    this.#libc.symbols.connect(this.#fd, UNSPECIFIED, UNSPECIFIED.length);
  }

  wasReset(): boolean {
    if (!this.#isOurs()) return false;
    SIZE[0] = INFO.length;
    const result = this.#libc.symbols.getsockopt(
      this.#fd,
      IPPROTO_TCP,
      TCP_INFO,
      INFO,
      SIZE,
    );
    return result === 0 && INFO[0] === TCP_CLOSE;
  }

  release(): void {
    if (this.#released) return;
    this.#released = true;
    this.#forget();
  }
}
