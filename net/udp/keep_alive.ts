/** Keepalive of the dispatch roles' TCP connections. */
import { openSocketControl } from "../engine/choose_stream.ts";

/**
 * Has a peer that vanished noticed within a minute (30 s + 3 * 10 s) where libc
 * can be called. Elsewhere Deno only turns keepalive on, with the times of the
 * system: two hours on Linux (tcp_keepalive_time, tcp(7)).
 */
export function keepAlive(connection: Deno.TcpConn): void {
  connection.setKeepAlive(true);
  using control = openSocketControl();
  const socket = control?.find(connection);
  socket?.keepAlive();
  socket?.release();
}
