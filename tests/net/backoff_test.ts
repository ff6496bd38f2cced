import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { backoffMs } from "../../net/backoff.ts";

const BOUNDS = { firstMs: 500, mostMs: 5000 };

Deno.test("backoffMs doubles from the first wait to the longest", () => {
  assertEquals(
    [1, 2, 3, 4, 5, 6].map((failures) => backoffMs(failures, 0, BOUNDS)),
    [500, 1000, 2000, 4000, 5000, 5000],
  );
});

Deno.test("backoffMs takes off at most a half by chance, and never leaves its bounds", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 2 ** 31 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (failures, chance) => {
        const full = backoffMs(failures, 0, BOUNDS);
        const wait = backoffMs(failures, chance, BOUNDS);
        assert(wait >= full / 2 && wait <= full);
        assert(wait >= BOUNDS.firstMs / 2 && wait <= BOUNDS.mostMs);
      },
    ),
  );
});
