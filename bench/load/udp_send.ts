/**
 * Sends datagrams to one address for a time, as fast as it can or so many a second.
 *
 *     udp_send.ts --to HOST:PORT --size BYTES --seconds S [--plain | --per-second N]
 *                 [--engine portable]
 *
 * Prints `sending` when it begins and `sent DATAGRAMS BYTES` at the end, on
 * stderr. By default the kernel cuts joined sends (UDP_SEGMENT); `--plain`
 * sends each datagram by itself, 64 a call, and `--per-second` one a call.
 */
import { parseArgs } from "@std/cli/parse-args";
import { parseAddress } from "../../net/address.ts";
import { DatagramBatch, MAX_DATAGRAM_BYTES } from "../../net/engine/batch.ts";
import { chooseDatagramEngine } from "../../net/engine/choose_datagram.ts";
import {
  type DatagramEngine,
  SEND_COUNTERS,
  SentSlot,
} from "../../net/engine/datagram.ts";
import { createLinuxEngine } from "../../net/engine/linux/datagram/engine.ts";
import {
  ENOPROTOOPT,
  SOL_UDP,
  UDP_SEGMENT,
} from "../../net/engine/linux/ffi/constants.ts";
import { type Libc, openLibc } from "../../net/engine/linux/ffi/libc.ts";
import { CounterBlock } from "../../net/observe/counters.ts";
import { say } from "./samples.ts";

/** Datagrams of one joined send that every kernel takes. */
const SEGMENTS = 64;

const {
  to,
  size,
  seconds,
  plain,
  engine = "linux",
  "per-second": perSecond,
} = parseArgs(Deno.args, {
  string: ["to", "size", "seconds", "engine", "per-second"],
  boolean: ["plain"],
});
const bytes = Number(size);
const counters = new CounterBlock(SEND_COUNTERS);
const sender = await openEngine().connect({
  address: parseAddress(to!),
  maxWaitMs: Infinity,
  counters: counters.slots,
});
const batch = makeBatch();

say("sending");
const start = performance.now();
const end = start + Number(seconds) * 1000;
const perMs = perSecond === undefined ? Infinity : Number(perSecond) / 1000;
const sent = counters.slots;
for (let now = start; now < end; now = performance.now()) {
  // Without a rate Infinity times 0 is NaN, which nothing exceeds.
  if (sent[SentSlot.datagrams]! > (now - start) * perMs) continue;
  const pending = sender.send(batch);
  if (pending) await pending;
}
sender[Symbol.dispose]();
say(
  `sent ${counters.slots[SentSlot.datagrams]} ${
    counters.slots[SentSlot.bytes]
  }`,
);

function openEngine(): DatagramEngine {
  if (engine === "portable") return chooseDatagramEngine("portable");
  if (!plain) return createLinuxEngine({ blocking: true });
  return createLinuxEngine({
    blocking: true,
    libc: withoutSegments(openLibc()),
  });
}

/** A batch of full slots; plain datagrams have a slot each. */
function makeBatch(): DatagramBatch {
  const joined = plain || perSecond || engine === "portable" ? 1 : Math.max(
    1,
    Math.min(SEGMENTS, Math.floor(MAX_DATAGRAM_BYTES / bytes)),
  );
  const slots = perSecond || engine === "portable" ? 1 : joined > 1 ? 4 : 64;
  const batch = new DatagramBatch(slots, Math.max(1, joined * bytes));
  batch.lengths.fill(joined * bytes);
  batch.segmentSizes.fill(bytes);
  batch.count = slots;
  return batch;
}

/** A libc on a kernel before 4.18: it does not know UDP_SEGMENT. */
function withoutSegments(libc: Libc): Libc {
  let refused = false;
  return {
    name: libc.name,
    symbols: {
      ...libc.symbols,
      setsockopt: (fd, level, name, value, length) => {
        refused = level === SOL_UDP && name === UDP_SEGMENT;
        return refused
          ? -1
          : libc.symbols.setsockopt(fd, level, name, value, length);
      },
    },
    errno: () => refused ? ENOPROTOOPT : libc.errno(),
    [Symbol.dispose]: () => libc[Symbol.dispose](),
  };
}
