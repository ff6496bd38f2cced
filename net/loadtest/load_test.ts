/**
 * The load test: for each scenario in turn
 *
 * 1. opens the connections,
 * 2. warms up, where that is asked for: requests that are not counted,
 * 3. measures: each connection sends a message and reads as many bytes back,
 *    at once after the last answer (closed loop), or when the next request is
 *    due (open loop, `load_pace.ts`),
 * 4. settles: waits a little for the last answers, counts those that fail to
 *    come, and closes.
 *
 * Functions stand in that order.
 */
import { type Address, formatAddress } from "../address.ts";
import { dialStream } from "../engine/portable/stream/sockets.ts";
import type { StreamConn } from "../engine/portable/stream/stream_conn.ts";
import { errorText } from "../errors.ts";
import { LatencyHistogram } from "../observe/latency_histogram.ts";
import { LoadPace } from "./pace.ts";
import type { LoadScenario } from "./plan.ts";
import { closeQuietly } from "../engine/portable/stream/pipe.ts";

/** How long the last answers are waited for. */
const SETTLE_MS = 1000;

/** Intervals of the course over time: the shortest; they double where a run is long. */
const INTERVAL_MS = 250;
const MAX_INTERVALS = 240;

/** Options of a {@linkcode LoadTest}. */
export interface LoadTestOptions {
  /** Sends back what comes, such as `echo` or a relay before one. */
  target: Address;
  /** Run one after the other. */
  scenarios: readonly LoadScenario[];
  /**
   * Requests before the measuring begins, in milliseconds.
   * @default {0}
   */
  warmUpMs?: number;
  /**
   * Requests per second over all connections, whatever the answers do; without
   * it each connection sends its next request after the last answer.
   */
  ratePerSecond?: number | undefined;
  /**
   * Limit of each connect, in milliseconds.
   * @default {10000}
   */
  connectTimeoutMs?: number;
  /** Called before a scenario. Default: none. */
  onScenario?: (scenario: LoadScenario, index: number) => void;
  /** Called after a scenario. Default: none. */
  onResult?: (result: LoadResult) => void;
}

/** What a scenario gave. */
export interface LoadResult {
  /** What was run. */
  readonly scenario: LoadScenario;
  /** Requests per second that were asked for; undefined in a closed loop. */
  readonly ratePerSecond: number | undefined;
  /** How long it was measured. */
  readonly durationMs: number;
  /** Answered requests. */
  readonly requests: number;
  /** Bytes of them that were sent. */
  readonly bytesSent: number;
  /** Bytes of their answers. */
  readonly bytesReceived: number;
  /** Connects and requests that failed. */
  readonly errors: number;
  /** Requests that were due and had no answer at the end; among the errors. */
  readonly unanswered: number;
  /** Texts of errors and how often each came. */
  readonly errorTexts: ReadonlyMap<string, number>;
  /** Latencies in milliseconds; of unanswered requests the time that they had waited. */
  readonly latency: LatencyHistogram;
  /** Length of each interval of `course`. */
  readonly intervalMs: number;
  /** Answered requests in each interval, in order. */
  readonly course: readonly number[];
  /** Whether it was ended before its time. */
  readonly stopped: boolean;
}

/**
 * A running load test. As Monkey D. TCP's load tester: each connection has
 * one request under way.
 */
export class LoadTest implements AsyncDisposable {
  /** What was run so far. */
  readonly results: LoadResult[] = [];
  /** Resolves when all scenarios are over, or it was drained. */
  readonly finished: Promise<void>;

  readonly #options: LoadTestOptions;
  #index = 0;
  #run: ScenarioRun | undefined;
  #stopped = false;

  /** Begins at once. */
  constructor(options: LoadTestOptions) {
    this.#options = options;
    this.finished = this.#runAll();
  }

  async #runAll(): Promise<void> {
    const { scenarios, onScenario, onResult } = this.#options;
    for (const [index, scenario] of scenarios.entries()) {
      if (this.#stopped) return;
      this.#index = index;
      onScenario?.(scenario, index);
      this.#run = new ScenarioRun(scenario, this.#options);
      const result = await this.#run.finished;
      // Stopped before it began to measure, it has nothing to tell.
      if (result.stopped && result.durationMs === 0) return;
      this.results.push(result);
      onResult?.(result);
    }
  }

  /** The scenario that runs, its place, and its figures now. */
  now(): LoadNow | undefined {
    const scenario = this.#options.scenarios[this.#index];
    if (!this.#run || !scenario) return undefined;
    return {
      index: this.#index,
      scenarios: this.#options.scenarios.length,
      ...this.#run.now(),
      scenario,
    };
  }

  /** Whether requests were tried and every one failed. */
  get failed(): boolean {
    return this.results.length > 0 &&
      this.results.every(({ requests, errors }) =>
        requests === 0 && errors > 0
      );
  }

  /** Ends the running scenario now, with its figures so far, and runs no more. */
  async drain(): Promise<void> {
    this.#stopped = true;
    this.#run?.stop();
    await this.finished;
  }

  /** Ends it, as `drain` does. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.drain();
  }
}

/** Figures of a scenario that runs. */
export interface LoadNow {
  /** Its place, from 0. */
  readonly index: number;
  /** How many there are. */
  readonly scenarios: number;
  /** What runs. */
  readonly scenario: LoadScenario;
  /** What it does. */
  readonly phase: LoadPhase;
  /** How long it is measured already. */
  readonly elapsedMs: number;
  /** Answered requests. */
  readonly requests: number;
  /** Failures. */
  readonly errors: number;
  /** The 99th percentile so far, in milliseconds. */
  readonly p99Ms: number;
}

/** What a scenario does now. */
export type LoadPhase = "connecting" | "warming up" | "measuring" | "settling";

class ScenarioRun {
  readonly finished: Promise<LoadResult>;
  readonly #scenario: LoadScenario;
  readonly #options: LoadTestOptions;
  readonly #message: Uint8Array<ArrayBuffer>;
  readonly #conns = new Set<StreamConn>();
  readonly #ended = new AbortController();
  readonly #latency = new LatencyHistogram();
  readonly #errorTexts = new Map<string, number>();
  /** When each connection's request began; NaN while none is under way. */
  readonly #pendingSince: Float64Array;
  #phase: LoadPhase = "connecting";
  #pace: LoadPace | undefined;
  #measureFromMs = Infinity;
  #measureToMs = Infinity;
  #requests = 0;
  #errors = 0;
  #unanswered = 0;
  #lastAnswerMs = 0;
  #intervalMs = INTERVAL_MS;
  #course: number[] = [];
  #sending = true;
  #stopped = false;
  #wake: (() => void) | undefined;

  constructor(scenario: LoadScenario, options: LoadTestOptions) {
    this.#scenario = scenario;
    this.#options = options;
    this.#message = new Uint8Array(scenario.messageBytes).fill(120);
    this.#pendingSince = new Float64Array(scenario.connections).fill(NaN);
    this.finished = this.#run();
  }

  async #run(): Promise<LoadResult> {
    const { connections, durationMs } = this.#scenario;
    const { warmUpMs = 0, ratePerSecond } = this.#options;
    const conns = await Promise.all(
      Array.from({ length: connections }, () => this.#connect()),
    );
    const startMs = performance.now();
    if (ratePerSecond !== undefined) {
      this.#pace = new LoadPace(
        connections,
        ratePerSecond,
        startMs,
        () => performance.now(),
      );
    }
    if (!this.#stopped) {
      this.#measureFromMs = startMs + warmUpMs;
      this.#measureToMs = this.#measureFromMs + durationMs;
    }
    // A target that is not there at all is no outage to be measured.
    const reached = conns.some((conn) => conn !== undefined);
    const workers = Promise.all(
      conns.map((conn, i) => reached ? this.#work(conn, i) : undefined),
    );
    this.#phase = "warming up";
    if (warmUpMs > 0) await this.#pause(warmUpMs, workers);
    this.#phase = "measuring";
    await this.#pause(this.#measureToMs - performance.now(), workers);
    await this.#settle(workers);
    return this.#result();
  }

  async #connect(): Promise<StreamConn | undefined> {
    const reached = await this.#dial();
    if (typeof reached !== "string") return reached;
    if (!this.#stopped) this.#countError(reached);
    return undefined;
  }

  /** A connection, or what is wrong. */
  async #dial(): Promise<StreamConn | string> {
    const { target, connectTimeoutMs = 10_000 } = this.#options;
    try {
      const conn = await dialStream(target, {
        timeoutMs: connectTimeoutMs,
        keepAlive: false,
        signal: this.#ended.signal,
      });
      this.#conns.add(conn);
      return conn;
    } catch (error) {
      return `connect ${formatAddress(target)}: ${errorText(error)}`;
    }
  }

  async #work(first: StreamConn | undefined, index: number): Promise<void> {
    const pace = this.#pace;
    const message = this.#message.slice();
    const answer = new Uint8Array(message.length);
    let count = 0;
    const backoff = new ConnectBackoff();
    let conn = first;
    if (!conn) backoff.failed(performance.now());
    while (this.#sending) {
      // In a closed loop the next request is due when it can be sent.
      if (!pace && !conn) await this.#wait(backoff.waitMs(performance.now()));
      let dueMs = performance.now();
      let sinceMs: number | undefined;
      if (pace) {
        const wait = pace.due(index);
        if (wait) await wait;
        dueMs = pace.dueMs(index);
        // Due before the end, it is sent, be it late.
        if (dueMs >= this.#measureToMs || !this.#sending) break;
        pace.advance(index);
        // The timer's lateness is not the target's.
        const nowMs = performance.now();
        if (wait && nowMs - dueMs <= MAX_TIMER_LATE_MS) sinceMs = nowMs;
      } else if (dueMs >= this.#measureToMs || !this.#sending) break;
      this.#pendingSince[index] = dueMs;
      sinceMs ??= dueMs;
      let failure: string | undefined;
      if (!conn) {
        if (backoff.waitMs(performance.now()) > 0) failure = NOT_CONNECTED;
        else {
          const reached = await this.#dial();
          if (typeof reached === "string") failure = reached;
          else conn = reached;
        }
      }
      if (conn) {
        try {
          stamp(message, count++, index);
          await this.#exchange(conn, message, answer);
          if (!sameBytes(answer, message)) failure = ANOTHER_ANSWER;
        } catch (error) {
          failure = errorText(error);
          this.#drop(conn);
          conn = undefined;
        }
      }
      if (!this.#sending) return;
      this.#pendingSince[index] = NaN;
      if (failure === undefined) {
        backoff.succeeded();
        if (dueMs >= this.#measureFromMs) {
          this.#countAnswer(sinceMs, performance.now());
        }
        continue;
      }
      if (failure !== NOT_CONNECTED && !conn) backoff.failed(performance.now());
      // Of a closed loop's connects those during the warm-up count, too.
      if (!pace || dueMs >= this.#measureFromMs) this.#countError(failure);
    }
    if (conn) this.#drop(conn);
  }

  /** Waits between two connects, or until the end. */
  async #wait(ms: number): Promise<void> {
    if (ms <= 0 || this.#ended.signal.aborted) return;
    const leftMs = Math.max(0, this.#measureToMs - performance.now());
    await new Promise<void>((resolve) => {
      const end = () => {
        clearTimeout(timer);
        this.#ended.signal.removeEventListener("abort", end);
        resolve();
      };
      const timer = setTimeout(end, Math.min(ms, leftMs));
      this.#ended.signal.addEventListener("abort", end);
    });
  }

  async #exchange(
    conn: StreamConn,
    message: Uint8Array<ArrayBuffer>,
    answer: Uint8Array<ArrayBuffer>,
  ): Promise<void> {
    // A long message's answer begins before all of it is sent: who does not
    // read it meanwhile waits for a target that waits too, with full buffers.
    const sending = this.#send(conn, message);
    if (message.length <= SMALL_MESSAGE_BYTES) await sending;
    // Where the read fails as well, that is the error that counts.
    else sending.catch(() => {});
    for (let at = 0; at < answer.length;) {
      const bytes = await conn.read(at === 0 ? answer : answer.subarray(at));
      if (bytes === null) throw new Error("the target ended the connection");
      at += bytes;
    }
    await sending;
  }

  async #send(
    conn: StreamConn,
    message: Uint8Array<ArrayBuffer>,
  ): Promise<void> {
    for (let at = 0; at < message.length;) {
      at += await conn.write(at === 0 ? message : message.subarray(at));
    }
  }

  #countAnswer(sinceMs: number, nowMs: number): void {
    this.#requests++;
    this.#lastAnswerMs = nowMs;
    this.#latency.record(nowMs - sinceMs);
    let interval = Math.floor(
      (nowMs - this.#measureFromMs) / this.#intervalMs,
    );
    if (interval >= MAX_INTERVALS) {
      this.#course = halved(this.#course);
      this.#intervalMs *= 2;
      interval >>= 1;
    }
    while (this.#course.length <= interval) this.#course.push(0);
    this.#course[interval]!++;
  }

  #countError(text: string): void {
    this.#errors++;
    this.#errorTexts.set(text, (this.#errorTexts.get(text) ?? 0) + 1);
  }

  #drop(conn: StreamConn): void {
    this.#conns.delete(conn);
    closeQuietly(conn);
  }

  /** Waits for a time, for all workers, or for `stop`. */
  async #pause(ms: number, workers: Promise<unknown>): Promise<void> {
    if (this.#stopped) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, Math.max(0, ms));
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
      workers.then(this.#wake);
    });
  }

  async #settle(workers: Promise<unknown>): Promise<void> {
    this.#phase = "settling";
    this.#measureToMs = Math.min(this.#measureToMs, performance.now());
    // Those who wait for a time that will not come end; those behind go on.
    await this.#pace?.stop();
    let timer: ReturnType<typeof setTimeout> | undefined;
    await Promise.race([
      workers,
      new Promise<void>((resolve) => timer = setTimeout(resolve, SETTLE_MS)),
    ]);
    clearTimeout(timer);
    this.#sending = false;
    const nowMs = performance.now();
    for (let i = 0; i < this.#scenario.connections; i++) {
      this.#countUnanswered(i, nowMs);
    }
    this.#ended.abort();
    for (const conn of this.#conns) closeQuietly(conn);
    await workers;
  }

  /** What a connection still owes: the request under way, and those due behind it. */
  #countUnanswered(index: number, nowMs: number): void {
    const owed = (sinceMs: number) => {
      if (sinceMs < this.#measureFromMs) return;
      this.#unanswered++;
      this.#countError("no answer before the end");
      this.#latency.record(nowMs - sinceMs);
    };
    const sinceMs = this.#pendingSince[index]!;
    if (!Number.isNaN(sinceMs)) owed(sinceMs);
    const pace = this.#pace;
    if (!pace) return;
    while (pace.dueMs(index) < this.#measureToMs) {
      owed(pace.dueMs(index));
      pace.advance(index);
    }
  }

  #result(): LoadResult {
    const scenario = this.#scenario;
    const endMs = Math.max(this.#measureToMs, this.#lastAnswerMs);
    return {
      scenario,
      ratePerSecond: this.#options.ratePerSecond,
      durationMs: Math.max(0, endMs - this.#measureFromMs),
      requests: this.#requests,
      bytesSent: this.#requests * scenario.messageBytes,
      bytesReceived: this.#requests * scenario.messageBytes,
      errors: this.#errors,
      unanswered: this.#unanswered,
      errorTexts: this.#errorTexts,
      latency: this.#latency,
      intervalMs: this.#intervalMs,
      course: this.#course,
      stopped: this.#stopped,
    };
  }

  now() {
    return {
      phase: this.#phase,
      elapsedMs: Math.max(
        0,
        Math.min(performance.now(), this.#measureToMs) - this.#measureFromMs,
      ),
      requests: this.#requests,
      errors: this.#errors,
      p99Ms: this.#latency.percentile(99),
    };
  }

  /** Ends it before its time. */
  stop(): void {
    this.#stopped = true;
    if (this.#phase === "connecting") this.#ended.abort();
    this.#wake?.();
  }
}

/** Errors beside those of the system. */
const NOT_CONNECTED = "no connection to the target";
const ANOTHER_ANSWER = "the answer is not what was sent";

/** How much later than its time a timer may be without it being the target's fault. */
const MAX_TIMER_LATE_MS = 2;

/** Pauses between connects that fail: none, then twice as long each time. */
const FIRST_PAUSE_MS = 50;
const MAX_PAUSE_MS = 1000;

/** When to connect again. Pure: the clock is an argument. */
export class ConnectBackoff {
  #failures = 0;
  #retryAtMs = -Infinity;

  /** A connect, or what came after it, failed. */
  failed(nowMs: number): void {
    const pauseMs = this.#failures === 0
      ? 0
      : FIRST_PAUSE_MS * 2 ** (this.#failures - 1);
    this.#failures++;
    this.#retryAtMs = nowMs + Math.min(pauseMs, MAX_PAUSE_MS);
  }

  /** An answer came. */
  succeeded(): void {
    this.#failures = 0;
    this.#retryAtMs = -Infinity;
  }

  /** How long to wait yet. */
  waitMs(nowMs: number): number {
    return Math.max(0, this.#retryAtMs - nowMs);
  }
}

/**
 * Makes a message differ from the one before and from those of other
 * connections, as far as its length allows: an answer that is late, doubled or
 * another connection's is none.
 */
function stamp(
  message: Uint8Array<ArrayBuffer>,
  count: number,
  connection: number,
): void {
  const bytes = Math.min(message.length, 8);
  for (let i = 0; i < bytes; i++) {
    message[i] = (i < 4 ? count : connection) >>> (i & 3) * 8;
  }
}

/** Whether two arrays of one length, each with a buffer of its own, are equal. */
function sameBytes(
  a: Uint8Array<ArrayBuffer>,
  b: Uint8Array<ArrayBuffer>,
): boolean {
  const words = a.length >> 2;
  const left = new Int32Array(a.buffer, 0, words);
  const right = new Int32Array(b.buffer, 0, words);
  for (let i = 0; i < words; i++) if (left[i] !== right[i]) return false;
  for (let i = words << 2; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Messages up to this are sent before the answer is read: they fit every socket's buffers. */
const SMALL_MESSAGE_BYTES = 16 * 1024;

function halved(course: readonly number[]): number[] {
  const half: number[] = [];
  for (let i = 0; i < course.length; i += 2) {
    half.push(course[i]! + (course[i + 1] ?? 0));
  }
  return half;
}
