import { assertEquals } from "@std/assert";
import { parseAddress } from "../../../../net/address.ts";
import { LogFormatter } from "../../../../net/udp/file_log/log_format.ts";
import { batchOf, concat, numbered } from "../../../support/batches.ts";

function formatted(formatter: LogFormatter, ...all: Uint8Array[]): Uint8Array {
  const batch = batchOf(...all.map((bytes) => ({ bytes })));
  const parts: Uint8Array[] = [];
  for (let slot = 0; slot < batch.count; slot++) {
    formatter.writeSlot(batch, slot, 0, {
      append: (bytes) => void parts.push(bytes.slice()),
    });
  }
  return concat(parts);
}

Deno.test("LogFormatter puts the length before each datagram in length, 4 bytes, big-endian, also of an empty one", () => {
  const large = numbered(65_507);
  assertEquals(
    formatted(
      new LogFormatter("length"),
      new Uint8Array([1, 2, 3]),
      new Uint8Array(0),
      large,
    ),
    concat([
      new Uint8Array([0, 0, 0, 3, 1, 2, 3]),
      new Uint8Array([0, 0, 0, 0]),
      new Uint8Array([0, 0, 0xff, 0xe3]),
      large,
    ]),
  );
});

Deno.test("LogFormatter names the listener in jsonl", () => {
  const formatter = new LogFormatter("jsonl", parseAddress("[::1]:9920"));
  const line = new TextDecoder().decode(
    formatted(formatter, new TextEncoder().encode("x")),
  );
  assertEquals(JSON.parse(line), {
    time: "1970-01-01T00:00:00.000Z",
    source: "127.0.0.1:1000",
    listener: "[::1]:9920",
    text: "x",
  });
});
