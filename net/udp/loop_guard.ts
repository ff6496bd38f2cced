/**
 * Ends loops at run time: two proxies that send to each other's groups, or a
 * broadcast that comes back to its own sender. Pure; the clock is an argument.
 *
 * A relay that is part of a loop receives a datagram first from its origin and
 * then again and again from another port. That alone proves nothing, because
 * two senders may send the same bytes. So the relay tests it:
 *
 * 1. `filter` counts how often the same bytes come back from a second port.
 * 2. After SUSPECT_REPEATS it holds every further copy. A loop falls silent.
 * 3. `release` sends one copy. In a loop exactly one comes back. After RETURNS
 *    of them the port is known to return what is sent: copies are dropped at once.
 * 4. Where nothing comes back, or more than was sent, the held copies go out,
 *    late but complete.
 *
 * The unit is a slot of a batch. Slots that the kernel has joined are cut
 * differently at each turn of a loop, so a joined slot is counted by its first
 * datagram, and no more than counted: once it is suspect, `singles` asks for
 * reads that are not joined, until the suspicion is disproved.
 */
import { DatagramBatch } from "../engine/batch.ts";

/** Copies from a second port after which a loop is suspected. */
const SUSPECT_REPEATS = 32;

/** Copies further apart than this are no loop, in milliseconds. */
const FORGET_MS = 5000;

/** Copies slower than this are no loop: so long may all repeats take, in milliseconds. */
const REPEATS_MS = 4000;

/** Copies held for one test; they are equal, so only their number takes memory. */
const MAX_HELD_COPIES = 4096;

/** A loop is silent at least this long while its copies are held, in milliseconds. */
const MIN_SILENT_MS = 100;

/** And so many mean intervals between its copies: a sender with a period is not. */
const SILENT_INTERVALS = 8;

/** Who has not fallen silent after so many silences is no loop. */
const MAX_SILENCES = 3;

/**
 * A released copy comes back within half a silence, so often in a row, alone.
 * Each silence is twice as long as the one before, which no period passes.
 */
const RETURNS = 3;

/** Tests at a time: each keeps a copy of one slot. */
const MAX_TESTS = 64;

/** How long a port is known to loop, or not to, after its last copy, in milliseconds. */
const KNOWN_MS = 30_000;

/** Fingerprints that are remembered: a power of two. */
const ENTRIES = 1024;

/** Finds and drops datagrams that come back. */
export interface LoopGuardOptions {
  /** Called once for each port that returns what is sent, with a slot that it sent. */
  onLoop: (batch: DatagramBatch, slot: number) => void;
}

/** One suspicion under test. */
interface LoopTest {
  readonly port: number;
  readonly copy: DatagramBatch;
  readonly silentMs: number;
  readonly sinceMs: number;
  state: "holding" | "released" | "returned" | "disproved";
  /** Copies that are held. */
  copies: number;
  /** When the last copy came, or was released. */
  lastMs: number;
  returns: number;
}

/** Watches what one relay receives. */
export class LoopGuard {
  readonly #onLoop: LoopGuardOptions["onLoop"];
  readonly #hashes = new Int32Array(ENTRIES);
  readonly #lastMs = new Float64Array(ENTRIES).fill(-Infinity);
  readonly #sinceMs = new Float64Array(ENTRIES);
  readonly #firstPorts = new Uint16Array(ENTRIES);
  readonly #otherPorts = new Uint16Array(ENTRIES);
  readonly #repeats = new Uint16Array(ENTRIES);
  /** Until when a port is known to return what is sent, in milliseconds. */
  readonly #looping = new Map<number, number>();
  /** Until when a port is known not to. */
  readonly #harmless = new Map<number, number>();
  readonly #tests = new Map<number, LoopTest>();
  #dropped = 0;
  #singles = false;

  constructor(options: LoopGuardOptions) {
    this.#onLoop = options.onLoop;
  }

  /** Datagrams dropped so far because they came back. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Whether the next slots must hold one datagram each. */
  get singles(): boolean {
    return this.#singles;
  }

  /** Takes the copies that come back out of a batch. */
  filter(batch: DatagramBatch, nowMs: number): void {
    batch.startMoves();
    let kept = 0;
    for (let slot = 0; slot < batch.count; slot++) {
      if (!this.#passes(batch, slot, nowMs)) continue;
      if (kept < slot) batch.moveSlot(slot, kept);
      kept++;
    }
    batch.count = kept;
  }

  /** A batch of one slot that is due to be sent, or undefined. To be called until then. */
  release(nowMs: number): DatagramBatch | undefined {
    for (const [hash, test] of this.#tests) {
      this.#advance(test, nowMs);
      if (test.returns === RETURNS && test.state === "holding") {
        this.#tests.delete(hash);
        this.#remember(this.#looping, test.port, nowMs);
        this.#drop(test.copies * test.copy.datagrams());
        this.#onLoop(test.copy, 0);
      } else if (test.state === "disproved") {
        this.#remember(this.#harmless, test.port, nowMs);
        if (test.copies-- > 0) return test.copy;
        this.#tests.delete(hash);
        if (this.#tests.size === 0 && this.#looping.size === 0) {
          this.#singles = false;
        }
      } else if (
        test.state === "holding" && nowMs - test.lastMs >= silenceOf(test)
      ) {
        test.state = "released";
        test.lastMs = nowMs;
        test.copies--;
        return test.copy;
      }
    }
    return undefined;
  }

  /** The same for the end: whatever is held. */
  releaseAny(): DatagramBatch | undefined {
    for (const test of this.#tests.values()) {
      if (test.copies-- > 0) return test.copy;
    }
    return undefined;
  }

  /** Milliseconds until `release` may have something, or undefined where nothing is held. */
  nextMs(nowMs: number): number | undefined {
    let next: number | undefined;
    for (const { lastMs, silentMs } of this.#tests.values()) {
      // The shorter of both waits: to look too early does no harm.
      const dueMs = Math.max(1, lastMs + silentMs / 2 - nowMs);
      next = Math.min(next ?? Infinity, dueMs);
    }
    return next;
  }

  /** Whether anything is held. */
  get holding(): boolean {
    return this.#tests.size > 0;
  }

  #advance(test: LoopTest, nowMs: number): void {
    const quietMs = nowMs - test.lastMs;
    switch (test.state) {
      case "holding":
        if (
          test.copies > MAX_HELD_COPIES ||
          quietMs < silenceOf(test) &&
            nowMs - test.sinceMs >= MAX_SILENCES * test.silentMs &&
            test.returns === 0
        ) test.state = "disproved";
        break;
      case "released":
        if (quietMs >= test.silentMs / 2) test.state = "disproved";
        break;
      case "returned":
        if (quietMs >= silenceOf(test)) test.state = "holding";
    }
  }

  #passes(batch: DatagramBatch, slot: number, nowMs: number): boolean {
    const hash = fingerprint(batch, slot);
    const entry = hash & (ENTRIES - 1);
    const port = batch.sourcePort(slot);
    if (
      this.#hashes[entry] !== hash || nowMs - this.#lastMs[entry]! > FORGET_MS
    ) {
      this.#hashes[entry] = hash;
      this.#lastMs[entry] = nowMs;
      this.#firstPorts[entry] = port;
      this.#repeats[entry] = 0;
      return true;
    }
    this.#lastMs[entry] = nowMs;
    // A joined slot hides all but its first datagram, so the others may have
    // been seen from the port that returns them alone.
    const onlyPort = this.#firstPorts[entry] === port;
    if (onlyPort && !this.#isSuspect(port, nowMs)) return true;
    if (!onlyPort && this.#isKnown(this.#looping, port, nowMs)) {
      this.#remember(this.#looping, port, nowMs);
      return this.#drop(batch.datagramsIn(slot));
    }
    if (this.#otherPorts[entry] !== port || this.#repeats[entry] === 0) {
      this.#otherPorts[entry] = port;
      this.#sinceMs[entry] = nowMs;
      this.#repeats[entry] = 1;
      return true;
    }
    const repeats = ++this.#repeats[entry]!;
    if (repeats < SUSPECT_REPEATS) return true;
    this.#repeats[entry] = SUSPECT_REPEATS;
    if (
      nowMs - this.#sinceMs[entry]! > REPEATS_MS && !this.#tests.has(hash)
    ) {
      this.#repeats[entry] = 0;
      return true;
    }
    if (batch.lengths[slot]! > batch.segmentSizes[slot]!) {
      this.#singles ||= !this.#isKnown(this.#harmless, port, nowMs);
      return true;
    }
    return this.#test(batch, slot, hash, port, nowMs);
  }

  /** A copy of a suspected loop; whether it goes on to the sinks. */
  #test(
    batch: DatagramBatch,
    slot: number,
    hash: number,
    port: number,
    nowMs: number,
  ): boolean {
    const test = this.#tests.get(hash);
    if (test === undefined) {
      if (this.#isKnown(this.#harmless, port, nowMs)) return true;
      if (this.#tests.size >= MAX_TESTS) return true;
      const entry = hash & (ENTRIES - 1);
      const meanMs = (nowMs - this.#sinceMs[entry]!) / SUSPECT_REPEATS;
      this.#tests.set(hash, {
        port,
        copy: copyOf(batch, slot),
        silentMs: Math.max(MIN_SILENT_MS, SILENT_INTERVALS * meanMs),
        sinceMs: nowMs,
        state: "holding",
        copies: 1,
        lastMs: nowMs,
        returns: 0,
      });
      return false;
    }
    if (test.port !== port || !sameBytes(test.copy, batch, slot)) return true;
    this.#advance(test, nowMs);
    test.copies++;
    test.lastMs = nowMs;
    if (test.state === "released") {
      test.state = "returned";
      test.returns++;
    } else if (test.state === "returned") test.state = "disproved";
    return false;
  }

  #drop(datagrams: number): false {
    this.#dropped += datagrams;
    return false;
  }

  /** Whether a port returns something of what is sent, or is under test for it. */
  #isSuspect(port: number, nowMs: number): boolean {
    if (this.#isKnown(this.#looping, port, nowMs)) return true;
    if (this.#tests.size === 0) return false;
    for (const test of this.#tests.values()) {
      if (test.port === port) return true;
    }
    return false;
  }

  #isKnown(ports: Map<number, number>, port: number, nowMs: number): boolean {
    return ports.size > 0 && nowMs < (ports.get(port) ?? -Infinity);
  }

  /** A port is a number of 16 bits, so the map is bounded. */
  #remember(ports: Map<number, number>, port: number, nowMs: number): void {
    ports.set(port, nowMs + KNOWN_MS);
  }
}

function silenceOf({ silentMs, returns }: LoopTest): number {
  return silentMs * 2 ** returns;
}

/** A number of a few bytes of a slot's first datagram: whole ones are compared only under suspicion. */
function fingerprint(batch: DatagramBatch, slot: number): number {
  const { bytes } = batch;
  const length = Math.min(batch.lengths[slot]!, batch.segmentSizes[slot]!);
  const start = slot * batch.slotBytes;
  let hash = Math.imul(length, 31) | 0;
  const step = length <= 32 ? 1 : (length - 1) / 31;
  for (let i = 0; i < 32 && i < length; i++) {
    hash = Math.imul(hash ^ bytes[start + Math.floor(i * step)]!, 0x01000193);
  }
  hash ^= hash >>> 15;
  hash = Math.imul(hash, 0x85ebca6b);
  return hash ^ (hash >>> 13);
}

function copyOf(batch: DatagramBatch, slot: number): DatagramBatch {
  const copy = new DatagramBatch(1, Math.max(1, batch.lengths[slot]!));
  copy.slot(0).set(batch.filled(slot));
  copy.setDatagram(0, batch.lengths[slot]!);
  copy.segmentSizes[0] = batch.segmentSizes[slot]!;
  copy.count = 1;
  const source = batch.source(slot);
  copy.readSource = () => source;
  return copy;
}

function sameBytes(
  copy: DatagramBatch,
  batch: DatagramBatch,
  slot: number,
): boolean {
  const kept = copy.filled(0);
  const bytes = batch.filled(slot);
  return kept.length === bytes.length &&
    kept.every((byte, i) => byte === bytes[i]);
}
