/**
 * Calls hooks: several sets one after the other, each seeing what the one
 * before changed. A synchronous answer stays synchronous, so that a message
 * costs no promise where no hook returns one.
 */
import type { Log } from "../../observe/log.ts";
import { AnswerError, decide, FILTER_SHAPE, HOOK_SHAPES } from "./decision.ts";
import {
  type ConnectResult,
  Denial,
  denialOf,
  type Direction,
  type DisconnectResult,
  type FilterChange,
  type FilterResult,
  type InterceptedPacket,
  type MqttHooks,
  type MqttSession,
} from "./hooks.ts";
import type { ConnectDraft } from "./connect_request.ts";
import { FilterDraft } from "./filter_request.ts";
import type { PublishMessage, WillMessage } from "../session/message.ts";
import type { HookTimes, MqttMetrics } from "../metrics.ts";

/** Hooks with the name that metrics and log show. */
export interface NamedHooks {
  /** Such as `policy` or a file's name. */
  readonly name: string;
  /** The functions. */
  readonly hooks: MqttHooks;
  /**
   * How long `authConnect` may take beyond the hook timeout, in milliseconds:
   * for a set whose waits all have deadlines of their own. Default: 0.
   */
  readonly extraConnectMs?: number | undefined;
}

/** What a chain decided: undefined lets it pass, with what was changed. */
export type Decision = Denial | undefined;

/** A decision now or later. */
export type MaybePromise<Value> = Value | Promise<Value>;

/** Names of the hooks. */
export type HookName = keyof MqttHooks;

/** Hooks whose answer decides. */
type DecidingHook = keyof typeof HOOK_SHAPES;

/** What hooks decide about: it takes their changes. */
type Decidable = { apply(change: never): void } | FilterDraft;

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

/** An answer that is none of the documented ones, such as `false`. */
const NOT_AUTHORIZED = 0x87;

/** The hooks of a gateway, in order. */
export class HookChain {
  readonly #sets: readonly NamedHooks[];
  readonly #calls: Record<HookName, readonly NamedCall[]>;
  readonly #metrics: MqttMetrics;
  readonly #log: Log;

  constructor(sets: readonly NamedHooks[], metrics: MqttMetrics, log: Log) {
    this.#metrics = metrics;
    this.#log = log;
    this.#sets = sets;
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

  /** How long `authConnect` may take now beyond the hook timeout, in milliseconds. */
  get extraConnectMs(): number {
    let sum = 0;
    for (const { extraConnectMs = 0 } of this.#sets) sum += extraConnectMs;
    return sum;
  }

  /** Whether anyone wants to see this. */
  has(name: HookName): boolean {
    return this.#calls[name].length > 0;
  }

  authConnect(
    session: MqttSession,
    draft: ConnectDraft,
  ): MaybePromise<Decision> {
    return this.#decide("authConnect", session, draft);
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
    return this.#decide("deliver", session, message);
  }

  /** The verdict on each filter is in the draft. */
  authFilters(
    name: "authSubscribe" | "authUnsubscribe",
    session: MqttSession,
    draft: FilterDraft,
  ): MaybePromise<Decision> {
    return this.#decide(name, session, draft);
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
    const named = this.#calls[name].at(-1)!;
    return this.#threw(name, named, session, error);
  }

  #decide(
    name: DecidingHook,
    session: MqttSession,
    request: Decidable,
    extra?: unknown,
    from = 0,
  ): MaybePromise<Decision> {
    const calls = this.#calls[name];
    for (let i = from; i < calls.length; i++) {
      const named = calls[i]!;
      const { call, times } = named;
      // The hooks before, or the filters' own form, may have denied all.
      if (request instanceof FilterDraft && request.isAllDenied) break;
      const startedMs = times.start();
      try {
        const answer = call(session, request, extra);
        if (isThenable(answer)) {
          times.isAsync = true;
          return this.#decideLater(
            name,
            session,
            request,
            extra,
            i,
            answer,
            startedMs,
          );
        }
        times.end(startedMs);
        const decision = this.#read(name, named, session, request, answer);
        if (decision) return decision;
      } catch (error) {
        return this.#threw(name, named, session, error);
      }
    }
    return undefined;
  }

  async #decideLater(
    name: DecidingHook,
    session: MqttSession,
    request: Decidable,
    extra: unknown,
    index: number,
    promise: Promise<unknown>,
    startedMs: number,
  ): Promise<Decision> {
    const named = this.#calls[name][index]!;
    try {
      const answer = await promise;
      named.times.end(startedMs);
      const decision = this.#read(name, named, session, request, answer);
      if (decision) return decision;
    } catch (error) {
      return this.#threw(name, named, session, error);
    }
    return await this.#decide(name, session, request, extra, index + 1);
  }

  /** Reads an answer and puts a change on top; throws where it is not understood. */
  #read(
    name: DecidingHook,
    named: NamedCall,
    session: MqttSession,
    request: Decidable,
    answer: unknown,
  ): Decision {
    // The answer of nearly every message.
    if (answer === undefined) return undefined;
    const read = decide<unknown>(HOOK_SHAPES[name], answer);
    if (read === undefined) return undefined;
    if (read instanceof Denial) return this.#deny(name, read);
    if (request instanceof FilterDraft) {
      this.#readFilters(name, named, session, request, read as unknown[]);
    } else request.apply(read as never);
    return undefined;
  }

  /** Reads the answers for a packet's filters, each alone. */
  #readFilters(
    name: DecidingHook,
    named: NamedCall,
    session: MqttSession,
    draft: FilterDraft,
    answers: readonly unknown[],
  ): void {
    const open = draft.open();
    if (answers.length !== open.length) {
      throw new AnswerError(
        answers,
        `${open.length} answers, one for each filter`,
      );
    }
    for (const [index, verdict] of open.entries()) {
      try {
        if (!(index in answers)) {
          throw new AnswerError(answers, "no holes in the list");
        }
        const read = decide<FilterChange>(FILTER_SHAPE, answers[index]);
        if (read instanceof Denial) verdict.denial = this.#deny(name, read);
        else if (read) draft.change(verdict, read);
      } catch (error) {
        verdict.denial = this.#threw(name, named, session, error);
      }
    }
  }

  #notify(
    name: HookName,
    session: MqttSession,
    result: unknown,
  ): Promise<void> | undefined {
    let last: Promise<void> | undefined;
    for (const named of this.#calls[name]) {
      const { call, times } = named;
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
            this.#threw(name, named, session, error);
          }
          await before;
        })();
      } catch (error) {
        this.#threw(name, named, session, error);
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
    { set, times }: NamedCall,
    session: MqttSession,
    error: unknown,
  ): Denial {
    const denial = denialOf(error);
    if (denial) return this.#deny(name, denial);
    times.failures++;
    const isAnswer = error instanceof AnswerError;
    this.#log.limited(
      `hook ${name} of ${set}`,
      isAnswer
        ? `hook ${name} answered what is not documented: denied`
        : `hook ${name} failed`,
      {
        hooks: set,
        session: session.id,
        clientId: session.clientId,
        error: isAnswer ? error.message : thrownText(error),
      },
    );
    return this.#deny(
      name,
      new Denial(isAnswer ? NOT_AUTHORIZED : UNSPECIFIED_ERROR),
    );
  }
}

/** Longest text of an error in the log. */
const MAX_ERROR_CHARS = 500;

/** What was thrown, as one bounded text; whatever a user's code throws, this does not. */
function thrownText(error: unknown): string {
  try {
    const text = error instanceof Error
      ? `${error.name}: ${error.message}`
      : String(error);
    return text.slice(0, MAX_ERROR_CHARS).toWellFormed();
  } catch {
    return `a thrown ${typeof error}`;
  }
}

function isThenable(value: unknown): value is Promise<unknown> {
  return typeof value === "object" && value !== null &&
    typeof (value as { then?: unknown }).then === "function";
}
