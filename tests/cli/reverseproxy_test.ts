import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { connect } from "node:net";
import { type Address, parseAddress } from "../../net/address.ts";
import { numbered } from "../support/batches.ts";
import {
  freeUdpPort,
  ownGroup,
  Receiver,
  Sender,
} from "../support/datagram_peer.ts";
import { testOnEngines } from "../support/engines.ts";
import {
  type ProcessOptions,
  startRole,
  type TestProcess,
} from "../support/process.ts";
import { scrape } from "../support/prometheus.ts";
import { needsLinux } from "../support/skip.ts";
import {
  connectTo,
  resettingClient,
  TestReader,
  writeAll,
} from "../support/tcp.ts";

function encode(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}

/** Groups stay on the loopback interface, which only Linux lets us choose everywhere. */
const skip = needsLinux();

/** The reverse proxy on an engine, with a group of its own on lo. */
async function startReverse(
  engine: string,
  args: readonly string[],
  options: ProcessOptions & { group?: string } = {},
): Promise<{ reverse: TestProcess; group: string }> {
  const { group = `${ownGroup()}:${await freeUdpPort()}` } = options;
  const reverse = startRole("reverseproxy", [
    ...args,
    ...["--multicast-addr", group, "--interface", "lo", "--engine", engine],
  ], options);
  return { reverse, group };
}

/** Where it listens for UDP senders, TCP producers or subscribers. */
async function addressOf(
  reverse: TestProcess,
  whom: "" | " for producers" | " for subscribers",
  nth = 0,
): Promise<Address> {
  const found = await reverse.lines(
    new RegExp(` listening${whom} address=((?!239)\\S+)`),
    nth + 1,
  );
  return parseAddress(found[nth]![1]!);
}

/** A subscriber that the reverse proxy has taken. */
async function subscribe(reverse: TestProcess, nth = 1): Promise<TestReader> {
  const reader = await TestReader.connect(
    await addressOf(reverse, " for subscribers"),
  );
  await reverse.lines(/ subscriber connected /, nth);
  return reader;
}

testOnEngines(
  "reverseproxy gives what UDP senders and TCP producers say to subscribers, UDP outputs and the whole group",
  async (engine) => {
    await using output = await Receiver.open();
    const { reverse, group } = await startReverse(engine, [
      ...["--udp-listen-addr", "127.0.0.1:0", "--udp-listen-addr", "[::1]:0"],
      ...["--tcp-listen-addr", "127.0.0.1:0"],
      ...["--tcp-output-addr", "127.0.0.1:0", "--tcp_output_addr", "[::1]:0"],
      ...["--udp_output_addr", output.text],
    ]);
    await using _ = reverse;
    const subscribers = [
      await subscribe(reverse),
      await TestReader.connect(await addressOf(reverse, " for subscribers", 1)),
    ];
    await reverse.lines(/ subscriber connected /, 2);
    await using bystander = await Receiver.open(group, {
      networkInterface: "lo",
    });
    const texts: string[] = [];
    const say = async (text: string, send: () => Promise<void>) => {
      texts.push(text);
      await send();
      await Promise.all([
        ...subscribers.map((one) => one.atLeast(texts.join("").length)),
        output.atLeast(texts.length),
        bystander.atLeast(texts.length),
      ]);
    };
    for (const nth of [0, 1]) {
      await using sender = await Sender.open(
        await addressOf(reverse, "", nth),
      );
      await say(`udp ${nth};`, () => sender.send(`udp ${nth};`));
    }
    using producer = await connectTo(
      await addressOf(reverse, " for producers"),
    );
    await say(
      "tcp;",
      () => writeAll(producer, encode("tcp;")),
    );
    await using anywhere = await Sender.open(group, { networkInterface: "lo" });
    await say("the group;", () => anywhere.send("the group;"));
    for (const one of subscribers) {
      assertEquals(one.text, "udp 0;udp 1;tcp;the group;");
    }
    assertEquals(output.texts, texts);
    assertEquals(bystander.texts, texts);
    const { code, stdout, stderr } = await reverse.stop();
    assertEquals(code, 0, stderr);
    assertEquals(stdout.length, 0);
    assertStringIncludes(
      stderr,
      "sent to 2 subscribers: 52 B, 8 datagrams, 0 dropped",
    );
    assertStringIncludes(stderr, `sent to ${output.text}: 26 B, 4 datagrams`);
    for (const one of subscribers) {
      assertEquals(await one.ended(), "eof");
      await one[Symbol.asyncDispose]();
    }
  },
  skip,
);

testOnEngines(
  "reverseproxy takes a producer's end for the end of that producer alone",
  async (engine) => {
    const { reverse, group } = await startReverse(engine, [
      ...[
        "--tcp-listen-addr",
        "127.0.0.1:0",
        "--tcp-output-addr",
        "127.0.0.1:0",
      ],
    ]);
    await using _ = reverse;
    await using subscriber = await subscribe(reverse);
    await using spy = await Receiver.open(group, { networkInterface: "lo" });
    let said = "";
    const heard = async (text: string) => {
      said += text;
      await subscriber.atLeast(said.length);
      assertEquals(subscriber.text, said);
    };
    const address = await addressOf(reverse, " for producers");
    using staying = await connectTo(address);
    {
      using leaving = await connectTo(address);
      await writeAll(leaving, encode("leaving;"));
      await heard("leaving;");
    }
    await reverse.line(/ producer ended .* reason="it ended"/);
    const resetting = connect(address.port, address.hostname);
    resetting.write("resetting;");
    await heard("resetting;");
    resetting.resetAndDestroy();
    await reverse.line(/ producer ended .* reason=ECONNRESET/);
    for (const text of ["staying;", "still here;"]) {
      await writeAll(staying, encode(text));
      await heard(text);
    }
    using coming = await connectTo(address);
    await writeAll(coming, encode("coming;"));
    await heard("coming;");
    // The original sent empty datagrams without end after a producer's end.
    await spy.until(() => spy.texts.at(-1) === "coming;", "the last word");
    assertEquals(spy.texts.join(""), said);
    assert(spy.datagrams.every(({ length }) => length > 0));
    const { code, stderr } = await reverse.stop();
    assertEquals(code, 0, stderr);
    assertMatch(stderr, /read from 4 producers on /);
  },
  skip,
);

testOnEngines(
  "reverseproxy --lines and --datagram-size cut what producers say",
  async (engine) => {
    const { reverse, group } = await startReverse(engine, [
      ...["--tcp-listen-addr", "127.0.0.1:0", "--lines", "--datagram-size=20"],
    ]);
    await using _ = reverse;
    await using spy = await Receiver.open(group, { networkInterface: "lo" });
    using producer = await connectTo(
      await addressOf(reverse, " for producers"),
    );
    const text =
      "one\ntwo\nthree\nfour\nfive\na line of more than twenty bytes\nrest";
    await writeAll(producer, encode(text));
    await producer.closeWrite();
    // A line that its producer left unfinished is ended, so that no other is glued to it.
    await spy.until(() => spy.texts.join("") === `${text}\n`, "all of it");
    assertEquals(spy.texts, [
      "one\ntwo\nthree\nfour\n",
      "five\n",
      "a line of more than ",
      "twenty bytes\n",
      "rest\n",
    ]);
    assertEquals((await reverse.stop()).code, 0);
  },
  skip,
);

testOnEngines(
  "reverseproxy --idle-timeout closes a producer that has fallen silent",
  async (engine) => {
    const { reverse } = await startReverse(engine, [
      ...["--tcp-listen-addr", "127.0.0.1:0", "--idle-timeout=0.2"],
    ]);
    await using _ = reverse;
    using producer = await connectTo(
      await addressOf(reverse, " for producers"),
    );
    await writeAll(producer, encode("one"));
    assertEquals(await producer.read(new Uint8Array(1)), null);
    await reverse.line(/producer ended .* reason="idle timeout"/);
    assertEquals((await reverse.stop()).code, 0);
  },
  skip,
);

const FORMATS: readonly [format: string, expected: RegExp][] = [
  ["raw", /^noeol1noeol2\n$/],
  ["lines", /^noeol1\nnoeol2\n$/],
  // deno-lint-ignore no-control-regex
  ["length", /^\0\0\0\x06noeol1\0\0\0\x07noeol2\n$/],
  [
    "jsonl",
    /^\{"time":"[^"]+","source":"[^"]+","listener":"239[^"]+","text":"noeol1"\}\n\{.*"text":"noeol2\\n"\}\n$/,
  ],
];

for (const [format, expected] of FORMATS) {
  testOnEngines(
    `reverseproxy --format ${format} writes datagrams to subscribers`,
    async (engine) => {
      const { reverse, group } = await startReverse(engine, [
        ...["--tcp-output-addr", "127.0.0.1:0", "--format", format],
      ]);
      await using _ = reverse;
      await using reader = await subscribe(reverse);
      await using sender = await Sender.open(group, { networkInterface: "lo" });
      await sender.send("noeol1");
      await sender.send("noeol2\n");
      assertEquals((await reverse.stop()).code, 0);
      await reader.ended();
      assertMatch(reader.text, expected);
    },
    skip,
  );
}

testOnEngines(
  "reverseproxy --tee copies the UDP input, or the group where there is no input",
  async (engine) => {
    const { reverse, group } = await startReverse(engine, [
      ...[
        "--udp-listen-addr",
        "127.0.0.1:0",
        "--tcp-output-addr",
        "127.0.0.1:0",
      ],
      "--tee",
    ]);
    await using _ = reverse;
    await using subscriber = await subscribe(reverse);
    await using sender = await Sender.open(await addressOf(reverse, ""));
    const { reverse: other } = await startReverse(engine, [
      ...["--tcp-output-addr", "127.0.0.1:0", "--tee"],
    ], { group });
    await using __ = other;
    await addressOf(other, " for subscribers");
    const bytes = numbered(3000);
    await sender.send(bytes);
    await subscriber.atLeast(bytes.length);
    for (const role of [reverse, other]) {
      await role.stdoutBytes(bytes.length);
      const { code, stdout } = await role.stop();
      assertEquals(code, 0);
      assertEquals(stdout, bytes);
    }
  },
  skip,
);

testOnEngines(
  "reverseproxy goes on where a subscriber resets, and serves one that has ended its own side",
  async (engine) => {
    const { reverse } = await startReverse(engine, [
      ...[
        "--udp-listen-addr",
        "127.0.0.1:0",
        "--tcp-output-addr",
        "127.0.0.1:0",
      ],
    ]);
    await using _ = reverse;
    await using sender = await Sender.open(await addressOf(reverse, ""));
    await using half = await subscribe(reverse);
    await half.conn.closeWrite();
    const resetting = resettingClient(
      await addressOf(reverse, " for subscribers"),
      encode("what it says is passed over"),
    );
    await reverse.lines(/ subscriber connected /, 2);
    await sender.send("one;");
    await resetting;
    await reverse.line(/ subscriber ended .*reason=(ECONNRESET|EPIPE)/);
    await sender.send("two;");
    await half.atLeast(8);
    assertEquals(half.text, "one;two;");
    const { code, stderr } = await reverse.stop();
    assertEquals(code, 0, stderr);
    assertEquals(await half.ended(), "eof");
  },
  skip,
);

/** Datagrams that tell their number and their length. */
function record(id: number): Uint8Array {
  const length = 900 + id * 37 % 500;
  const bytes = new Uint8Array(length).fill(id & 0xff);
  new DataView(bytes.buffer).setUint32(0, id);
  return bytes;
}

/** The numbers of the records in a stream, and how many bytes of a part are behind them. */
function readRecords(stream: Uint8Array): { ids: number[]; rest: number } {
  const view = new DataView(stream.buffer, stream.byteOffset, stream.length);
  const ids: number[] = [];
  let at = 0;
  while (at + 4 <= stream.length) {
    const id = view.getUint32(at);
    const wanted = record(id);
    if (at + wanted.length > stream.length) break;
    const found = stream.subarray(at, at + wanted.length);
    assertEquals(found, wanted, `record ${id} at ${at} is not whole`);
    ids.push(id);
    at += wanted.length;
  }
  return { ids, rest: stream.length - at };
}

for (const policy of ["drop-oldest", "drop-newest", "disconnect"] as const) {
  testOnEngines(
    `reverseproxy --slow-subscriber ${policy} gives a slow one whole datagrams, counted, and a good one all`,
    async (engine) => {
      const { reverse } = await startReverse(engine, [
        ...["--udp-listen-addr", "127.0.0.1:0"],
        ...["--tcp-output-addr", "127.0.0.1:0", "--metrics-addr=127.0.0.1:0"],
        ...["--slow-subscriber", policy, "--queue=65536"],
      ]);
      await using _ = reverse;
      const [, metrics] = await reverse.line(/metrics door is open url=(\S+)/);
      await using sender = await Sender.open(await addressOf(reverse, ""));
      await using good = await subscribe(reverse);
      using slow = await connectTo(
        await addressOf(reverse, " for subscribers"),
      );
      await reverse.lines(/ subscriber connected /, 2);

      // In rounds that the smallest receive queue holds, the good one in step.
      let sent = 0;
      let bytes = 0;
      const round = async () => {
        const records = Array.from({ length: 30 }, () => record(sent++));
        for (const one of records) bytes += one.length;
        await sender.send(...records);
        await good.atLeast(bytes);
      };
      const dropped = "mproxy_subscribers_dropped_datagrams_total";
      // A first drop may be a moment in which its socket had no room: it is full
      // where most of what comes is dropped. Ended, it gets no more to drop.
      const most = policy === "disconnect" ? 1 : 20 * 30 / 2;
      let before = 0;
      for (let full = false; !full;) {
        for (let i = 0; i < 20; i++) await round();
        const now = (await scrape(metrics!)).sum(dropped);
        full = now - before >= most;
        before = now;
      }
      for (let i = 0; i < 5; i++) await round();

      const scraped = await scrape(metrics!);
      assertEquals(scraped.sum("mproxy_receive_dropped_datagrams_total"), 0);
      // The order is the network's: a system may deliver datagrams of two
      // processors out of order, even on its loopback interface.
      const order = readRecords(good.bytes).ids;
      assertEquals(
        order.toSorted((a, b) => a - b),
        Array.from({ length: sent }, (_, id) => id),
      );
      await using reader = TestReader.of(slow);
      if (policy === "disconnect") {
        await reverse.line(/ subscriber ended .*reason="too slow"/);
        assertEquals(scraped.sum("mproxy_subscribers_disconnected_total"), 1);
        assertEquals(scraped.sum("mproxy_subscribers_connected"), 1);
        assertEquals(await reader.ended(), "eof");
        // A gap nowhere: it ends where the queue was full.
        const got = reader.bytes;
        assertEquals(got, good.bytes.subarray(0, got.length));
        assert(got.length < bytes);
      } else {
        const kept = sent - scraped.sum(dropped);
        assert(scraped.sum("mproxy_subscriber_queued_bytes") <= 2 * 65536);
        await untilDrained(metrics!);
        await round();
        let found = readRecords(reader.bytes);
        while (found.ids.length < kept + 30) {
          await reader.atLeast(reader.bytes.length + 1);
          found = readRecords(reader.bytes);
        }
        assertEquals([found.ids.length, found.rest], [kept + 30, 0]);
        const places = new Map(
          readRecords(good.bytes).ids.map((id, place) => [id, place]),
        );
        const taken = found.ids.map((id) => places.get(id)!);
        assert(taken.every((place, i) => i === 0 || place > taken[i - 1]!));
        // Of the five rounds before the last one, as many as the queue holds, or hardly one.
        const newest = found.ids.filter((id) =>
          id >= sent - 180 && id < sent - 30
        ).length;
        if (policy === "drop-oldest") assert(newest >= 40, `${newest}`);
        else assert(newest <= 5, `${newest}`);
      }
      const { code, stderr } = await reverse.stop();
      assertEquals(code, 0, stderr);
      assertMatch(
        stderr,
        /sent to 2 subscribers: .* [1-9][\d ]* dropped \(queue full\)/,
      );
    },
    skip,
  );
}

/** Resolves when nothing waits for any subscriber. */
async function untilDrained(metrics: string): Promise<void> {
  while ((await scrape(metrics)).sum("mproxy_subscriber_queued_bytes") > 0);
}

testOnEngines(
  "reverseproxy gives subscribers what producers had said when it was told to end, then ends them",
  async (engine) => {
    const { reverse } = await startReverse(engine, [
      ...[
        "--tcp-listen-addr",
        "127.0.0.1:0",
        "--tcp-output-addr",
        "127.0.0.1:0",
      ],
      "--lines",
    ]);
    await using _ = reverse;
    await using subscriber = await subscribe(reverse);
    using producer = await connectTo(
      await addressOf(reverse, " for producers"),
    );
    const lines = Array.from({ length: 1000 }, (_, i) => `line ${i}\n`);
    await writeAll(producer, encode(lines.join("")));
    await subscriber.atLeast(1);
    const { code, stderr } = await reverse.stop();
    assertEquals(code, 0, stderr);
    assertEquals(await subscriber.ended(), "eof");
    // All that was read of the producer, and nothing of it in part.
    const [, read] = /read from 1 producer on \S+: ([\d.]+) (k?)B/.exec(
      stderr,
    )!;
    assert(subscriber.bytes.length >= Number(read) - 10, stderr);
    const got = subscriber.text.split("\n");
    assertEquals(got.pop(), "");
    assert(got.every((line) => lines.includes(`${line}\n`)));
    assertEquals(new Set(got).size, got.length);
  },
  skip,
);

testOnEngines(
  "reverseproxy ends after --grace although a subscriber takes nothing",
  async (engine) => {
    const { reverse } = await startReverse(engine, [
      ...[
        "--udp-listen-addr",
        "127.0.0.1:0",
        "--tcp-output-addr",
        "127.0.0.1:0",
      ],
      ...["--metrics-addr=127.0.0.1:0", "--grace=0.1"],
    ]);
    await using _ = reverse;
    const [, metrics] = await reverse.line(/metrics door is open url=(\S+)/);
    await using sender = await Sender.open(await addressOf(reverse, ""));
    using _stuck = await connectTo(
      await addressOf(reverse, " for subscribers"),
    );
    await reverse.line(/ subscriber connected /);
    await using good = await subscribe(reverse, 2);
    let bytes = 0;
    for (let full = false; !full;) {
      for (let i = 0; i < 20; i++) {
        await sender.send(...Array.from({ length: 30 }, (_, i) => record(i)));
        for (let id = 0; id < 30; id++) bytes += record(id).length;
        await good.atLeast(bytes);
      }
      full = (await scrape(metrics!)).sum("mproxy_subscriber_queued_bytes") >
        100_000;
    }
    reverse.signal("SIGTERM");
    const { code, stderr } = await reverse.end;
    // 1: what waited for the subscriber was cut.
    assertEquals(code, 1, stderr);
    assertStringIncludes(stderr, "the grace period is over");
    assertMatch(stderr, /sent to 2 subscribers: .* [1-9][\d ]* dropped/);
  },
  skip,
);
