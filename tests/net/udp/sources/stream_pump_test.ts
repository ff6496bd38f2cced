import { assertEquals } from "@std/assert";
import { makeCutter } from "../../../../net/udp/sources/splitter.ts";
import {
  type ByteSource,
  Feed,
  FEED_COUNTERS,
  type FeedOptions,
} from "../../../../net/udp/sources/stream_pump.ts";
import type { DatagramSink } from "../../../../net/udp/sinks/sink.ts";
import { CounterBlock } from "../../../../net/observe/counters.ts";
import { copiedDatagrams } from "../../../support/batches.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** A step of a source: bytes, another stream, or a read that lasts until something is sent. */
type Step = string | "restart" | { untilSent: number } | Error;

interface Fed {
  texts: string[];
  droppedPartial: number;
  error: unknown;
}

async function feed(
  steps: readonly Step[],
  cut: Parameters<typeof makeCutter>[0],
  options: Partial<FeedOptions> = {},
): Promise<Fed> {
  const texts: string[] = [];
  let sent = Promise.withResolvers<void>();
  const sink: DatagramSink = {
    write: (batch) => {
      texts.push(...copiedDatagrams(batch).map((one) => decoder.decode(one)));
      sent.resolve();
      sent = Promise.withResolvers();
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  const left = [...steps];
  let restarted = false;
  const source: ByteSource = {
    read: async (into) => {
      let step = left.shift();
      while (typeof step === "object" && "untilSent" in step) {
        while (texts.length < step.untilSent) await sent.promise;
        step = left.shift();
      }
      if (step === undefined) return null;
      if (step instanceof Error) throw step;
      restarted = step === "restart";
      return restarted ? 0 : encoder.encodeInto(step, into).written;
    },
    restarted: () => restarted,
  };
  const counters = new CounterBlock(FEED_COUNTERS);
  const cutter = makeCutter(cut);
  const { slots } = counters;
  let error: unknown;
  try {
    await new Feed({
      source,
      cutter,
      sinks: [sink],
      counters: slots,
      ...options,
    })
      .run();
  } catch (caught) {
    error = caught;
  }
  const { droppedPartial } = counters.read();
  return { texts, droppedPartial, error };
}

Deno.test("Feed sends a record that is not filled in time, and keeps the next ones aligned", async () => {
  const { texts } = await feed(
    ["abcdefgh", "ijk", { untilSent: 2 }, "lmnop", "qr"],
    { datagramBytes: 8, fill: true },
    { fillWaitMs: 5 },
  );
  assertEquals(texts, ["abcdefgh", "ijk", "lmnop", "qr"]);
});

Deno.test("Feed never glues the end of a stream to the start of the next one", async () => {
  const { texts } = await feed(
    ["one\nhal", "restart", "two\n"],
    { datagramBytes: 6, lines: true },
  );
  assertEquals(texts, ["one\n", "hal", "two\n"]);
  const records = await feed(
    ["abcdefghij", "restart", "klmnopqr"],
    { datagramBytes: 8, fill: true },
  );
  assertEquals(records.texts, ["abcdefgh", "ij", "klmnopqr"]);
});

Deno.test("Feed drops and counts an unfinished line or record where that is asked for", async () => {
  const lines = { datagramBytes: 100, lines: true };
  const records = { datagramBytes: 4, fill: true };
  const onPartial = "drop";
  const cases: [readonly Step[], typeof lines | typeof records, Fed][] = [
    [["one\nhal"], lines, {
      texts: ["one\n"],
      droppedPartial: 1,
      error: undefined,
    }],
    [["one\n"], lines, {
      texts: ["one\n"],
      droppedPartial: 0,
      error: undefined,
    }],
    [["abcdef"], records, {
      texts: ["abcd"],
      droppedPartial: 1,
      error: undefined,
    }],
  ];
  for (const [steps, cut, expected] of cases) {
    assertEquals(await feed(steps, cut, { onPartial }), expected);
  }
});

Deno.test("Feed ends an unfinished line of a stream that ended in order, and drops one that broke", async () => {
  const lines = { datagramBytes: 100, lines: true };
  const onPartial = "end-line";
  assertEquals(await feed(["one\ntwo"], lines, { onPartial }), {
    texts: ["one\n", "two\n"],
    droppedPartial: 0,
    error: undefined,
  });
  const error = new Deno.errors.ConnectionReset("reset");
  assertEquals(await feed(["one\ntwo", error], lines, { onPartial }), {
    texts: ["one\n"],
    droppedPartial: 1,
    error,
  });
});
