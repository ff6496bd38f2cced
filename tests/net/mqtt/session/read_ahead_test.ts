import { assertEquals, assertRejects } from "@std/assert";
import { ReadAhead } from "../../../../net/mqtt/session/read_ahead.ts";
import { MemoryStream, settled } from "../../../support/memory_stream.ts";
import { bytes } from "../../../support/mqtt_peer.ts";

/** A watched connection, and whether its end was seen. */
function watched() {
  const below = new MemoryStream();
  const stream = new ReadAhead(below);
  let ends = 0;
  stream.watch(() => ends++);
  const read = async (size: number) => {
    const buffer = new Uint8Array(size);
    const count = await stream.read(buffer);
    return count === null ? null : [...buffer.subarray(0, count)];
  };
  return { below, stream, read, ends: () => ends };
}

Deno.test("ReadAhead gives first what it read while it watched, then the rest", async () => {
  const { below, read, ends } = watched();
  below.push(bytes(1, 2, 3));
  await settled();
  below.push(bytes(4));
  assertEquals(await read(2), [1, 2]);
  assertEquals(await read(2), [3]);
  assertEquals(await read(2), [4]);
  below.pushEnd();
  assertEquals(await read(2), null);
  assertEquals(ends(), 0);
});

Deno.test("ReadAhead sees the end of a connection that nobody reads, and keeps it for the reader", async () => {
  const { below, read, ends } = watched();
  below.pushEnd();
  await settled();
  assertEquals(ends(), 1);
  assertEquals(await read(2), null);
  assertEquals(await read(2), null);
});

Deno.test("ReadAhead sees a connection break, and tells the reader why", async () => {
  const { stream, read, ends } = watched();
  stream.close();
  await settled();
  assertEquals(ends(), 1);
  await assertRejects(() => read(2));
});
