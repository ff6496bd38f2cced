import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { Pacer } from "../../../../net/udp/sources/pacer.ts";

/** What the pacer's head says of its depth: 10 ms of the rate or 64 KiB, at least a burst. */
function depthBytes(bitsPerSecond: number, burstBytes: number): number {
  return Math.max(
    burstBytes,
    Math.min(bitsPerSecond / 8000 * 10, 64 * 1024),
  );
}

interface Sent {
  atMs: number;
  bytes: number;
}

/** Sends as much as the pacer lets go at each of these moments. */
function sendAt(
  pacer: Pacer,
  momentsMs: Iterable<number>,
  nextBytes: () => number,
): Sent[] {
  const sent: Sent[] = [];
  let bytes = nextBytes();
  for (const atMs of momentsMs) {
    while (pacer.delayMs(bytes, atMs) === 0) {
      pacer.sent(bytes);
      sent.push({ atMs, bytes });
      bytes = nextBytes();
    }
  }
  return sent;
}

/** The most that any window of time saw above the rate. */
function excess(sent: readonly Sent[], bitsPerSecond: number): number {
  const bytesPerMs = bitsPerSecond / 8000;
  let least = 0;
  let most = 0;
  let sum = 0;
  for (const { atMs, bytes } of sent) {
    least = Math.min(least, sum - atMs * bytesPerMs);
    sum += bytes;
    most = Math.max(most, sum - atMs * bytesPerMs - least);
  }
  return most;
}

const rate = fc.oneof(
  fc.integer({ min: 1000, max: 1_000_000 }),
  fc.integer({ min: 1_000_000, max: 1_000_000_000 }),
  fc.constantFrom(1e10, 1e12),
);
const datagramBytes = fc.oneof(
  fc.constantFrom(1, 64, 1452, 65507),
  fc.integer({ min: 1, max: 65507 }),
);
const steps = fc.array(
  fc.oneof(
    fc.double({ min: 0, max: 2, noNaN: true }),
    fc.double({ min: 0, max: 500, noNaN: true }),
  ),
  { minLength: 1, maxLength: 60 },
);

Deno.test("Pacer lets no window of time have more than the rate and its depth", () => {
  fc.assert(
    fc.property(
      rate,
      datagramBytes,
      steps,
      fc.array(fc.double({ min: 0.01, max: 1, noNaN: true }), {
        minLength: 1,
        maxLength: 10,
      }),
      (bitsPerSecond, datagramBytes, steps, shares) => {
        let now = 0;
        const moments = steps.map((step) => now += step);
        const pacer = new Pacer(bitsPerSecond, datagramBytes, 0);
        const { burstBytes } = pacer;
        let i = 0;
        const sent = sendAt(
          pacer,
          moments,
          () => Math.ceil(burstBytes * shares[i++ % shares.length]!),
        );
        // A rest of less than a byte is let through as a rounding error.
        const most = depthBytes(bitsPerSecond, burstBytes) + 1;
        const found = excess(sent, bitsPerSecond);
        assert(found <= most * 1.000001, `${found} > ${most}`);
      },
    ),
    { numRuns: 300 },
  );
});

Deno.test("Pacer reaches the rate where it is asked again when it said", () => {
  fc.assert(
    fc.property(rate, datagramBytes, (bitsPerSecond, datagramBytes) => {
      const pacer = new Pacer(bitsPerSecond, datagramBytes, 0);
      const bytes = pacer.burstBytes;
      let now = 0;
      let sum = 0;
      for (let i = 0; i < 300; i++) {
        const delay = pacer.delayMs(bytes, now);
        if (delay > 0) {
          now += delay;
          continue;
        }
        pacer.sent(bytes);
        sum += bytes;
      }
      const wanted = now * bitsPerSecond / 8000;
      assert(sum >= wanted * 0.999999 - 1, `${sum} < ${wanted}`);
      assert(sum <= wanted * 1.000001 + bytes + 1, `${sum} > ${wanted}`);
    }),
  );
});

Deno.test("Pacer makes good a wake-up that comes up to 10 ms late", () => {
  const bitsPerSecond = 40e6;
  const pacer = new Pacer(bitsPerSecond, 1400, 0);
  const moments = Array.from({ length: 200 }, (_, i) => (i + 1) * 9);
  const sent = sendAt(pacer, moments, () => 1400);
  const sum = sent.reduce((all, { bytes }) => all + bytes, 0);
  const wanted = 200 * 9 * bitsPerSecond / 8000;
  assert(sum > wanted - 1400 && sum < wanted + 2 * 1400 + 5000, `${sum}`);
});

Deno.test("Pacer does not make good a pause, beyond its depth", () => {
  const pacer = new Pacer(40e6, 1400, 0);
  const sent = sendAt(pacer, [60_000], () => 1400);
  assertEquals(
    sent.length,
    Math.floor(depthBytes(40e6, pacer.burstBytes) / 1400),
  );
});

Deno.test("Pacer.burstBytes is whole datagrams, at least one, and at most half of a default receive queue", () => {
  fc.assert(
    fc.property(rate, datagramBytes, (bitsPerSecond, datagramBytes) => {
      const { burstBytes } = new Pacer(bitsPerSecond, datagramBytes, 0);
      assertEquals(burstBytes % datagramBytes, 0);
      assert(burstBytes >= datagramBytes);
      assert(burstBytes <= Math.max(datagramBytes, 65536));
    }),
  );
});

Deno.test("Pacer takes a clock that runs backwards for one that stands", () => {
  const pacer = new Pacer(8_000_000, 1000, 1000);
  pacer.sent(1000);
  assertEquals(pacer.delayMs(1000, 900), 1);
  assertEquals(pacer.delayMs(1000, 901), 0);
});

Deno.test("Pacer sends what its rate gives in a millisecond at once, and makes good 10 ms, within half a receive queue", () => {
  const shapeOf = (bitsPerSecond: number) => {
    const { burstBytes, catchUpMs } = new Pacer(bitsPerSecond, 1000, 0);
    return [burstBytes, catchUpMs];
  };
  // 5000 bytes in a millisecond.
  assertEquals(shapeOf(40e6), [5000, 10]);
  // 125 000 bytes in a millisecond: 32 KiB are 32 datagrams, 64 KiB are 0.52 ms.
  assertEquals(shapeOf(1e9), [32_000, 65_536 / 125_000]);
  // One byte in a millisecond: a datagram is the least.
  assertEquals(shapeOf(8000), [1000, 1000]);
});

Deno.test("Pacer waits for the last byte", () => {
  // One byte in a millisecond.
  const pacer = new Pacer(8000, 10, 0);
  pacer.sent(10);
  assertEquals(
    [0, 9, 9.5, 10].map((nowMs) => pacer.delayMs(10, nowMs)),
    [10, 1, 0, 0],
  );
});
