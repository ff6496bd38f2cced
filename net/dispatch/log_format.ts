/** How datagrams look in a log: as they came, as lines, or as JSON objects. */
import { type Address, formatAddress } from "../address.ts";
import { type DatagramBatch, MAX_DATAGRAM_BYTES } from "../engine/batch.ts";
import type { DatagramSink } from "./sink.ts";
import type { StdoutSink } from "./stdout_sink.ts";

/**
 * The formats: `raw` is byte for byte, `lines` ends each datagram with exactly
 * one newline, `jsonl` makes each datagram an object on a line of its own.
 */
export const DATAGRAM_FORMATS = ["raw", "lines", "jsonl"] as const;

/** One of {@linkcode DATAGRAM_FORMATS}. */
export type DatagramFormat = typeof DATAGRAM_FORMATS[number];

/** Takes runs of whole datagrams. */
export interface DatagramWriter {
  /** Takes a run, each datagram `size` bytes but the last one; done with the memory when it returns. */
  append(datagrams: Uint8Array<ArrayBuffer>, size: number): void;
}

/** JSON writes a control character as six bytes; the rest is time, source and names. */
const MOST_FORMATTED_BYTES = 6 * MAX_DATAGRAM_BYTES + 512;

const NEWLINE = 10;

/** Formats the datagrams of batches. */
export class LogFormatter {
  /** Which format. */
  readonly format: DatagramFormat;
  readonly #scratch: Uint8Array<ArrayBuffer>;
  readonly #encoder = new TextEncoder();
  /** A byte order mark is payload like all else. */
  readonly #decoder = new TextDecoder("utf-8", {
    fatal: true,
    ignoreBOM: true,
  });

  constructor(format: DatagramFormat) {
    this.format = format;
    this.#scratch = new Uint8Array(format === "raw" ? 0 : MOST_FORMATTED_BYTES);
  }

  /** Gives the datagrams of a slot to a writer; raw ones from where they lie. */
  writeSlot(
    batch: DatagramBatch,
    slot: number,
    timeMs: number,
    writer: DatagramWriter,
  ): void {
    const bytes = batch.filled(slot);
    const size = batch.segmentSizes[slot]!;
    if (this.format === "raw") {
      writer.append(bytes, size);
      return;
    }
    const each = size > 0 ? size : Math.max(1, bytes.length);
    const head = this.format === "jsonl"
      ? jsonHead(timeMs, batch.source(slot))
      : undefined;
    let start = 0;
    do {
      const datagram = bytes.subarray(start, start + each);
      if (head !== undefined) this.#writeJson(head, datagram, writer);
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

function jsonHead(timeMs: number, source: Address): string {
  const time = new Date(timeMs).toISOString();
  return `{"time":"${time}","source":${JSON.stringify(formatAddress(source))}`;
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
  ) {
    this.#formatter = new LogFormatter(format);
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
