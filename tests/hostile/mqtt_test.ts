/** The listeners of the MQTT gateway under attack: a good client is served all the while. */
import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { once } from "node:events";
import { assert } from "@std/assert";
import { CertificateAuthority } from "../support/certificate_authority.ts";
import {
  assertWithstands,
  type Attack,
  attacks,
  inTurns,
  type Phrases,
  type Victim,
} from "../support/hostile.ts";
import { startMosquitto } from "../support/mosquitto.ts";
import { connectPacket } from "../support/mqtt_peer.ts";
import { portOf } from "../support/mqtt_role.ts";
import { startRole } from "../support/process.ts";
import {
  needsLinux,
  needsProgram,
  type SkipReason,
  testUnless,
} from "../support/skip.ts";

type Scheme = "mqtt" | "mqtts" | "ws" | "wss";

/** `--connect-timeout`, within which TLS, WebSocket and CONNECT must be done. */
const CONNECT_TIMEOUT_MS = 2000;

/** For how long the gateway lets a client read why it was rejected. */
const LINGER_MS = 2000;

const encode = (text: string) => new TextEncoder().encode(text);

const UPGRADE = encode([
  "GET /mqtt HTTP/1.1",
  "Host: 127.0.0.1",
  "Upgrade: websocket",
  "Connection: Upgrade",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
  "Sec-WebSocket-Version: 13",
  "Sec-WebSocket-Protocol: mqtt",
  "",
  "",
].join("\r\n"));

/** A ClientHello of 512 bytes that ends in its random. */
const HALF_HELLO = Uint8Array.of(
  ...[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 1, 2, 3, 4, 5],
);

const CONNECT = connectPacket({ clientId: "" });

/** A masked binary frame, with a mask of zeros. */
function frame(payload: Uint8Array): Uint8Array {
  return Uint8Array.of(0x82, 0x80 | payload.length, 0, 0, 0, 0, ...payload);
}

const isSecure = (scheme: Scheme) => scheme.endsWith("s") && scheme !== "ws";
const isWebSocket = (scheme: Scheme) => scheme.startsWith("ws");

/** What attackers send of a scheme's first handshake. */
function phrasesOf(scheme: Scheme): Phrases {
  if (isSecure(scheme)) return { half: HALF_HELLO };
  if (isWebSocket(scheme)) {
    return {
      half: UPGRADE.subarray(0, -4),
      whole: UPGRADE,
      oversize: encode("X-Long: ".padEnd(65536, "y")),
    };
  }
  return {
    half: CONNECT.subarray(0, -2),
    whole: CONNECT,
    // A CONNECT of 256 MiB.
    oversize: Uint8Array.of(
      0x10,
      0xff,
      0xff,
      0xff,
      0x7f,
      ...encode("\0\x04MQTT"),
    ),
  };
}

/** Waits that begin in a later handshake, which only a client with TLS or WebSocket gets to. */
function laterAttacks(scheme: Scheme, ca: string): Attack[] {
  const inside = (name: string, bytes: Uint8Array): Attack => ({
    name,
    waits: true,
    count: 60,
    begin: (socket) => {
      if (!isSecure(scheme)) return void socket.write(bytes);
      const secure = connectTls({ socket, ca, host: "127.0.0.1" });
      secure.on("error", () => {});
      secure.on("secureConnect", () => secure.write(bytes));
    },
  });
  const list: Attack[] = [];
  if (isSecure(scheme)) {
    list.push(inside("silence after TLS", new Uint8Array()));
  }
  if (isWebSocket(scheme)) {
    list.push(inside("silence after the upgrade", UPGRADE));
    list.push(inside(
      "half a frame",
      Uint8Array.of(...UPGRADE, ...frame(CONNECT).subarray(0, 10)),
    ));
  }
  if (scheme === "mqtts") {
    list.push(inside("half a CONNECT in TLS", CONNECT.subarray(0, 6)));
  }
  if (scheme === "mqtt") {
    list.push({
      name: "a packet of type 0",
      begin: (socket) => socket.write(Uint8Array.of(0)),
    });
  }
  return list;
}

/** A client that connects, gets its CONNACK and leaves. */
async function good(scheme: Scheme, port: number, ca: string): Promise<void> {
  const address = { host: "127.0.0.1", port };
  const socket: Socket = isSecure(scheme)
    ? connectTls({ ...address, ca })
    : connectTcp(address);
  try {
    await once(socket, isSecure(scheme) ? "secureConnect" : "connect");
    let received: Uint8Array = new Uint8Array();
    const until = async (done: (bytes: Uint8Array) => boolean) => {
      for await (const bytes of socket.iterator({ destroyOnReturn: false })) {
        received = Uint8Array.of(...received, ...bytes as Uint8Array);
        if (done(received)) return;
      }
      throw new Error(`ended after ${received.toHex()}`);
    };
    if (isWebSocket(scheme)) {
      socket.write(UPGRADE);
      await until((bytes) =>
        new TextDecoder().decode(bytes).endsWith("\r\n\r\n")
      );
      socket.write(frame(CONNECT));
    } else socket.write(CONNECT);
    // A CONNACK that accepts, in a frame or bare.
    await until((bytes) =>
      bytes.length >= 4 && bytes.slice(-4).toHex() === "20020000"
    );
  } finally {
    socket.on("error", () => {});
    const closed = once(socket, "close");
    socket.destroy();
    await closed;
  }
}

const skip: SkipReason = needsLinux() ?? needsProgram("mosquitto", "openssl");

for (const scheme of ["mqtt", "mqtts", "ws", "wss"] as const) {
  testUnless(
    skip,
    `the gateway's ${scheme}:// listener withstands its attackers`,
    async () => {
      await using authority = await CertificateAuthority.create();
      const { cert, key } = await authority.issue("/CN=here", "IP:127.0.0.1");
      const ca = await Deno.readTextFile(authority.cert);
      await using mosquitto = await startMosquitto({ quiet: true });
      const path = isWebSocket(scheme) ? "/mqtt" : "";
      await using role = startRole("mqtt", [
        ...["--listen", `${scheme}://127.0.0.1:0${path}`],
        ...["--target", mosquitto.url],
        ...["--connect-timeout", String(CONNECT_TIMEOUT_MS / 1000)],
        ...isSecure(scheme) ? ["--cert", cert, "--key", key] : [],
      ]);
      const port = await portOf(role);
      const victim: Victim = {
        address: { hostname: "127.0.0.1", port },
        pid: role.pid,
        deadlineMs: CONNECT_TIMEOUT_MS + LINGER_MS,
        good: () => good(scheme, port, ca),
      };
      // Twice: what the first client of a scheme loads stays.
      await victim.good();
      await victim.good();
      const list = [
        ...attacks(phrasesOf(scheme)),
        ...laterAttacks(scheme, ca),
      ]
        // A session that was accepted may stay for as long as it likes.
        .filter(({ name }) => !name.startsWith("requests whose answers"));
      for (const attack of inTurns(list)) {
        const damage = await assertWithstands(victim, attack);
        assert(damage.worstGoodMs >= 0);
      }
      const { code } = await role.stop();
      assert(code === 0, role.stderr);
    },
  );
}
