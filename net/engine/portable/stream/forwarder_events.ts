/** Gathers what a forwarder of the portable engine reports, for its next tick. */
import type {
  ReportLevel,
  StreamEvent,
  StreamEventSink,
} from "../../stream.ts";
import { ForwardSlot } from "../../stream_counters.ts";

/** Events reported in one tick; more are counted and left out. */
const EVENTS_PER_TICK = 10_000;

/** An event without its time. */
type Untimed<E> = E extends unknown ? Omit<E, "atMs"> : never;

/** Events that wait for a tick. */
export class ForwardEvents {
  /** How much is reported. */
  level: ReportLevel;
  readonly #sink: StreamEventSink | undefined;
  readonly #slots: Float64Array;
  readonly #onFirst: () => void;
  #events: StreamEvent[] = [];

  /** `onFirst` is called when something waits; it may be called again. */
  constructor(
    level: ReportLevel,
    sink: StreamEventSink | undefined,
    slots: Float64Array,
    onFirst: () => void,
  ) {
    this.level = level;
    this.#sink = sink;
    this.#slots = slots;
    this.#onFirst = onFirst;
  }

  /** Whether nothing waits. */
  get empty(): boolean {
    return this.#events.length === 0;
  }

  /** Reports an event with the next tick. */
  add(event: Untimed<StreamEvent>): void {
    if (!this.#sink) return;
    if (this.#events.length >= EVENTS_PER_TICK) {
      this.#slots[ForwardSlot.eventsDropped]!++;
      return;
    }
    this.#events.push({ ...event, atMs: Date.now() });
    this.#onFirst();
  }

  /** Reports what waits. */
  flush(): void {
    if (this.#events.length === 0) return;
    const events = this.#events;
    this.#events = [];
    this.#sink?.(events);
  }
}
