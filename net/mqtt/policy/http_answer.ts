/**
 * What a web service's answer means, by format. Only an explicit yes allows: a
 * service of another product, a login page or a proxy's error page answers 200
 * as well. Pure.
 */
import { AnswerError, decide, isPlainObject } from "../hooks/decision.ts";
import { Denial, deny } from "../hooks/hooks.ts";
import { ALLOWANCE, type Allowance } from "./verdict.ts";

/** Formats of answers. */
export const HTTP_AUTH_FORMATS = [
  "status",
  "mproxy",
  "emqx",
  "vernemq",
] as const;

/** A format of answers. */
export type HttpAuthFormat = typeof HTTP_AUTH_FORMATS[number];

/** What a service answered. */
export interface HttpAnswer {
  readonly status: number;
  /** Without parameters, in lower case. */
  readonly contentType: string;
  readonly body: string;
}

const DENIED = deny(0x86, "refused by the service");

/**
 * Reads an answer: undefined or an allowance allows.
 *
 * @throws {AnswerError} where it is not understood: it denies.
 */
export function readHttpAnswer(
  format: HttpAuthFormat,
  answer: HttpAnswer,
  nowMs: number,
): Denial | Allowance | undefined {
  const { status } = answer;
  if (status === 401 || status === 403) return DENIED;
  if (format === "status" ? status < 200 || status > 299 : !isRead(status)) {
    return new Denial(0x88, `the service answered ${status}`);
  }
  const read = format === "status" ? true : READERS[format](answer, nowMs);
  return decide<Allowance>(ALLOWANCE, read);
}

const isRead = (status: number) => status === 200 || status === 204;

/** Each turns an answer of its format into one of ours; throws where it knows none. */
const READERS: Readonly<
  Record<
    Exclude<HttpAuthFormat, "status">,
    (answer: HttpAnswer, nowMs: number) => true | Denial | Allowance
  >
> = { mproxy: readOwn, emqx: readEmqx, vernemq: readVerneMq };

function readOwn(
  { body }: HttpAnswer,
  nowMs: number,
): true | Denial | Allowance {
  if (body.trim() === "") return true;
  const expected = 'an empty body or JSON with "allow": true or false';
  const json = objectIn(body, expected);
  const { allow, username, expires_in: seconds } = json;
  if (allow === false) return DENIED;
  if (allow !== true) throw new AnswerError(json, expected);
  return {
    username: username as string ?? undefined,
    expiresMs: endOf(seconds, nowMs, json),
  };
}

/** EMQX 5, "Use HTTP Service": 204 allows, else `result` in a JSON body decides. */
function readEmqx(answer: HttpAnswer): true | Denial | Allowance {
  const { status, contentType, body } = answer;
  if (status === 204) return true;
  const expected = 'JSON with "result": "allow", "deny" or "ignore"';
  const json = objectIn(body, expected);
  if (contentType !== "application/json") {
    throw new AnswerError(contentType, "content-type application/json");
  }
  const { result, expire_at: seconds, acl } = json;
  // "ignore" leaves it to the next authenticator, and there is none.
  if (result === "deny" || result === "ignore") return DENIED;
  if (result !== "allow") throw new AnswerError(json, expected);
  // Rules in the answer are not applied here: to ignore them would allow more.
  if (acl !== undefined && acl !== null) {
    throw new AnswerError(json, 'no "acl"; write its rules to the policy');
  }
  return { expiresMs: endOf(seconds, 0, json) };
}

/** VerneMQ's webhook `auth_on_register`: 200 and `result` decide. */
function readVerneMq({ status, body }: HttpAnswer): true | Denial {
  const expected = 'JSON with "result": "ok", "next" or {"error": …}';
  const json = objectIn(body, expected);
  const { result, modifiers } = json;
  // "next" leaves it to the next plugin, and there is none.
  if (result === "next") return DENIED;
  if (isPlainObject(result) && result.error !== undefined) return DENIED;
  if (result !== "ok" || status !== 200) throw new AnswerError(json, expected);
  // To ignore a modifier would let the client in as somebody else, or with more.
  const isPlain = modifiers === undefined ||
    isPlainObject(modifiers) && Object.keys(modifiers).length === 0;
  if (isPlain) return true;
  throw new AnswerError(json, 'no "modifiers"; they are not applied');
}

function objectIn(body: string, expected: string): Record<string, unknown> {
  let json: unknown;
  try {
    json = JSON.parse(body);
  } catch {
    throw new AnswerError(body, expected);
  }
  if (isPlainObject(json)) return json;
  throw new AnswerError(json, expected);
}

/** An end in milliseconds; a text or a negative number is none that anybody meant. */
function endOf(
  seconds: unknown,
  fromMs: number,
  json: unknown,
): number | undefined {
  if (seconds === undefined || seconds === null) return undefined;
  if (typeof seconds === "number" && seconds >= 0) {
    return fromMs + seconds * 1000;
  }
  throw new AnswerError(json, "an end in seconds");
}
