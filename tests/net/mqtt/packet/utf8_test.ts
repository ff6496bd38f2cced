/** The platform's decoder as a second opinion on UTF-8. */
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  checkUtf8,
  decodeUtf8,
  isAsciiText,
  isUnicodeText,
  UTF8_GOOD,
  UTF8_ILL_FORMED,
  UTF8_NUL,
  UTF8_SURROGATE,
  writeUtf8,
} from "../../../../net/mqtt/packet/utf8.ts";
import { hex } from "../../../support/mqtt_packet.ts";

const FATAL = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

const ENCODER = new TextEncoder();

function encodeUtf8(text: string): Uint8Array {
  return ENCODER.encode(text);
}

function decoderTakes(bytes: Uint8Array): boolean {
  try {
    FATAL.decode(bytes);
    return true;
  } catch {
    return false;
  }
}

// Bytes near the borders of the table of well-formed sequences.
const border = fc.constantFrom(
  ...[0x00, 0x01, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2],
  ...[0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5],
  ...[0xff],
);
const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 12 }),
  fc.array(border, { maxLength: 8 }).map((list) => new Uint8Array(list)),
  fc.string({ unit: "binary", maxLength: 8 }).map(encodeUtf8),
);

Deno.test("checkUtf8() takes what the platform's decoder takes, but U+0000", () => {
  fc.assert(
    fc.property(bytes, (sample) => {
      const good = checkUtf8(sample, 0, sample.length) === UTF8_GOOD;
      assertEquals(good, decoderTakes(sample) && !sample.includes(0));
      assertEquals(isUnicodeText(sample), decoderTakes(sample));
    }),
    { numRuns: 20_000 },
  );
});

Deno.test("checkUtf8() judges every first and second byte as the platform does", () => {
  const sample = new Uint8Array(4);
  const unlike: string[] = [];
  for (let first = 0; first < 256; first++) {
    for (let second = 0; second < 256; second++) {
      for (const tail of [[0x41, 0x41], [0x80, 0x41], [0xbf, 0x80]]) {
        sample.set([first, second, ...tail]);
        const ours = checkUtf8(sample, 0, 4) === UTF8_GOOD;
        const wanted = decoderTakes(sample) && !sample.includes(0);
        if (ours !== wanted) unlike.push(hex(sample));
      }
    }
  }
  assertEquals(unlike, []);
});

Deno.test("checkUtf8() tells U+0000 and surrogates from other faults", () => {
  const verdict = (...sample: number[]) =>
    checkUtf8(new Uint8Array(sample), 0, sample.length);
  assertEquals(verdict(0x61, 0x00), UTF8_NUL);
  assertEquals(verdict(0xc3, 0xa9, 0x00), UTF8_NUL);
  assertEquals(verdict(0xed, 0xa0, 0x80), UTF8_SURROGATE);
  assertEquals(verdict(0xed, 0xa0), UTF8_ILL_FORMED);
  assertEquals(verdict(0xc0, 0x80), UTF8_ILL_FORMED);
});

Deno.test("decodeUtf8() and writeUtf8() are each other's inverse", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      const buffer = new Uint8Array(3 + 3 * text.length);
      const end = writeUtf8(text, buffer, 3);
      assertEquals(decodeUtf8(buffer, 3, end), text);
      assertEquals(end - 3, encodeUtf8(text).length);
    }),
  );
});

Deno.test("isAsciiText() never takes one text for another", () => {
  fc.assert(
    fc.property(
      fc.string({ unit: "binary", maxLength: 4 }),
      fc.oneof(
        fc.string({ unit: "binary", maxLength: 4 }),
        fc.constantFrom("é", "Ã©", "a", "ab"),
      ),
      (text, other) => {
        const encoded = encodeUtf8(other);
        if (isAsciiText(encoded, 0, encoded.length, text)) {
          assertEquals(text, other);
        }
      },
    ),
    { numRuns: 5000 },
  );
  // The bytes of é are the code units of another text.
  assertEquals(isAsciiText(encodeUtf8("é"), 0, 2, "Ã©"), false);
  assertEquals(isAsciiText(encodeUtf8("ab"), 0, 2, "ab"), true);
});
