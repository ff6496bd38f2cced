/**
 * One direction of a session, chunk by chunk.
 *
 * 1. A chunk is read: what the connection has, up to 56 KiB.
 * 2. Packet by packet, the reader checks it whole and `handle` decides: keep
 *    it as it lies, put other bytes in its place, or leave it out. Nothing is
 *    awaited unless a hook answers with a promise.
 * 3. What the chunk came to leaves in one write; where nothing was changed,
 *    that is the chunk itself.
 * 4. The next chunk is read when that write is taken: this is the back-pressure.
 *
 * When the session is over, what still comes is read and thrown away until the
 * other end closes: unread bytes would turn our close into a reset.
 */
import { ChunkBuffer } from "./chunk_buffer.ts";
import { ForwardBatch } from "./forward_batch.ts";
import type { Decision, HookName } from "../hooks/hook_chain.ts";
import type { Link, SessionContext } from "./link.ts";
import type { Denial } from "../hooks/hooks.ts";
import type { DirectionCounters } from "../metrics.ts";
import {
  type Direction,
  type OversizedPublish,
  PacketError,
  PacketReader,
  PacketType,
} from "../packet/mod.ts";
import { PingAhead } from "./ping_ahead.ts";
import type { StreamWriter } from "./stream_writer.ts";
import type { ByteStream } from "../transport/byte_stream.ts";

/** Thrown out of a wait when the session ends. */
export class SessionOver extends Error {
  override name = "SessionOver";
}

/** The other side of the session does not take bytes any more. */
class SinkError extends Error {}

/** What the other side has sent before it broke may still be read for so long. */
const LAST_WORDS_MS = 1000;

/**
 * A read of so many bytes shows that a peer is alive also where its packet is
 * not complete: a large one may take longer than its keep-alive.
 */
const BULK_BYTES = 256;

/** A hook that answers within so many turns is not worth a write of its own. */
const SOON_TURNS = 8;

/** One direction of a session; see the module's flow. */
export abstract class PacketPath {
  /** The packets that come. */
  readonly reader: PacketReader;
  /** Whether the connection is being read right now. */
  isReading = false;
  /** Whether a chunk is being handled. */
  isBusy = false;
  /** When the last whole packet came, or reading was resumed. */
  heardMs: number;
  /** Reads that returned bytes. */
  reads = 0;

  protected readonly context: SessionContext;
  protected readonly counters: DirectionCounters;
  /** The reader of the packet that is handled: another one for a packet that `intercept` gave. */
  protected current: PacketReader;
  readonly #link: Link;
  readonly #stream: ByteStream;
  readonly #chunks: ChunkBuffer;
  readonly #batch: ForwardBatch;
  /** Made when the direction is first slowed. */
  #ahead: PingAhead | undefined;
  #chunk: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  /** Bytes of the chunk's first packet that came with earlier chunks. */
  #heldBytes = 0;
  #keepBuffer: Uint8Array<ArrayBuffer> = this.#chunk;
  #keepStart = 0;
  #keepEnd = 0;
  #interrupt: (() => void) | undefined;

  constructor(
    link: Link,
    direction: Direction,
    stream: ByteStream,
    maxPacketBytes: number,
  ) {
    const { context } = link;
    this.#link = link;
    this.context = context;
    this.counters = context.metrics.direction(direction);
    this.heardMs = context.now();
    this.reader = new PacketReader({
      direction,
      maxPacketBytes,
      budget: context.budget,
      maxClientIdChars31: context.settings.maxClientIdChars31,
    });
    this.current = this.reader;
    this.#stream = stream;
    this.#chunks = new ChunkBuffer(context.pool);
    this.#batch = new ForwardBatch(context.pool);
  }

  /** Where what goes on is written. */
  protected abstract get sink(): StreamWriter;
  /** Decides about the current packet. */
  protected abstract handle(): Promise<void> | undefined;
  /** A PUBLISH is too large and goes no further. */
  protected skipped(_publish: OversizedPublish): void {}
  /** A packet broke a rule. */
  protected abstract broken(error: PacketError): void;
  /** The connection ended, in order or not. */
  protected abstract ended(error: Error | undefined): void;
  /** The other side's connection does not take bytes any more. */
  protected abstract sinkEnded(error: Error): void;
  /** A chunk was handled: waits where the direction must slow down. */
  protected abstract chunkDone(bytes: number): Promise<void> | undefined;

  /** Reads up to the first packet and checks it. False where the connection ended before. */
  async first(): Promise<boolean> {
    while (!this.reader.next()) {
      const count = await this.#read(this.#beforeRead());
      if (!this.#afterRead(count)) return false;
    }
    this.#count();
    return true;
  }

  /** Handles packets until the connection ends; never rejects. */
  async run(): Promise<void> {
    try {
      // What came behind the first packet.
      await this.#takePackets();
      // One frame of a function waits here for as long as a connection is
      // idle: each more would cost it half a KiB.
      while (this.#afterRead(await this.#read(this.#beforeRead()))) {
        if (!this.#link.isOver) await this.#takePackets();
      }
      this.ended(undefined);
    } catch (error) {
      this.#endedBy(error as Error);
    } finally {
      this.isReading = this.isBusy = false;
      this.#batch.clear();
      this.#chunks.release();
      this.reader.framer.release();
    }
  }

  #endedBy(error: Error): void {
    try {
      this.ended(error);
    } catch (next) {
      this.#link.fail(next);
    }
  }

  /** Ends a wait: the session is over. */
  interrupt(): void {
    this.#interrupt?.();
  }

  /** The current packet goes on as it is. */
  protected keep(): void {
    this.#batch.keep(this.#keepBuffer, this.#keepStart, this.#keepEnd);
  }

  /** Other bytes go on in the current packet's place. */
  protected put(bytes: Uint8Array): void {
    this.#batch.put(bytes);
  }

  /**
   * The current packet goes on behind other bytes in place of its front, up to
   * `tailStart` in the packet's own memory.
   */
  protected splice(front: Uint8Array, tailStart: number): void {
    const { framer } = this.current;
    const start = this.#keepStart + tailStart - framer.start;
    this.#batch.put(front);
    this.#batch.put(this.#keepBuffer.subarray(start, this.#keepEnd));
  }

  /** Bytes of the current packet. */
  protected get packetBytes(): Uint8Array<ArrayBuffer> {
    return this.#keepBuffer.subarray(this.#keepStart, this.#keepEnd);
  }

  /**
   * Puts a packet that `intercept` gave into the current one's place, checked
   * like any; returns what is wrong with it.
   */
  protected replace(bytes: Uint8Array<ArrayBuffer>): unknown {
    const { direction, version, maxPacketBytes, type } = this.reader;
    const other = new PacketReader({ direction, version, maxPacketBytes });
    other.framer.established = type !== PacketType.CONNACK;
    try {
      other.push(bytes);
      if (
        !other.next() || other.type !== type || other.framer.end < bytes.length
      ) throw new TypeError("A packet can only become one of the same type");
    } catch (error) {
      return error;
    }
    this.current = other;
    this.#keepBuffer = bytes;
    this.#keepStart = 0;
    this.#keepEnd = bytes.length;
    return undefined;
  }

  /** Writes what the packets so far came to. */
  protected async flush(): Promise<void> {
    if (this.#batch.isEmpty) return;
    const startedMs = this.context.now();
    try {
      await this.sink.write(this.#batch.bytes());
    } catch (cause) {
      throw new SinkError((cause as Error).message, { cause });
    }
    this.counters.writeWaitMs += this.context.now() - startedMs;
    this.#batch.clear();
  }

  /**
   * Waits for hooks, at most for the hook timeout; `abandon` is called where
   * they did not answer by then and may do so later.
   */
  protected async decidedBy(
    name: HookName,
    promise: Promise<Decision>,
    abandon?: () => void,
  ): Promise<Decision> {
    if (await isSoon(promise)) {
      if (this.#link.isOver) throw new SessionOver();
      return await promise;
    }
    await this.flush();
    const { hooks, settings } = this.context;
    const decided = await this.wait(
      promise.then((decision) => ({ decision })),
      settings.hookTimeoutMs,
    );
    if (decided) return decided.decision;
    abandon?.();
    return hooks.timedOut(name, this.#link.session, settings.hookTimeoutMs);
  }

  /** Waits for hooks that were told something, at most for the hook timeout. */
  protected async notified(promise: Promise<void>): Promise<void> {
    if (await isSoon(promise)) return;
    await this.flush();
    await this.wait(promise, this.context.settings.hookTimeoutMs);
  }

  /** A hook's answer cannot be done. */
  protected hookFailed(name: HookName, error: unknown): Denial {
    return this.context.hooks.failed(name, this.#link.session, error);
  }

  /** Waits for a promise: undefined when the time is over; throws SessionOver when the session is. */
  protected wait<Value>(
    promise: Promise<Value> | undefined,
    timeoutMs: number,
  ): Promise<Value | undefined> {
    if (this.#link.isOver) return Promise.reject(new SessionOver());
    return new Promise<Value | undefined>((resolve, reject) => {
      const timer = timeoutMs === Infinity
        ? undefined
        : setTimeout(() => finish(resolve, undefined), timeoutMs);
      const finish = <Result>(
        call: (result: Result) => void,
        result: Result,
      ) => {
        clearTimeout(timer);
        this.#interrupt = undefined;
        call(result);
      };
      this.#interrupt = () => finish(reject, new SessionOver());
      promise?.then(
        (value) => finish(resolve, value),
        (error) => finish(reject, error),
      );
    });
  }

  /** Waits for a time, while PINGREQs that come are reported. */
  protected async waitReadingAhead(
    ms: number,
    onPing: () => void,
  ): Promise<void> {
    const ahead = this.#ahead ??= new PingAhead(this.#stream, onPing);
    ahead.start(this.reader.framer.unread);
    try {
      await this.wait(undefined, ms);
    } finally {
      ahead.stop();
    }
  }

  #read(buffer: Uint8Array<ArrayBuffer>): Promise<number | null> {
    return this.#ahead ? this.#ahead.read(buffer) : this.#stream.read(buffer);
  }

  #beforeRead(): Uint8Array<ArrayBuffer> {
    this.isBusy = false;
    if (this.#link.isDraining) this.#link.drain();
    this.#heldBytes = this.reader.partialBytes;
    this.isReading = true;
    return this.#chunks.window();
  }

  /** False at the end of the connection. */
  #afterRead(count: number | null): boolean {
    this.isReading = false;
    this.context.spin?.happened();
    if (count === null) return false;
    this.isBusy = true;
    this.reads++;
    this.#chunks.took(count);
    this.counters.bytes += count;
    if (!this.#link.isOver) {
      this.#chunk = this.#chunks.chunk();
      this.reader.push(this.#chunk);
    }
    return true;
  }

  async #takePackets(): Promise<void> {
    let packets = 0;
    try {
      while (this.reader.next()) {
        packets++;
        if (this.reader.framer.oversizedBytes > 0) {
          this.counters.packets[PacketType.PUBLISH]!++;
          this.skipped(this.reader.oversized!);
          continue;
        }
        this.#count();
        const waits = this.handle();
        if (waits !== undefined) await waits;
        if (this.#link.isOver) return;
      }
      if (!this.#batch.isEmpty) await this.flush();
      const waits = this.chunkDone(this.#chunk.length);
      if (waits !== undefined) await waits;
      else if (packets === 0 && this.#chunk.length < BULK_BYTES) return;
      this.heardMs = this.context.now();
    } catch (error) {
      await this.#caught(error);
    }
  }

  async #caught(error: unknown): Promise<void> {
    try {
      if (error instanceof PacketError) {
        // What came before the bad packet was good.
        await this.flush();
        return this.broken(error);
      }
      // It may have said why before it broke: its own path reads that first.
      if (error instanceof SinkError) await this.wait(undefined, LAST_WORDS_MS);
    } catch (next) {
      error = next;
    }
    if (error instanceof SinkError) this.sinkEnded(error);
    else if (!(error instanceof SessionOver)) this.#link.fail(error);
  }

  /** Notes where the current packet lies, and counts it. */
  #count(): void {
    const { framer } = this.reader;
    this.counters.packets[this.reader.type]!++;
    this.current = this.reader;
    const chunks = this.#chunks;
    if (framer.buffer === this.#chunk) {
      this.#keepBuffer = chunks.buffer;
      this.#keepStart = chunks.start + framer.start;
      this.#keepEnd = chunks.start + framer.end;
      return;
    }
    const held = this.#heldBytes;
    if (held <= chunks.start) {
      // Its second part lies at the front of the chunk: the first fits before it.
      const start = chunks.start - held;
      chunks.buffer.set(framer.buffer.subarray(0, held), start);
      this.#keepBuffer = chunks.buffer;
      this.#keepStart = start;
      this.#keepEnd = start + framer.end;
    } else {
      this.#keepBuffer = framer.buffer as Uint8Array<ArrayBuffer>;
      this.#keepStart = framer.start;
      this.#keepEnd = framer.end;
    }
  }
}

async function isSoon(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  const settle = () => {
    settled = true;
  };
  promise.then(settle, settle);
  for (let turn = 0; turn < SOON_TURNS && !settled; turn++) await null;
  return settled;
}
