/** The JSON-RPC server's WebSocket, frame by frame. */
import { assertEquals, assertMatch } from "@std/assert";
import fc from "fast-check";
import { formatAddress } from "../../../../net/address.ts";
import { openHttpDoor } from "../../../../net/tunnel/admin/http_server.ts";
import { MAX_REQUEST_BYTES } from "../../../../net/tunnel/admin/json_rpc.ts";
import { Tunnels } from "../../../../net/tunnel/tunnels.ts";
import {
  FrameDecoder,
  frameHeaderBytes,
  writeFrame,
} from "../../../../net/websocket/frames.ts";
import { LogWatch } from "../../../support/log_watch.ts";
import { connectTo, readToEnd, writeAll } from "../../../support/tcp.ts";

const COUNT = '{"jsonrpc":"2.0","method":"numberOfTunnels","id":1}';
const COUNTED = '{"jsonrpc":"2.0","result":0,"id":1}';

const encode = (text: string) => new TextEncoder().encode(text);

/** A client's frame; `first` has the FIN bit and the opcode. */
function frame(first: number, payload: Uint8Array): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(
    frameHeaderBytes(payload.length, true) + payload.length,
  );
  writeFrame(whole, first & 0x0f, payload, Uint8Array.of(1, 2, 3, 4));
  whole[0] = first;
  return whole;
}

const TEXT = 0x81;
const BINARY = 0x82;
const CLOSE = 0x88;
const PING = 0x89;
const PONG = 0x8a;
const TEXT_BEGUN = 0x01;
const CONTINUED = 0x00;
const CONTINUED_LAST = 0x80;

const BYE = frame(CLOSE, Uint8Array.of(1000 >> 8, 1000 & 0xff));

/** A client after its handshake. */
class Client implements Disposable {
  readonly #conn: Deno.TcpConn;

  constructor(conn: Deno.TcpConn) {
    this.#conn = conn;
  }

  async write(...parts: Uint8Array[]): Promise<void> {
    for (const part of parts) await writeAll(this.#conn, part);
  }

  /** All frames until the server closes, as [first byte, payload]. */
  async frames(): Promise<[number, Uint8Array][]> {
    const bytes = await readToEnd(this.#conn);
    const found: [number, Uint8Array][] = [];
    for (let at = 0; at < bytes.length;) {
      const short = bytes[at + 1]!;
      const view = new DataView(bytes.buffer, bytes.byteOffset + at);
      const [header, length] = short < 126
        ? [2, short]
        : short === 126
        ? [4, view.getUint16(2)]
        : [10, Number(view.getBigUint64(2))];
      const end = at + header + length;
      found.push([bytes[at]!, bytes.slice(at + header, end)]);
      at = end;
    }
    return found;
  }

  [Symbol.dispose](): void {
    this.#conn.close();
  }
}

async function withServer(
  use: (
    upgrade: (headers?: string, line?: string) => Promise<[string, Client]>,
  ) => Promise<void>,
): Promise<void> {
  const watch = new LogWatch();
  await using tunnels = await Tunnels.start({ log: watch.log });
  await using server = await openHttpDoor({
    address: { hostname: "127.0.0.1", port: 0 },
    tunnels,
  });
  await use(async (headers = "", line = "GET / HTTP/1.1") => {
    const conn = await connectTo(server.address);
    await writeAll(
      conn,
      encode(
        `${line}\r\nHost: ${formatAddress(server.address)}\r\n` +
          "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n" +
          (headers.includes("Version") ? "" : "Sec-WebSocket-Version: 13\r\n") +
          (headers.includes("Key")
            ? ""
            : "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n") +
          `${headers}\r\n`,
      ),
    );
    let head = "";
    const byte = new Uint8Array(1);
    while (!head.endsWith("\r\n\r\n") && await conn.read(byte) !== null) {
      head += String.fromCharCode(byte[0]!);
    }
    return [head, new Client(conn)];
  });
}

Deno.test("the JSON-RPC WebSocket answers RFC 6455's sample key, and the first subprotocol", async () => {
  await withServer(async (upgrade) => {
    const [head, client] = await upgrade(
      "Sec-WebSocket-Protocol: jsonrpc , other\r\n",
    );
    using _ = client;
    assertMatch(head, /^HTTP\/1.1 101 /);
    // The answer to the key is the RFC's own (1.3).
    assertMatch(
      head,
      /\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=\r\n/,
    );
    assertMatch(head, /\r\nSec-WebSocket-Protocol: jsonrpc\r\n/);
  });
});

for (
  const [what, headers, line, status] of [
    ["another version", "Sec-WebSocket-Version: 8\r\n", undefined, 426],
    ["a short key", "Sec-WebSocket-Key: AAAA\r\n", undefined, 400],
    ["POST", "", "POST / HTTP/1.1", 405],
    ["a body", "Content-Length: 5\r\n", undefined, 400],
    ["no token", "Sec-WebSocket-Protocol: a b\r\n", undefined, 400],
  ] as const
) {
  Deno.test(`the JSON-RPC WebSocket refuses an upgrade with ${what}`, async () => {
    await withServer(async (upgrade) => {
      const [head, client] = await upgrade(headers, line);
      using _ = client;
      assertEquals(Number(head.split(" ")[1]), status, head);
    });
  });
}

Deno.test("the JSON-RPC WebSocket puts fragments together, answers the pings between them, and takes binary", async () => {
  await withServer(async (upgrade) => {
    const [, client] = await upgrade();
    using _ = client;
    const text = encode(COUNT);
    await client.write(
      frame(TEXT_BEGUN, text.subarray(0, 7)),
      frame(PING, encode("between")),
      frame(CONTINUED, text.subarray(7, 7)),
      frame(CONTINUED_LAST, text.subarray(7)),
      frame(BINARY, text),
    );
    const half = frame(TEXT, text);
    for (const byte of half) await client.write(Uint8Array.of(byte));
    await client.write(frame(PING, encode("last")), BYE);
    const frames = await client.frames();
    const texts = (of: number) =>
      frames.filter(([first]) => first === of)
        .map(([, payload]) => new TextDecoder().decode(payload));
    assertEquals(texts(PONG).at(-1), "last");
    assertEquals(texts(TEXT), [COUNTED, COUNTED, COUNTED]);
    assertEquals(frames.at(-1), [CLOSE, Uint8Array.of(1000 >> 8, 1000 & 255)]);
  });
});

for (
  const [what, frames, code] of [
    ["text that is not UTF-8", [frame(TEXT, Uint8Array.of(0xff))], 1007],
    ["a bare frame", [Uint8Array.of(TEXT, 1, 0x7b)], 1002],
    ["an unfinished message inside another", [
      frame(TEXT_BEGUN, encode("{")),
      frame(TEXT, encode("{")),
    ], 1002],
    ["a reserved bit", [frame(TEXT | 0x40, encode("{"))], 1002],
    ["a long frame", [
      frame(TEXT, new Uint8Array(MAX_REQUEST_BYTES + 1)),
    ], 1009],
    ["fragments that are too long together", [
      frame(TEXT_BEGUN, new Uint8Array(MAX_REQUEST_BYTES / 2)),
      frame(CONTINUED, new Uint8Array(MAX_REQUEST_BYTES / 2)),
      frame(CONTINUED, new Uint8Array(1)),
    ], 1009],
  ] as const
) {
  Deno.test(`the JSON-RPC WebSocket closes with ${code} for ${what}`, async () => {
    await withServer(async (upgrade) => {
      const [, client] = await upgrade();
      using _ = client;
      await client.write(...frames);
      await client.write(BYE);
      assertEquals(
        (await client.frames()).map((
          [first, payload],
        ) => [first, payload[0]! << 8 | payload[1]!]),
        [[CLOSE, code]],
      );
    });
  });
}

Deno.test("the JSON-RPC WebSocket closes with 1013 where unfinished messages hold all bytes that there are", async () => {
  await withServer(async (upgrade) => {
    using open = new DisposableStack();
    // Half messages of 1 MiB less a byte: 64 of them fit into 64 MiB, no more.
    const half = frame(TEXT_BEGUN, new Uint8Array(MAX_REQUEST_BYTES - 1));
    const closed: Promise<[number, Uint8Array][]>[] = [];
    for (let i = 0; i < 65; i++) {
      const [, client] = await upgrade();
      open.use(client);
      await client.write(half);
      // Those that stay open end with this test, in the middle of a read.
      closed.push(client.frames().catch(() => new Promise(() => {})));
    }
    assertEquals(await Promise.race(closed), [
      [CLOSE, Uint8Array.of(1013 >> 8, 1013 & 0xff)],
    ]);
  });
});

Deno.test("FrameDecoder by message yields each message once, however it is framed and cut", () => {
  const message = fc.record({
    payload: fc.uint8Array({ maxLength: 300 }),
    cuts: fc.array(fc.nat(300), { maxLength: 3 }),
    isText: fc.boolean(),
    ping: fc.boolean(),
  });
  fc.assert(fc.property(
    fc.array(message, { maxLength: 8 }),
    fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1 }),
    (messages, sizes) => {
      const stream = messages.flatMap(({ payload, cuts, isText, ping }) => {
        const ends = [...cuts.filter((cut) => cut < payload.length), 0]
          .sort((a, b) => a - b);
        return ends.flatMap((start, i) => {
          const end = ends[i + 1] ?? payload.length;
          const last = i === ends.length - 1 ? 0x80 : 0;
          const opcode = i > 0 ? 0 : isText ? 1 : 2;
          return [
            ...ping ? frame(PING, new Uint8Array(3)) : [],
            ...frame(last | opcode, payload.subarray(start, end)),
          ];
        });
      });
      const decoder = new FrameDecoder("server", 300, true);
      const found: [boolean, number[]][] = [];
      let parts: number[] = [];
      let turn = 0;
      for (let at = 0; at < stream.length;) {
        const size = sizes[turn++ % sizes.length]!;
        let rest = Uint8Array.from(stream.slice(at, at + size));
        at += size;
        while (rest.length > 0) {
          const bytes = decoder.decode(rest, rest.length);
          parts.push(...rest.subarray(0, bytes));
          rest = rest.subarray(decoder.taken);
          if (!decoder.messageEnded) continue;
          found.push([decoder.isText, parts]);
          parts = [];
        }
      }
      assertEquals(
        found,
        messages.map(({ payload, isText }) => [isText, [...payload]]),
      );
    },
  ));
});
