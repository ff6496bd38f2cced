/**
 * What an answer comes to: allow, change or deny. Hooks, the policy, web
 * services and tokens all go through `decide`: it knows the documented
 * answers, and whatever else comes is an error that denies. Pure.
 */
import { type Denial, denialOf } from "./hooks.ts";

/** An answer that is none of the documented ones: it denies. */
export class AnswerError extends Error {
  override name = "AnswerError";

  /** What came, cut to one short line, and what was expected in its place. */
  constructor(answer: unknown, expected: string) {
    super(`answered ${describe(answer)}; expected ${expected}`);
  }

  /** The same about an answer that was described before. */
  static of(message: string): AnswerError {
    const error = new AnswerError(undefined, "");
    error.message = message;
    return error;
  }
}

/** Checks a change. */
export interface ChangeShape {
  /** Whether it is one. */
  readonly accepts: (answer: unknown) => boolean;
  /** What it must be, for the log. */
  readonly expected: string;
}

/**
 * Reads an answer: undefined allows, a Denial denies, anything else is a
 * change of the given shape.
 *
 * @throws {AnswerError} where it is none of these.
 */
export function decide<Change>(
  shape: ChangeShape,
  answer: unknown,
): Denial | Change | undefined {
  if (answer === undefined || answer === true) return undefined;
  const denial = denialOf(answer);
  if (denial) return denial;
  if (shape.accepts(answer)) return answer as Change;
  throw new AnswerError(answer, `nothing, true, deny() or ${shape.expected}`);
}

type Checks = Readonly<Record<string, (value: unknown) => boolean>>;

/**
 * A plain object with these keys and no others. Instances of classes are no
 * changes: an Error or a Map has no keys of its own and would pass for "leave
 * everything as it is".
 */
export function objectOf(checks: Checks): ChangeShape {
  const keys = Object.keys(checks).join(", ");
  return {
    expected: `an object with some of ${keys}`,
    accepts(answer) {
      if (!isPlainObject(answer)) return false;
      for (const key of Object.keys(answer)) {
        if (!Object.hasOwn(checks, key)) return false;
        const value = answer[key];
        if (value !== undefined && !checks[key]!(value)) return false;
      }
      return true;
    },
  };
}

/** Whether a value is an object as `{}` or `JSON.parse` makes it. */
export function isPlainObject(
  value: unknown,
): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const prototype = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/** Whether a value is a text that MQTT can carry (1.5.4). */
export function isMqttText(value: unknown): value is string {
  return typeof value === "string" && value.isWellFormed() &&
    !value.includes("\0");
}

const isTextOrNull = (value: unknown) => value === null || isMqttText(value);
const isBytes = (value: unknown) => value instanceof Uint8Array;
const isBoolean = (value: unknown) => typeof value === "boolean";
const isQos = (value: unknown) => value === 0 || value === 1 || value === 2;
const isPairs = (value: unknown) =>
  Array.isArray(value) &&
  value.every((pair) =>
    Array.isArray(pair) && pair.length === 2 && pair.every(isMqttText)
  );

const MESSAGE: Checks = {
  topic: isMqttText,
  payload: (value) => typeof value === "string" || isBytes(value),
  qos: isQos,
  retain: isBoolean,
  userProperties: isPairs,
  responseTopic: isTextOrNull,
};

const FILTERS: ChangeShape = {
  expected: "a list with an answer for each filter",
  accepts: Array.isArray,
};

/** A change of one filter. */
export const FILTER_SHAPE: ChangeShape = objectOf({
  filter: isMqttText,
  qos: isQos,
});

/** What each hook may answer beside yes and no. */
export const HOOK_SHAPES = {
  authConnect: objectOf({
    clientId: isMqttText,
    username: isTextOrNull,
    password: (value) => value === null || MESSAGE.payload!(value),
    userProperties: isPairs,
    identity: isTextOrNull,
    maximumQos: (value) => value === 0 || value === 1,
    retainAvailable: isBoolean,
  }),
  authWill: objectOf({ ...MESSAGE, remove: isBoolean }),
  authPublish: objectOf(MESSAGE),
  deliver: objectOf(MESSAGE),
  authSubscribe: FILTERS,
  authUnsubscribe: FILTERS,
  intercept: {
    expected: "a packet's bytes",
    accepts: isBytes,
  } as ChangeShape,
} as const;

/** Longest description of an answer. */
const MAX_DESCRIBED_CHARS = 120;

/** An answer as the log shows it: its kind, and no more of it than a line holds. */
export function describe(answer: unknown): string {
  let text: string;
  try {
    text = describeWhole(answer);
  } catch {
    // A getter or a Proxy of the user's threw.
    text = typeof answer;
  }
  return text.length <= MAX_DESCRIBED_CHARS
    ? text
    : `${text.slice(0, MAX_DESCRIBED_CHARS).toWellFormed()}…`;
}

function describeWhole(answer: unknown): string {
  if (typeof answer === "string") {
    return JSON.stringify(answer.slice(0, MAX_DESCRIBED_CHARS));
  }
  if (typeof answer === "function") return "a function";
  if (typeof answer !== "object" || answer === null) return String(answer);
  if (answer instanceof Error) return `${answer.name}: ${answer.message}`;
  if (Array.isArray(answer)) {
    const shown = answer.slice(0, 4).map(shallow).join(", ");
    return `[${shown}${answer.length > 4 ? ", …" : ""}]`;
  }
  if (answer instanceof Uint8Array) return `${answer.length} bytes`;
  const name = isPlainObject(answer)
    ? ""
    : `${answer.constructor?.name ?? "object"} `;
  // `for … in` stops at the fifth key; Object.keys would list a million first.
  const fields: string[] = [];
  for (const key in answer) {
    if (fields.length === 4) {
      fields.push("…");
      break;
    }
    const value = (answer as Record<string, unknown>)[key];
    fields.push(`${key.slice(0, 40)}: ${shallow(value)}`);
  }
  return `${name}{${fields.join(", ")}}`;
}

function shallow(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value.slice(0, 40));
  return typeof value === "object" && value !== null
    ? value instanceof Error
      ? `${value.name}: ${value.message.slice(0, 40)}`
      : Array.isArray(value)
      ? "[…]"
      : "{…}"
    : typeof value === "function"
    ? "a function"
    : String(value);
}
