/** The dispatch roles' TCP listeners. */
import { AcceptLoop } from "../../accept_loop.ts";
import { type Address, formatAddress, hostWithZone } from "../../address.ts";
import { errorCode, failedCall } from "../../errors.ts";
import { resolveOne } from "../../engine/resolve.ts";
import type { Log } from "../../observe/log.ts";

/** An open TCP listener. */
export interface Acceptor extends Disposable {
  /** The bound address, with the real port. */
  readonly address: Address;
}

/** Listens on TCP and gives each connection to `onConnection`. */
export async function acceptTcp(
  address: Address,
  onConnection: (connection: Deno.TcpConn) => void,
  log: Log,
): Promise<Acceptor> {
  const resolved = await resolveOne(address);
  const { port } = resolved;
  let listener: Deno.TcpListener;
  try {
    listener = Deno.listen({
      hostname: hostWithZone(resolved),
      port,
    });
  } catch (cause) {
    throw failedCall("listen on", formatAddress(address), cause);
  }
  const loop = new AcceptLoop(listener, onConnection, (error) => {
    // ECONNABORTED is one client's end; EMFILE is ours.
    const code = errorCode(error) ?? String(error);
    log.limited(`accept ${port} ${code}`, "cannot accept", {
      address: formatAddress(address),
      code,
    });
  });
  return {
    address: { ...address, port: listener.addr.port },
    [Symbol.dispose]: () => void loop.stop(),
  };
}
