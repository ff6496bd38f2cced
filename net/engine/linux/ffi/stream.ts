/**
 * Stream sockets and pipes. Calls of the hot path give what the kernel gives,
 * and -1 with {@linkcode StreamCalls.errno}; the others throw a SystemCallError.
 */
import {
  F_GETPIPE_SZ,
  F_SETPIPE_SZ,
  IPPROTO_TCP,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  O_CLOEXEC,
  O_NONBLOCK,
  SHUT_WR,
  SO_ERROR,
  SO_LINGER,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
  SPLICE_F_MOVE,
  SPLICE_F_NONBLOCK,
  TCP_NODELAY,
} from "./constants.ts";
import { checked } from "./errno.ts";
import type { Libc } from "./libc.ts";
import {
  bindSocket,
  closeDescriptor,
  openSocket,
  setIntOption,
} from "./socket.ts";
import { SOCKADDR_BYTES } from "./sockaddr.ts";
import { setKeepAlive } from "./tcp_options.ts";

const STREAM = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;

/** How a listener is opened. */
export interface ListenOptions {
  /** Of <bits/socket.h>. */
  family: number;
  /** The address's struct. */
  address: Uint8Array<ArrayBuffer>;
  /** Connections that may wait to be accepted. */
  backlog: number;
  /** Whether accepted sockets have keepalive. */
  keepAlive: boolean;
  /** Whether others of this user may listen there too. */
  reusePort: boolean;
}

/**
 * Binds and listens; gives the descriptor. Accepted sockets take TCP_NODELAY
 * and keepalive from their listener (tcp_create_openreq_child), which saves
 * six calls per client.
 */
export function openStreamListener(libc: Libc, options: ListenOptions): number {
  const { family, address, backlog, keepAlive, reusePort } = options;
  const fd = openSocket(libc, family, STREAM, 0);
  try {
    setIntOption(libc, fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (reusePort) setIntOption(libc, fd, SOL_SOCKET, SO_REUSEPORT, 1);
    setIntOption(libc, fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (keepAlive) setKeepAlive(libc, fd);
    bindSocket(libc, fd, address);
    checked("listen", libc.symbols.listen(fd, backlog), libc);
    return fd;
  } catch (error) {
    closeDescriptor(libc, fd);
    throw error;
  }
}

/** The calls that move streams, with the memory that they need. */
export class StreamCalls {
  /** Where {@linkcode accept} puts the client's address. */
  readonly address: Uint8Array<ArrayBuffer> = new Uint8Array(
    new ArrayBuffer(SOCKADDR_BYTES),
  );
  readonly #libc: Libc;
  readonly #length = new Uint32Array(new ArrayBuffer(4));
  readonly #on = Int32Array.of(1);
  readonly #linger = Int32Array.of(1, 0);
  readonly #value = new Int32Array(new ArrayBuffer(4));
  readonly #ends = new Int32Array(new ArrayBuffer(8));
  #lastBytes = 0;
  #lastSize = 0n;

  constructor(libc: Libc) {
    this.#libc = libc;
  }

  /** A size_t as FFI takes it; messages of one size make one bigint. */
  #size(bytes: number): bigint {
    if (bytes !== this.#lastBytes) {
      this.#lastBytes = bytes;
      this.#lastSize = BigInt(bytes);
    }
    return this.#lastSize;
  }

  /** What the last call that failed has left. */
  errno(): number {
    return this.#libc.errno();
  }

  /** accept4(2), not blocking. */
  accept(listener: number): number {
    this.#length[0] = SOCKADDR_BYTES;
    return this.#libc.symbols.accept4(
      listener,
      this.address,
      this.#length,
      SOCK_NONBLOCK | SOCK_CLOEXEC,
    );
  }

  /** socket(2), not blocking, with TCP_NODELAY. */
  open(family: number, keepAlive: boolean): number {
    const { symbols } = this.#libc;
    const fd = symbols.socket(family, STREAM, 0);
    if (fd < 0) return fd;
    symbols.setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, this.#on, 4);
    if (keepAlive) setKeepAlive(this.#libc, fd);
    return fd;
  }

  /** connect(2): begun (EINPROGRESS), or failed at once. */
  connect(fd: number, address: Uint8Array<ArrayBuffer>): number {
    return this.#libc.symbols.connect(fd, address, address.length);
  }

  /** The errno that a socket keeps; taking it clears it. */
  takeError(fd: number): number {
    this.#length[0] = 4;
    const result = this.#libc.symbols.getsockopt(
      fd,
      SOL_SOCKET,
      SO_ERROR,
      this.#value,
      this.#length,
    );
    return result < 0 ? this.errno() : this.#value[0]!;
  }

  /** recv(2) of at most `size` bytes. */
  receive(fd: number, buffer: Uint8Array<ArrayBuffer>, size: bigint): number {
    return this.#libc.symbols.recvPart(fd, buffer, size, MSG_DONTWAIT);
  }

  /** send(2) of the first `bytes`. */
  send(fd: number, buffer: Uint8Array<ArrayBuffer>, bytes: number): number {
    return this.#libc.symbols.sendPart(
      fd,
      buffer,
      this.#size(bytes),
      MSG_DONTWAIT | MSG_NOSIGNAL,
    );
  }

  /** splice(2) between a socket and a pipe. */
  splice(from: number, to: number, bytes: number): number {
    return this.#libc.symbols.splice(
      from,
      null,
      to,
      null,
      this.#size(bytes),
      SPLICE_F_MOVE | SPLICE_F_NONBLOCK,
    );
  }

  /** shutdown(2) of the writing side. */
  endWriting(fd: number): number {
    return this.#libc.symbols.shutdown(fd, SHUT_WR);
  }

  /** close(2). */
  close(fd: number): void {
    this.#libc.symbols.close(fd);
  }

  /** close(2) with a reset in place of an end: SO_LINGER of 0 seconds. */
  reset(fd: number): void {
    this.#libc.symbols.setsockopt(fd, SOL_SOCKET, SO_LINGER, this.#linger, 8);
    this.#libc.symbols.close(fd);
  }

  /** pipe2(2); the ends are {@linkcode pipeReads} and {@linkcode pipeWrites}. */
  openPipe(): number {
    return this.#libc.symbols.pipe2(this.#ends, O_NONBLOCK | O_CLOEXEC);
  }

  /** Reading end of the pipe opened last. */
  get pipeReads(): number {
    return this.#ends[0]!;
  }

  /** Writing end of the pipe opened last. */
  get pipeWrites(): number {
    return this.#ends[1]!;
  }

  /** Sets a pipe's size as near to `bytes` as may be; gives what it is. */
  sizePipe(fd: number, bytes: number): number {
    const size = this.#libc.symbols.fcntl(fd, F_SETPIPE_SZ, bytes);
    return size >= 0 ? size : this.#libc.symbols.fcntl(fd, F_GETPIPE_SZ, 0);
  }
}
