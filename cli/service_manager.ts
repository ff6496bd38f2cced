/**
 * Tells systemd that a role serves, and that it drains: sd_notify(3), one
 * datagram to the socket that `NOTIFY_SOCKET` names. A unit says `Type=notify`.
 */
import type { Log } from "../net/observe/log.ts";
import { errorText } from "../net/errors.ts";

const VARIABLE = "NOTIFY_SOCKET";

/** What a service manager is told. */
export type ServiceState = "READY=1" | "STOPPING=1";

/** A way to the service manager. */
export interface ServiceManager extends Disposable {
  /** Says it; what cannot be said is logged. */
  tell(state: ServiceState): Promise<void>;
}

/**
 * A way to the service manager that started this process, or undefined where
 * none did, or where the environment may not be read: that is nobody's wrong.
 */
export function openServiceManager(log: Log): ServiceManager | undefined {
  const env = { name: "env", variable: VARIABLE } as const;
  if (Deno.permissions.querySync(env).state !== "granted") return undefined;
  const given = Deno.env.get(VARIABLE);
  if (!given) return undefined;
  // systemd writes a name outside of the file system with @ for its zero byte.
  const path = given.replace(/^@/, "\0");
  const warn = (reason: unknown) =>
    log.warn(
      `Cannot tell the service manager: ${errorText(reason)}`,
      { socket: given },
    );
  if (typeof Deno.listenDatagram !== "function") {
    warn("--unstable-net is wanted for a datagram to a path");
    return undefined;
  }
  try {
    const socket = Deno.listenDatagram({ transport: "unixpacket" } as never);
    return {
      async tell(state) {
        try {
          await socket.send(new TextEncoder().encode(state), {
            transport: "unixpacket",
            path,
          });
        } catch (error) {
          warn(error);
        }
      },
      [Symbol.dispose]: () => socket.close(),
    };
  } catch (error) {
    warn(error);
    return undefined;
  }
}
