/** TLS towards a remote, and how it proves who it is. */
import { createHash, X509Certificate } from "node:crypto";
import type { Socket } from "node:net";
import { connect, type ConnectionOptions, type TLSSocket } from "node:tls";
import { type Address, isIp } from "../../../address.ts";
import { isVersion3, type RemoteTls } from "../../../tls_files.ts";
import type { SocketControl } from "../../socket_control.ts";
import { TlsConn } from "./tls_conn.ts";

/** Begins the handshake on a connected socket. */
export function connectTls(
  socket: Socket,
  address: Address,
  tls: RemoteTls,
  options: { keepAlive: boolean; control?: SocketControl | undefined },
): TlsConn {
  const { caCerts = [], pins = [], insecure = false } = tls;
  const name = tls.name ?? address.hostname;
  return new TlsConn(socket, {
    secure: (raw) =>
      connect({
        socket: raw,
        host: name,
        // RFC 6066, section 3: an address is no server name.
        ...(isIp(name) ? {} : { servername: name }),
        ca: [...caCerts],
        rejectUnauthorized: !insecure && pins.length === 0,
        allowHalfOpen: true,
      } as ConnectionOptions),
    readyEvent: "secureConnect",
    verify: pins.length === 0 ? undefined : (tls) => pinError(tls, pins),
    ...options,
    control: options.control,
  });
}

function pinError(
  tls: TLSSocket,
  pins: readonly string[],
): Error | undefined {
  const { raw } = tls.getPeerCertificate();
  if (!raw) return new Error("the remote showed no certificate");
  // The runtime does not verify that who shows one of version 1 has its key.
  if (!isVersion3(raw)) {
    return new Error(
      "the remote's certificate is X.509 version 1, which cannot be pinned",
    );
  }
  const pin = keyPin(raw);
  if (pins.includes(pin)) return undefined;
  return new Error(`the remote's key is another one (${pin})`);
}

/** Base64 of the SHA-256 of a certificate's SubjectPublicKeyInfo (RFC 7469, section 2.4). */
export function keyPin(certificate: Uint8Array): string {
  const { publicKey } = new X509Certificate(certificate);
  return createHash("sha256")
    .update(publicKey.export({ type: "spki", format: "der" }))
    .digest("base64");
}
