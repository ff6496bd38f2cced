/** What a relay prints: the banner, event lines, summary and end of Monkey D. TCP. */
import { type Address, formatAddress } from "../address.ts";
import type { RelayEvent, RelaySnapshot, TcpRelay } from "./relay.ts";

const RULE = "========================================";

/** Where relay lines go, without a line end. */
export type PrintLine = (line: string) => void;

/** `1536000` as `1.5MB`, `1024` as `1.0KB`, `512` as `512B`: decimal, at most megabytes. */
export function formatRelayBytes(bytes: number): string {
  if (bytes >= 1e6) return `${(bytes / 1e6).toFixed(1)}MB`;
  if (bytes >= 1e3) return `${(bytes / 1e3).toFixed(1)}KB`;
  return `${bytes}B`;
}

/** The lines before the first client. */
export function bannerLines(
  listening: Address,
  target: Address,
  metrics: Address | undefined,
): string[] {
  return [
    RULE,
    "       mproxy relay starting",
    RULE,
    `Proxy listening on:    ${formatAddress(listening)}`,
    `Forwarding to:         ${formatAddress(target)}`,
    `Metrics endpoint:      ${
      metrics ? `http://${formatAddress(metrics)}/metrics` : "off"
    }`,
    "----------------------------------------",
    "Press Ctrl+C to shutdown gracefully",
    RULE,
  ];
}

/** `active: 3 | total: 15 | up: 1.5MB | down: 800.0KB`. */
export function summaryText(snapshot: RelaySnapshot): string {
  const { activeConnections, totalConnections, bytesUpstream } = snapshot;
  return `active: ${activeConnections} | total: ${totalConnections} | up: ${
    formatRelayBytes(bytesUpstream)
  } | down: ${formatRelayBytes(snapshot.bytesDownstream)}`;
}

/** The lines at the end; `cut` is how many connections did not end by themselves. */
export function endLines(snapshot: RelaySnapshot, cut: number): string[] {
  return [
    "",
    RULE,
    "         Shutdown complete",
    RULE,
    `Total connections: ${snapshot.totalConnections}`,
    `Bytes upstream:    ${snapshot.bytesUpstream}`,
    `Bytes downstream:  ${snapshot.bytesDownstream}`,
    ...(cut > 0 ? [`Closed in flight:  ${cut}`] : []),
    RULE,
  ];
}

/**
 * Turns events since the start into lines. It counts from the events
 * themselves, so that each line's figures are those of its moment and not of
 * the end of its tick.
 */
export class EventLines {
  #active = 0;
  #total = 0;
  #upstream = 0;
  #downstream = 0;

  /** The line of an event. */
  line(event: RelayEvent): string {
    const { client } = event;
    switch (event.type) {
      case "opened":
        this.#active++;
        this.#total++;
        return `[METRICS] ConnectionOpened ${client} | active: ${this.#active}, total: ${this.#total}`;
      case "upstream":
        this.#upstream += event.bytes;
        return `[METRICS] ${client} ↑ ${event.bytes} | total up: ${
          formatRelayBytes(this.#upstream)
        }`;
      case "downstream":
        this.#downstream += event.bytes;
        return `[METRICS] ${client} ↓ ${event.bytes} | total down: ${
          formatRelayBytes(this.#downstream)
        }`;
      case "closed":
        this.#active--;
        return `[METRICS] ConnectionClosed ${client} | active: ${this.#active}`;
      case "rejected":
        return `[METRICS] ConnectionRejected ${client} | reason: ${event.reason}`;
    }
  }
}

/** How often a drain's progress is printed while it changes. */
const DRAIN_LINE_MS = 1000;

/** A relay that prints, as a role for the command line. */
export class RelayConsole implements AsyncDisposable {
  /** Resolves when the relay is closed and its last event printed. */
  readonly finished: Promise<void>;
  readonly #relay: TcpRelay;
  readonly #print: PrintLine;
  readonly #timers: ReturnType<typeof setInterval>[] = [];
  #draining = false;
  #waitingFor = -1;

  /**
   * Prints events where wanted, which the relay must tell from the start, and a
   * summary line every `summarySeconds` (0: never).
   */
  constructor(
    relay: TcpRelay,
    print: PrintLine,
    options: { events: boolean; summarySeconds: number },
  ) {
    this.#relay = relay;
    this.#print = print;
    const printing = options.events ? this.#printEvents() : Promise.resolve();
    // The last events are printed before the end.
    this.finished = relay.finished.then(() => printing);
    this.finished.catch(() => {});
    if (options.summarySeconds > 0) {
      this.#timers.push(
        setInterval(
          () => print(`[METRICS] ${summaryText(relay.snapshot())}`),
          options.summarySeconds * 1000,
        ),
      );
    }
  }

  async #printEvents(): Promise<void> {
    const lines = new EventLines();
    for await (const event of this.#relay.events()) {
      this.#print(lines.line(event));
    }
  }

  /** One line about now, for a terminal's last line. */
  progress(): string {
    const snapshot = this.#relay.snapshot();
    return this.#draining
      ? `draining: ${snapshot.activeConnections} active connection(s) | ${
        summaryText(snapshot)
      }`
      : summaryText(snapshot);
  }

  /** Whether clients are accepted, or why not. */
  ready(): boolean | string {
    return this.#draining ? "draining" : true;
  }

  /** The lines at the end. */
  summary(): string[] {
    return endLines(this.#relay.snapshot(), this.#relay.stats().ended.closed);
  }

  /** Says why a drain begins. */
  draining(signal: string): void {
    const name = signal === "SIGINT" ? "Ctrl+C" : "shutdown signal";
    this.#print("");
    this.#print(
      `[SHUTDOWN] Received ${name}, starting graceful shutdown...`,
    );
  }

  /** Accepts no one more, and prints how many connections it waits for. */
  drain(): Promise<void> {
    this.#draining = true;
    const drained = this.#relay.drain();
    this.#printWaiting();
    this.#timers.push(setInterval(() => this.#printWaiting(), DRAIN_LINE_MS));
    return drained;
  }

  #printWaiting(): void {
    const { activeConnections } = this.#relay.snapshot();
    if (activeConnections === this.#waitingFor) return;
    this.#waitingFor = activeConnections;
    this.#print(
      `[SHUTDOWN] Waiting for ${activeConnections} active connection(s)...`,
    );
  }

  /** Closes the relay now. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    if (this.#draining && this.#relay.snapshot().activeConnections > 0) {
      this.#print("[SHUTDOWN] Grace period expired, force exiting...");
    }
    await this.#relay.close();
    // Whoever awaits `finished` has its error.
    await this.finished.catch(() => {});
  }
}
