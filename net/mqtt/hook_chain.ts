/**
 * Calls hooks: several sets one after the other, each seeing what the one
 * before changed. A synchronous answer stays synchronous, so that a message
 * costs no promise where no hook returns one.
 */
import type { Log } from "../observe/log.ts";
import {
  type Answer,
  type ConnectChange,
  type ConnectResult,
  Denial,
  type Direction,
  type DisconnectResult,
  type FilterAnswers,
  type FilterChange,
  type FilterResult,
  type InterceptedPacket,
  type MessageChange,
  type MqttHooks,
  type MqttSession,
} from "./hooks.ts";
import type { ConnectDraft } from "./connect_draft.ts";
import type { FilterDraft } from "./filter_draft.ts";
import type { PublishMessage, WillMessage } from "./message.ts";
import type { HookTimes, MqttMetrics } from "./mqtt_metrics.ts";

/** Hooks with the name that metrics and log show. */
export interface NamedHooks {
  /** Such as `policy` or a file's name. */
  readonly name: string;
  /** The functions. */
  readonly hooks: MqttHooks;
}

/** What a chain decided: undefined lets it pass, with what was changed. */
export type Decision = Denial | undefined;

/** A decision now or later. */
export type MaybePromise<Value> = Value | Promise<Value>;

/** Names of the hooks. */
export type HookName = keyof MqttHooks;

/** All of them. */
export const HOOK_NAMES = [
  "authConnect",
  "authWill",
  "authPublish",
  "authSubscribe",
  "authUnsubscribe",
  "deliver",
  "intercept",
  "connect",
  "publish",
  "subscribe",
  "unsubscribe",
  "disconnect",
] as const satisfies readonly HookName[];

/** Whether a text is the name of a hook. */
export function isHookName(text: string): text is HookName {
  return (HOOK_NAMES as readonly string[]).includes(text);
}

// deno-lint-ignore no-explicit-any
type Call = (session: MqttSession, ...rest: any[]) => unknown;

interface NamedCall {
  readonly set: string;
  readonly call: Call;
  readonly times: HookTimes;
}

/** A hook that threw or hung: what the client is told says nothing about why. */
const UNSPECIFIED_ERROR = 0x80;

/** The hooks of a gateway, in order. */
export class HookChain {
  readonly #calls: Record<HookName, readonly NamedCall[]>;
  readonly #metrics: MqttMetrics;
  readonly #log: Log;

  constructor(sets: readonly NamedHooks[], metrics: MqttMetrics, log: Log) {
    this.#metrics = metrics;
    this.#log = log;
    const calls = (name: HookName, from = sets): NamedCall[] =>
      from.flatMap(({ name: set, hooks }) => {
        const call = hooks[name] as Call | undefined;
        return call
          ? [{
            set,
            call: call.bind(hooks),
            times: metrics.hookTimes(name, set),
          }]
          : [];
      });
    this.#calls = {
      authConnect: calls("authConnect"),
      // A will is a message that the broker will publish: who decides about
      // messages and says nothing about wills decides about them too.
      authWill: sets.flatMap((set) => {
        const own = calls("authWill", [set]);
        return own.length > 0 ? own : calls("authPublish", [set]);
      }),
      authPublish: calls("authPublish"),
      authSubscribe: calls("authSubscribe"),
      authUnsubscribe: calls("authUnsubscribe"),
      // On the way back the last set is the first: it undoes what it did.
      deliver: calls("deliver", [...sets].reverse()),
      intercept: calls("intercept"),
      connect: calls("connect"),
      publish: calls("publish"),
      subscribe: calls("subscribe"),
      unsubscribe: calls("unsubscribe"),
      disconnect: calls("disconnect"),
    };
  }

  /** Whether anyone wants to see this. */
  has(name: HookName): boolean {
    return this.#calls[name].length > 0;
  }

  authConnect(
    session: MqttSession,
    draft: ConnectDraft,
  ): MaybePromise<Decision> {
    return this.#decide<ConnectDraft, ConnectChange>(
      "authConnect",
      session,
      draft,
    );
  }

  authWill(session: MqttSession, will: WillMessage): MaybePromise<Decision> {
    return this.#decide("authWill", session, will);
  }

  authPublish(
    session: MqttSession,
    message: PublishMessage,
  ): MaybePromise<Decision> {
    return this.#decide("authPublish", session, message);
  }

  deliver(
    session: MqttSession,
    message: PublishMessage,
  ): MaybePromise<Decision> {
    return this.#decide<PublishMessage, MessageChange>(
      "deliver",
      session,
      message,
    );
  }

  /** The verdict on each filter is in the draft. */
  authFilters(
    name: "authSubscribe" | "authUnsubscribe",
    session: MqttSession,
    draft: FilterDraft,
  ): MaybePromise<Decision> {
    return this.#decide<FilterDraft, FilterAnswers<FilterChange>>(
      name,
      session,
      draft,
    );
  }

  /** The bytes of the packet that goes on, where a hook gave others. */
  intercept(
    session: MqttSession,
    packet: InterceptedPacket & { apply(bytes: Uint8Array): void },
    direction: Direction,
  ): MaybePromise<Decision> {
    return this.#decide("intercept", session, packet, direction);
  }

  connect(
    session: MqttSession,
    result: ConnectResult,
  ): Promise<void> | undefined {
    return this.#notify("connect", session, result);
  }

  publish(
    session: MqttSession,
    message: PublishMessage,
  ): Promise<void> | undefined {
    return this.#notify("publish", session, message);
  }

  subscribed(
    name: "subscribe" | "unsubscribe",
    session: MqttSession,
    result: FilterResult,
  ): Promise<void> | undefined {
    return this.#notify(name, session, result);
  }

  disconnect(
    session: MqttSession,
    result: DisconnectResult,
  ): Promise<void> | undefined {
    return this.#notify("disconnect", session, result);
  }

  /** What a hook that did not answer in time comes to. */
  timedOut(name: HookName, session: MqttSession, afterMs: number): Denial {
    this.#log.limited(`hook timeout ${name}`, `hook ${name} did not answer`, {
      session: session.id,
      clientId: session.clientId,
      afterMs,
    });
    return this.#deny(name, new Denial(UNSPECIFIED_ERROR, "no answer in time"));
  }

  /** A hook answered what cannot be done. */
  failed(name: HookName, session: MqttSession, error: unknown): Denial {
    const { set, times } = this.#calls[name].at(-1)!;
    return this.#threw(name, set, times, session, error);
  }

  #decide<
    Request extends { apply(change: Change): void },
    Change,
  >(
    name: HookName,
    session: MqttSession,
    request: Request,
    extra?: unknown,
    from = 0,
  ): MaybePromise<Decision> {
    const calls = this.#calls[name];
    for (let i = from; i < calls.length; i++) {
      const { call, set, times } = calls[i]!;
      const startedMs = times.start();
      try {
        const answer = call(session, request, extra) as Answer<Change>;
        if (isThenable(answer)) {
          times.isAsync = true;
          return this.#decideLater(
            name,
            session,
            request,
            extra,
            i,
            answer as Promise<Change | Denial | undefined>,
            startedMs,
          );
        }
        times.end(startedMs);
        if (answer === undefined || answer === null) continue;
        if (answer instanceof Denial) return this.#deny(name, answer);
        this.#apply(name, request, answer as Change);
      } catch (error) {
        return this.#threw(name, set, times, session, error);
      }
    }
    return undefined;
  }

  async #decideLater<
    Request extends { apply(change: Change): void },
    Change,
  >(
    name: HookName,
    session: MqttSession,
    request: Request,
    extra: unknown,
    index: number,
    promise: Promise<Change | Denial | undefined>,
    startedMs: number,
  ): Promise<Decision> {
    const { set, times } = this.#calls[name][index]!;
    try {
      const answer = await promise;
      times.end(startedMs);
      if (answer instanceof Denial) return this.#deny(name, answer);
      if (answer !== undefined && answer !== null) {
        this.#apply(name, request, answer);
      }
    } catch (error) {
      return this.#threw(name, set, times, session, error);
    }
    return await this.#decide(name, session, request, extra, index + 1);
  }

  #apply<Change>(
    name: HookName,
    request: { apply(change: Change): void },
    change: Change,
  ): void {
    request.apply(change);
    // A list of filters' verdicts: each denial in it is one.
    if (!Array.isArray(change)) return;
    for (const one of change) if (one instanceof Denial) this.#deny(name, one);
  }

  #notify(
    name: HookName,
    session: MqttSession,
    result: unknown,
  ): Promise<void> | undefined {
    let last: Promise<void> | undefined;
    for (const { call, set, times } of this.#calls[name]) {
      const startedMs = times.start();
      const took = () => times.end(startedMs);
      try {
        const answer = call(session, result) as void | Promise<void>;
        if (!isThenable(answer)) {
          took();
          continue;
        }
        const before = last;
        last = (async () => {
          try {
            await answer;
            took();
          } catch (error) {
            this.#threw(name, set, times, session, error);
          }
          await before;
        })();
      } catch (error) {
        this.#threw(name, set, times, session, error);
      }
    }
    return last;
  }

  #deny(name: HookName, denial: Denial): Denial {
    this.#metrics.denied(name, denial.reasonCode);
    return denial;
  }

  #threw(
    name: HookName,
    set: string,
    times: HookTimes,
    session: MqttSession,
    error: unknown,
  ): Denial {
    if (error instanceof Denial) return this.#deny(name, error);
    times.failures++;
    this.#log.limited(`hook ${name} of ${set}`, `hook ${name} failed`, {
      hooks: set,
      session: session.id,
      clientId: session.clientId,
      error: error instanceof Error
        ? `${error.name}: ${error.message}`
        : String(error),
    });
    return this.#deny(name, new Denial(UNSPECIFIED_ERROR));
  }
}

function isThenable(value: unknown): value is Promise<unknown> {
  return typeof value === "object" && value !== null &&
    typeof (value as { then?: unknown }).then === "function";
}
