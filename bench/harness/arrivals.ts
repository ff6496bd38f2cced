/** What arrives at the end of a benchmark, as it is told while it goes on. */
import type { TestProcess } from "../../tests/support/process.ts";

/** What has arrived at a moment. */
export interface Arrived {
  /** Milliseconds since 1970. */
  at: number;
  bytes: number;
  /** Datagrams, or reads of a stream. */
  datagrams: number;
  /** Datagrams that the receiver itself dropped. */
  dropped: number;
}

/** Where all arrives in the end. */
export interface Arrivals {
  read(): Arrived;
}

/** What a receiver of bench/load says; see samples.ts there. */
export class SinkArrivals implements Arrivals {
  readonly #sink: TestProcess;
  #last: Arrived = { at: 0, bytes: 0, datagrams: 0, dropped: 0 };

  constructor(sink: TestProcess) {
    this.#sink = sink;
  }

  read(): Arrived {
    const { stderr } = this.#sink;
    const line = stderr.slice(stderr.lastIndexOf("\n") + 1);
    const [at, bytes, datagrams, dropped] = line.split(" ").map(Number);
    if (dropped !== undefined) {
      this.#last = {
        at: at!,
        bytes: bytes!,
        datagrams: datagrams!,
        dropped,
      };
    }
    return this.#last;
  }
}

/** A file that grows. */
export class FileArrivals implements Arrivals {
  readonly #path: string;
  readonly #size: number;

  /** @param size Bytes of the datagrams that are sent. */
  constructor(path: string, size: number) {
    this.#path = path;
    this.#size = size;
  }

  read(): Arrived {
    let bytes = 0;
    try {
      bytes = Deno.statSync(this.#path).size;
    } catch {
      // Not made yet.
    }
    return {
      at: performance.timeOrigin + performance.now(),
      bytes,
      datagrams: bytes / this.#size,
      dropped: 0,
    };
  }
}
