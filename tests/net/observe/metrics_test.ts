import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  mergeMetrics,
  type Metric,
  prometheusText,
} from "../../../net/observe/metrics.ts";
import { Scrape } from "../../support/prometheus.ts";

function counter(
  name: string,
  ...samples: [Record<string, string>, number][]
): Metric {
  return {
    name,
    help: `What ${name} counts.`,
    type: "counter",
    samples: samples.map(([labels, value]) => ({ labels, value })),
  };
}

Deno.test("prometheusText gives back names, types, labels and values to a strict reader", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(fc.string({ unit: "binary" }), {
        minLength: 1,
        maxLength: 5,
      }),
      fc.nat(),
      async (addresses, value) => {
        const text = await prometheusText([
          counter(
            "mproxy_a_total",
            ...addresses.map((address, i) =>
              [{ address }, value + i] as [Record<string, string>, number]
            ),
          ),
          {
            name: "mproxy_b",
            help: "B.",
            type: "gauge",
            samples: [{ value: -1.5 }],
          },
        ]);
        const scraped = new Scrape(text);
        assertEquals(Object.fromEntries(scraped.types), {
          mproxy_a_total: "counter",
          mproxy_b: "gauge",
        });
        for (const [i, address] of addresses.entries()) {
          assertEquals(scraped.sum("mproxy_a_total", { address }), value + i);
        }
        assertEquals(scraped.sum("mproxy_b"), -1.5);
      },
    ),
    { numRuns: 50 },
  );
});

Deno.test("prometheusText adds up values of the same labels, so that no scraper sees one twice", async () => {
  const text = await prometheusText([
    counter(
      "mproxy_received_total",
      [{ listener: "a" }, 1],
      [{ listener: "b" }, 2],
      [{ listener: "a" }, 4],
    ),
  ]);
  const scraped = new Scrape(text);
  assertEquals(scraped.sum("mproxy_received_total", { listener: "a" }), 5);
  assertEquals(scraped.sum("mproxy_received_total", { listener: "b" }), 2);
});

Deno.test("prometheusText writes a histogram with its suffixes", async () => {
  const scraped = new Scrape(
    await prometheusText([{
      name: "mproxy_seconds",
      help: "Seconds.",
      type: "histogram",
      samples: [
        { labels: { le: "0.1" }, value: 1, suffix: "_bucket" },
        { labels: { le: "+Inf" }, value: 2, suffix: "_bucket" },
        { value: 3.5, suffix: "_sum" },
        { value: 2, suffix: "_count" },
      ],
    }]),
  );
  assertEquals(scraped.sum("mproxy_seconds_bucket", { le: "+Inf" }), 2);
  assertEquals(scraped.sum("mproxy_seconds_sum"), 3.5);
});

Deno.test("mergeMetrics joins the values of one name and keeps the order", () => {
  assertEquals(
    mergeMetrics([
      counter("a", [{ x: "1" }, 1]),
      counter("b", [{}, 2]),
      counter("a", [{ x: "2" }, 3]),
    ]),
    [counter("a", [{ x: "1" }, 1], [{ x: "2" }, 3]), counter("b", [{}, 2])],
  );
});

Deno.test("Scrape refuses what a scraper would refuse", () => {
  const type = "# TYPE a counter\n";
  for (
    const text of [
      "a 1\n",
      `${type}a 1`,
      `${type}a one\n`,
      `${type}a 1\na 2\n`,
      `${type}a{x="1"} 1\na{x="1"} 2\n`,
      `${type}${type}a 1\n`,
      `${type}a{x=1} 1\n`,
    ]
  ) assertThrows(() => new Scrape(text), Error);
});
