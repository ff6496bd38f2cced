/** Which buffers a connection holds, and how many are kept. */
import { assert, assertEquals } from "@std/assert";
import { BufferPool } from "../../../../net/mqtt/session/buffer_pool.ts";
import { ChunkBuffer } from "../../../../net/mqtt/session/chunk_buffer.ts";

/** Bytes of the buffer that waits for the next chunk, after chunks of these lengths. */
function waitingBytes(...lengths: number[]): number {
  const chunks = new ChunkBuffer(new BufferPool());
  for (const length of lengths) {
    chunks.window();
    chunks.took(length);
  }
  chunks.window();
  return chunks.buffer.length;
}

Deno.test("ChunkBuffer grows where a read fills it, and shrinks where one does not", () => {
  assertEquals(waitingBytes(), 512);
  assertEquals(waitingBytes(447), 512);
  assertEquals(waitingBytes(448), 4096);
  assertEquals(waitingBytes(448, 3584), 65536);
  assertEquals(waitingBytes(448, 3584, 57344), 65536);
  assertEquals(waitingBytes(448, 3584, 3584), 65536);
  assertEquals(waitingBytes(448, 3584, 3583), 4096);
  assertEquals(waitingBytes(448, 3584, 3583, 447), 512);
});

Deno.test("ChunkBuffer waits with a large buffer only where the chunk before filled a medium one", () => {
  // A message of 900 bytes, over and over: its rest is more than the small buffer.
  assertEquals(waitingBytes(448, 452, 900, 900, 900), 4096);
});

Deno.test("ChunkBuffer gives its buffer back, and leaves room before each chunk", () => {
  const pool = new BufferPool();
  const chunks = new ChunkBuffer(pool);
  chunks.window();
  chunks.took(448);
  assertEquals([chunks.window().length, chunks.start], [3584, 512]);
  const medium = chunks.buffer;
  chunks.release();
  assertEquals(chunks.buffer.length, 512);
  assert(pool.take(1) === medium);
});

Deno.test("BufferPool keeps so many free buffers and no more", () => {
  const pool = new BufferPool();
  const taken = Array.from({ length: 65 }, () => pool.take(65536));
  for (const buffer of taken) pool.give(buffer);
  const again = new Set(Array.from({ length: 65 }, () => pool.take(4097)));
  assertEquals(taken.filter((buffer) => again.has(buffer)).length, 64);
  const large = pool.take(65537);
  pool.give(large);
  assert(pool.take(65537) !== large);
});
