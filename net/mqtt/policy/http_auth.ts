/**
 * Authenticates by asking a web service: a POST with JSON. 200 or 204 allows,
 * 401 and 403 deny; a body of `{"allow": false}` denies too, and may name the
 * user (`username`) and the end of the allowance (`expires_in` seconds).
 */
import type { Credentials, Verdict } from "./verdict.ts";

/** Which service, and how. */
export interface HttpAuthOptions {
  /** Asked with POST. */
  url: string;
  /** Beyond it, the client is refused with 0x88. */
  timeoutMs: number;
  /** More headers, such as `authorization`. */
  headers: Readonly<Record<string, string>>;
}

/** Longest answer that is read, in bytes. */
const MAX_ANSWER_BYTES = 65536;

/** Asks the service; what it cannot say is a refusal with 0x88. */
export async function authenticateByHttp(
  options: HttpAuthOptions,
  credentials: Credentials,
  nowMs: number,
): Promise<Verdict> {
  const { url, timeoutMs, headers } = options;
  const { clientId, username, password, commonName, ...rest } = credentials;
  try {
    const response = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify({
        client_id: clientId,
        username,
        password: password && new TextDecoder().decode(password),
        common_name: commonName,
        ...rest,
      }),
      redirect: "error",
      signal: AbortSignal.timeout(timeoutMs),
    });
    const body = await readBody(response);
    if (response.status === 401 || response.status === 403) {
      return {
        kind: "deny",
        reasonCode: 0x86,
        reason: "refused by the service",
      };
    }
    if (!response.ok) {
      return unavailable(`the service answered ${response.status}`);
    }
    return readAnswer(body, nowMs);
  } catch (error) {
    return unavailable((error as Error).message);
  }
}

async function readBody(response: Response): Promise<string> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of response.body ?? []) {
    bytes += part.length;
    if (bytes > MAX_ANSWER_BYTES) throw new Error("the answer is too long");
    parts.push(part);
  }
  return await new Blob(parts as Uint8Array<ArrayBuffer>[]).text();
}

function readAnswer(body: string, nowMs: number): Verdict {
  if (body.trim() === "") return { kind: "allow" };
  let answer: unknown;
  try {
    answer = JSON.parse(body);
  } catch {
    // Services that say "ok" in words.
    return { kind: "allow" };
  }
  if (typeof answer !== "object" || answer === null) return { kind: "allow" };
  const { allow, username, expires_in: seconds } = answer as Record<
    string,
    unknown
  >;
  if (allow !== undefined && allow !== true) {
    return { kind: "deny", reasonCode: 0x86, reason: "refused by the service" };
  }
  return {
    kind: "allow",
    username: typeof username === "string" && username !== ""
      ? username
      : undefined,
    expiresMs: typeof seconds === "number" ? nowMs + seconds * 1000 : undefined,
  };
}

function unavailable(reason: string): Verdict {
  return { kind: "deny", reasonCode: 0x88, reason };
}
