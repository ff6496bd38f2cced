import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { BufferPool } from "../../../../../net/engine/portable/stream/pipe.ts";

const KIB = 1024;

Deno.test("BufferPool starts small, grows with full reads and shrinks with small ones", () => {
  const pool = new BufferPool();
  let level = 0;
  const sizes: number[] = [];
  for (const bytes of [4, 16, 64, 256, 256, 100, 20, 1, 1]) {
    const buffer = pool.take(level);
    sizes.push(buffer.length / KIB);
    level = pool.nextLevel(Math.min(bytes * KIB, buffer.length), buffer.length);
    pool.give(buffer);
  }
  assertEquals(sizes, [4, 16, 64, 256, 256, 256, 256, 64, 16]);
});

Deno.test("BufferPool keeps a size that messages of that size need", () => {
  const pool = new BufferPool();
  // 64 KiB messages come as one full read of 64 KiB, then go on in 256 KiB.
  assertEquals(pool.nextLevel(64 * KIB, 256 * KIB), 3);
  // 1 KiB messages stay with the smallest.
  assertEquals(pool.nextLevel(KIB, 4 * KIB), 0);
});

Deno.test("BufferPool takes a largest size of any kind", () => {
  for (const bytes of [1000, 8192, 16 * KIB, 65536, 100_000, 1 << 20]) {
    const pool = new BufferPool(bytes);
    let level = 0;
    let largest = 0;
    for (let i = 0; i < 8; i++) {
      const buffer = pool.take(level);
      largest = Math.max(largest, buffer.length);
      level = pool.nextLevel(buffer.length, buffer.length);
      pool.give(buffer);
    }
    assertEquals(largest, bytes);
  }
});

Deno.test("BufferPool never has more large buffers than it may, and lends each once", () => {
  const largeBytes = 1 << 20;
  fc.assert(fc.property(
    fc.array(
      fc.record({ level: fc.integer({ min: 0, max: 3 }), at: fc.nat() }),
    ),
    (steps) => {
      const pool = new BufferPool(256 * KIB, largeBytes);
      const lent: Uint8Array<ArrayBuffer>[] = [];
      for (const { level, at } of steps) {
        if (lent.length > 0 && at % 3 === 0) {
          pool.give(lent.splice(at % lent.length, 1)[0]!);
        } else {
          const buffer = pool.take(level);
          assert(!lent.includes(buffer), "a buffer is lent twice");
          lent.push(buffer);
        }
        const large = lent.filter(({ length }) => length > 16 * KIB)
          .reduce((sum, { length }) => sum + length, 0);
        assert(large <= pool.heldBytes && pool.heldBytes <= largeBytes);
      }
      for (const buffer of lent) pool.give(buffer);
      // Given back, all of them can be lent again, as the largest.
      for (let i = 0; i < largeBytes / (256 * KIB); i++) {
        assertEquals(pool.take(3).length, 256 * KIB);
      }
      assert(pool.take(3).length <= 16 * KIB);
    },
  ));
});
