import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  applyMask,
  BINARY_FRAME,
  CLOSE_FRAME,
  FrameDecoder,
  frameHeaderBytes,
  PONG_FRAME,
  WebSocketViolation,
  writeFrame,
} from "../../../net/websocket/frames.ts";
import { bytes, join } from "../../support/mqtt_peer.ts";

/** A frame, written by hand. */
function frame(
  first: number,
  payload: readonly number[] | Uint8Array,
  mask?: number[],
): Uint8Array {
  const length = payload.length < 126
    ? [payload.length]
    : payload.length < 65536
    ? [126, payload.length >> 8, payload.length & 0xff]
    : [
      127,
      0,
      0,
      0,
      0,
      ...new Uint8Array(
        new Uint32Array([payload.length]).buffer,
      ).reverse(),
    ];
  length[0]! |= mask ? 0x80 : 0;
  const sent = mask
    ? [...payload].map((byte, i) => byte ^ mask[i & 3]!)
    : [...payload];
  return Uint8Array.from([first, ...length, ...mask ?? [], ...sent]);
}

/** Decodes a stream in pieces of the sizes given, again and again. */
function decode(
  decoder: FrameDecoder,
  stream: Uint8Array,
  sizes: readonly number[] = [stream.length || 1],
): Uint8Array {
  const parts: Uint8Array[] = [];
  let turn = 0;
  for (let at = 0; at < stream.length; turn++) {
    const size = Math.min(sizes[turn % sizes.length]!, stream.length - at);
    const buffer = stream.slice(at, at + size);
    parts.push(buffer.slice(0, decoder.decode(buffer, size)));
    at += size;
  }
  return join(...parts);
}

Deno.test("FrameDecoder yields what was sent, however it is framed, masked and cut", () => {
  const piece = fc.record({
    payload: fc.uint8Array({ maxLength: 400 }),
    mask: fc.array(fc.nat(255), { minLength: 4, maxLength: 4 }),
    control: fc.constantFrom("", "ping", "pong"),
    more: fc.boolean(),
  });
  fc.assert(fc.property(
    fc.array(piece, { minLength: 1, maxLength: 8 }),
    fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 5 }),
    fc.boolean(),
    (pieces, sizes, isServer) => {
      const frames: Uint8Array[] = [];
      let open = false;
      for (const { payload, mask, control, more } of pieces) {
        const own = isServer ? mask : undefined;
        const last = !more || payload === pieces.at(-1)!.payload;
        frames.push(frame((last ? 0x80 : 0) | (open ? 0 : 2), payload, own));
        open = !last;
        if (control === "ping") frames.push(frame(0x89, [1, 2], own));
        if (control === "pong") frames.push(frame(0x8a, [], own));
      }
      const decoder = new FrameDecoder(isServer ? "server" : "client", 1 << 20);
      assertEquals(
        decode(decoder, join(...frames), sizes),
        join(...pieces.map(({ payload }) => payload)),
      );
      const pinged = pieces.some(({ control }) => control === "ping");
      assertEquals(decoder.ping, pinged ? bytes(1, 2) : undefined);
    },
  ));
});

Deno.test("writeFrame() writes what FrameDecoder reads, with lengths of all three forms", () => {
  for (const length of [0, 1, 125, 126, 127, 65535, 65536, 100_000]) {
    for (const mask of [undefined, bytes(1, 2, 3, 4)]) {
      const payload = Uint8Array.from({ length }, (_, i) => i * 7 & 0xff);
      const target = new Uint8Array(length + 14);
      const end = writeFrame(target, BINARY_FRAME, payload, mask);
      assertEquals(end, frameHeaderBytes(length, mask !== undefined) + length);
      const decoder = new FrameDecoder(mask ? "server" : "client", 1 << 20);
      assertEquals(decode(decoder, target.subarray(0, end)), payload);
    }
  }
});

Deno.test("applyMask() masks any part of a buffer like byte by byte", () => {
  fc.assert(fc.property(
    fc.uint8Array({ minLength: 1, maxLength: 200 }),
    fc.nat(7),
    fc.nat(3),
    fc.uint8Array({ minLength: 4, maxLength: 4 }),
    (data, offset, phase, mask) => {
      const buffer = new Uint8Array(offset + data.length + 3);
      const part = buffer.subarray(offset);
      part.set(data);
      const next = applyMask(part, 0, data.length, mask, phase);
      assertEquals(
        part.subarray(0, data.length),
        data.map((byte, i) => byte ^ mask[(i + phase) & 3]!),
      );
      assertEquals(next, (phase + data.length) & 3);
    },
  ));
});

const MASK = [1, 2, 3, 4];

const VIOLATIONS: [
  name: string,
  role: "server" | "client",
  stream: Uint8Array,
  code: number,
][] = [
  ["text, where binary is required", "server", frame(0x81, [65], MASK), 1003],
  ["a reserved bit", "server", frame(0xc2, [1], MASK), 1002],
  ["an unknown opcode", "server", frame(0x83, [], MASK), 1002],
  ["an unknown control opcode", "server", frame(0x8b, [], MASK), 1002],
  ["a continuation of nothing", "server", frame(0x80, [1], MASK), 1002],
  [
    "a message inside a message",
    "server",
    join(frame(0x02, [1], MASK), frame(0x82, [1], MASK)),
    1002,
  ],
  ["a bare frame to a server", "server", frame(0x82, [1]), 1002],
  ["a masked frame to a client", "client", frame(0x82, [1], MASK), 1002],
  ["a ping in fragments", "server", frame(0x09, [1], MASK), 1002],
  [
    "a ping of 126 bytes",
    "server",
    frame(0x89, new Uint8Array(126), MASK),
    1002,
  ],
  ["a length of 2 bytes for 125", "client", bytes(0x82, 126, 0, 125), 1002],
  [
    "a length of 8 bytes for 65535",
    "client",
    bytes(0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff),
    1002,
  ],
  ["a frame beyond the limit", "client", bytes(0x82, 126, 4, 1), 1009],
  [
    "a frame of 2^63 bytes",
    "client",
    bytes(0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0),
    1009,
  ],
  ["a close of one byte", "client", frame(0x88, [3]), 1002],
  ["a close with code 999", "client", frame(0x88, [3, 0xe7]), 1002],
  ["a close with code 1005", "client", frame(0x88, [3, 0xed]), 1002],
  ["a close with code 2999", "client", frame(0x88, [0xb, 0xb7]), 1002],
  [
    "a close reason that is no UTF-8",
    "client",
    frame(0x88, [3, 0xe8, 0xc0, 0xaf]),
    1007,
  ],
];

for (const [name, role, stream, code] of VIOLATIONS) {
  Deno.test(`FrameDecoder refuses ${name}, whole and byte by byte`, () => {
    for (const sizes of [[stream.length], [1]]) {
      const decoder = new FrameDecoder(role, 1024);
      const error = assertThrows(
        () => decode(decoder, stream, sizes),
        WebSocketViolation,
      ) as WebSocketViolation;
      assertEquals(error.closeCode, code);
    }
  });
}

Deno.test("FrameDecoder takes nothing that follows a close", () => {
  for (
    const [payload, code] of [
      [[], 1005],
      [[3, 0xe8], 1000],
      [[3, 0xe8, 0x62, 0x79, 0x65], 1000],
      [[0xb, 0xb8], 3000],
      [[0x13, 0x87], 4999],
    ] as [number[], number][]
  ) {
    const decoder = new FrameDecoder("client", 1024);
    const stream = join(
      frame(0x82, [1, 2]),
      frame(0x88, payload),
      frame(0x82, [3]),
    );
    assertEquals(decode(decoder, stream), bytes(1, 2));
    assertEquals(decoder.closeCode, code);
  }
});

Deno.test("writeFrame() writes control frames", () => {
  const target = new Uint8Array(20);
  assertEquals(
    target.slice(0, writeFrame(target, PONG_FRAME, bytes(7))),
    bytes(0x8a, 1, 7),
  );
  assertEquals(
    target.slice(0, writeFrame(target, CLOSE_FRAME, bytes(3, 0xe8))),
    bytes(0x88, 2, 3, 0xe8),
  );
});
