/** How datagrams look in a log: as they came, as lines, or as JSON objects. */
import { type Address, formatAddress } from "../../address.ts";
import { unmapped } from "./log_name.ts";
import { type DatagramBatch, MAX_DATAGRAM_BYTES } from "../../engine/batch.ts";
import type { DatagramSink } from "../sinks/sink.ts";
import type { StdoutSink } from "../sinks/stdout.ts";

/**
 * The formats: `raw` is byte for byte, `lines` ends each datagram with exactly
 * one newline, `jsonl` makes each datagram an object on a line of its own.
 */
export const DATAGRAM_FORMATS = ["raw", "lines", "jsonl"] as const;

/** One of {@linkcode DATAGRAM_FORMATS}. */
export type DatagramFormat = typeof DATAGRAM_FORMATS[number];

/** What streams can carry besides: `length` puts the size before each datagram, 4 bytes, big-endian. */
export const STREAM_FORMATS = [...DATAGRAM_FORMATS, "length"] as const;

/** One of {@linkcode STREAM_FORMATS}. */
export type StreamFormat = typeof STREAM_FORMATS[number];

/** Takes runs of whole datagrams. */
export interface DatagramWriter {
  /** Takes a run, each datagram `size` bytes but the last one; done with the memory when it returns. */
  append(datagrams: Uint8Array<ArrayBuffer>, size: number): void;
}

/** JSON writes a control character as six bytes; the rest is time, source and names. */
export const MAX_FORMATTED_BYTES: number = 6 * MAX_DATAGRAM_BYTES + 512;

/** Bytes of the size before a datagram. */
const LENGTH_BYTES = 4;

const NEWLINE = 10;

/** Formats the datagrams of batches. */
export class LogFormatter {
  /** Which format. */
  readonly format: StreamFormat;
  readonly #listener: string;
  readonly #scratch: Uint8Array<ArrayBuffer>;
  readonly #encoder = new TextEncoder();
  /** A byte order mark is payload like all else. */
  readonly #decoder = new TextDecoder("utf-8", {
    fatal: true,
    ignoreBOM: true,
  });

  /** @param listener Where datagrams are received, as `jsonl` names it. Default: not named. */
  constructor(format: StreamFormat, listener?: Address) {
    this.format = format;
    this.#listener = listener === undefined ? "" : listenerField(listener);
    this.#scratch = new Uint8Array(format === "raw" ? 0 : MAX_FORMATTED_BYTES);
  }

  /** Gives the datagrams of a slot to a writer; raw ones from where they lie. */
  writeSlot(
    batch: DatagramBatch,
    slot: number,
    timeMs: number,
    writer: DatagramWriter,
    listener: string = this.#listener,
  ): void {
    const bytes = batch.filled(slot);
    const size = batch.segmentSizes[slot]!;
    if (this.format === "raw") {
      writer.append(bytes, size);
      return;
    }
    const each = size > 0 ? size : Math.max(1, bytes.length);
    const head = this.format === "jsonl"
      ? jsonHead(timeMs, batch.source(slot)) + listener
      : undefined;
    let start = 0;
    do {
      const datagram = bytes.subarray(start, start + each);
      if (head !== undefined) this.#writeJson(head, datagram, writer);
      else if (this.format === "length") this.#writeLength(datagram, writer);
      else this.#writeLine(datagram, writer);
      start += each;
    } while (start < bytes.length);
  }

  #writeLine(
    datagram: Uint8Array<ArrayBuffer>,
    writer: DatagramWriter,
  ): void {
    let end = datagram.length;
    while (end > 0 && datagram[end - 1] === NEWLINE) end--;
    if (end === datagram.length - 1) {
      writer.append(datagram, datagram.length);
      return;
    }
    this.#scratch.set(datagram.subarray(0, end));
    this.#scratch[end] = NEWLINE;
    writer.append(this.#scratch.subarray(0, end + 1), end + 1);
  }

  #writeLength(
    datagram: Uint8Array<ArrayBuffer>,
    writer: DatagramWriter,
  ): void {
    const { length } = datagram;
    const scratch = this.#scratch;
    scratch[0] = scratch[1] = 0;
    scratch[2] = length >> 8;
    scratch[3] = length & 255;
    scratch.set(datagram, LENGTH_BYTES);
    const framed = LENGTH_BYTES + length;
    writer.append(scratch.subarray(0, framed), framed);
  }

  #writeJson(
    head: string,
    datagram: Uint8Array<ArrayBuffer>,
    writer: DatagramWriter,
  ): void {
    const line = `${head},${this.#jsonPayload(datagram)}}\n`;
    const { written } = this.#encoder.encodeInto(line, this.#scratch);
    writer.append(this.#scratch.subarray(0, written), written);
  }

  #jsonPayload(datagram: Uint8Array): string {
    try {
      return `"text":${JSON.stringify(this.#decoder.decode(datagram))}`;
    } catch {
      return `"base64":"${datagram.toBase64()}"`;
    }
  }
}

/** A listener as a field of `jsonl`. */
export function listenerField(listener: Address): string {
  return `,"listener":${JSON.stringify(formatAddress(listener))}`;
}

function jsonHead(timeMs: number, source: Address): string {
  const time = new Date(timeMs).toISOString();
  return `{"time":"${time}","source":${
    JSON.stringify(formatAddress(unmapped(source)))
  }`;
}

/** Stdout in a format. */
export class FormattedStdout implements DatagramSink {
  readonly #formatter: LogFormatter;
  readonly #stdout: StdoutSink;
  readonly #now: () => number;

  /** Writes to a sink that it disposes of. */
  constructor(
    format: DatagramFormat,
    stdout: StdoutSink,
    now: () => number = Date.now,
    listener?: Address,
  ) {
    this.#formatter = new LogFormatter(format, listener);
    this.#stdout = stdout;
    this.#now = now;
  }

  write(batch: DatagramBatch): Promise<void> | void {
    const timeMs = this.#now();
    for (let slot = 0; slot < batch.count; slot++) {
      this.#formatter.writeSlot(batch, slot, timeMs, this.#stdout);
    }
    return this.#stdout.handOn();
  }

  flush(): Promise<void> | void {
    return this.#stdout.flush();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stdout[Symbol.asyncDispose]();
  }
}
