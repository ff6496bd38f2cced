/** The accept loop of the dispatch roles' TCP listeners. */
import { type Address, formatAddress, hostWithZone } from "../address.ts";
import { errorCode, failedCall } from "../errors.ts";
import { resolveOne } from "../engine/resolve.ts";
import type { Log } from "../observe/log.ts";

/** How long a process without free descriptors waits before it accepts again. */
const BACK_OFF_MS = 100;

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
  let closed = false;
  const run = async () => {
    while (!closed) {
      try {
        onConnection(await listener.accept());
      } catch (error) {
        if (closed) return;
        // ECONNABORTED is one client's; EMFILE would fail again at once.
        const code = errorCode(error) ?? String(error);
        log.limited(`accept ${port} ${code}`, "cannot accept", {
          address: formatAddress(address),
          code,
        });
        await new Promise((resolve) => setTimeout(resolve, BACK_OFF_MS));
      }
    }
  };
  run();
  return {
    address: { ...address, port: listener.addr.port },
    [Symbol.dispose]: () => {
      if (closed) return;
      closed = true;
      listener.close();
    },
  };
}
