/**
 * What Deno's connections cannot do to their sockets, and the platform can.
 * Types only; `linux/native_sockets.ts` has it where libc can be called.
 */

/** The two ends of a connection, as `Deno.Conn` names them. */
export interface SocketEnds {
  readonly localAddr: Deno.NetAddr;
  readonly remoteAddr: Deno.NetAddr;
}

/** Finds the socket of a connection. */
export interface SocketControl {
  /** The socket between two ends, or undefined where there is none. */
  find(ends: SocketEnds): ControlledSocket | undefined;
}

/** The socket of a connection that somebody else owns. */
export interface ControlledSocket {
  /** Sets keepalive so that a peer that vanished is noticed within a minute. */
  keepAlive(): void;
  /** Sends a reset (RST) in place of an end; the owner closes it afterwards. */
  reset(): void;
  /** Whether the peer has reset it; holds as long as its writing side was not ended. */
  wasReset(): boolean;
  /** The owner closes it: it is controlled no more. */
  release(): void;
}
