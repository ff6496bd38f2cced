/**
 * Authenticates by asking a web service with a POST of JSON; `http_answer.ts`
 * reads what it answers. The answer has a deadline and a bound, and redirects
 * are not followed: they would send the password elsewhere.
 */
import { AnswerError } from "../hooks/decision.ts";
import { Denial } from "../hooks/hooks.ts";
import {
  type HttpAnswer,
  type HttpAuthFormat,
  readHttpAnswer,
} from "./http_answer.ts";
import type { Credentials, Verdict } from "./verdict.ts";

/** Which service, and how. */
export interface HttpAuthOptions {
  /** Asked with POST. */
  url: string;
  /** Beyond it, the client is refused with 0x88. */
  timeoutMs: number;
  /** More headers, such as `authorization`. */
  headers: Readonly<Record<string, string>>;
  /**
   * What the service is asked, and how its answer is read.
   * @default {"mproxy"}
   */
  format?: HttpAuthFormat | undefined;
  /** Client identifiers that its clients may use. Default: those of the policy. */
  clientIds?: readonly string[] | undefined;
}

/** Longest answer that is read, in bytes. */
const MAX_ANSWER_BYTES = 65536;

/** Asks the service; if it cannot be asked, that is a refusal with 0x88. */
export async function authenticateByHttp(
  options: HttpAuthOptions,
  credentials: Credentials,
  nowMs: number,
): Promise<Verdict> {
  const { url, timeoutMs, headers, format = "mproxy" } = options;
  let answer: HttpAnswer;
  try {
    const response = await fetch(url, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        ...hookHeader(format, credentials),
        ...headers,
      },
      body: JSON.stringify(questionOf(format, credentials)),
      redirect: "manual",
      signal: AbortSignal.timeout(timeoutMs),
    });
    answer = await readResponse(format, response);
  } catch (error) {
    if (error instanceof NotText) {
      return { kind: "deny", reasonCode: 0x86, reason: error.message };
    }
    return {
      kind: "deny",
      reasonCode: 0x88,
      reason: `cannot ask the service: ${(error as Error).message}`,
    };
  }
  try {
    const read = readHttpAnswer(format, answer, nowMs);
    if (!(read instanceof Denial)) return { kind: "allow", ...read };
    const { reasonCode, reason = "" } = read;
    return { kind: "deny", reasonCode, reason };
  } catch (error) {
    if (!(error instanceof AnswerError)) throw error;
    return {
      kind: "deny",
      reasonCode: 0x87,
      reason: "refused: the service's answer was not understood",
      misunderstood: `${url} (format ${format}) ${error.message}`,
    };
  }
}

/** A password that JSON cannot carry as it is. */
class NotText extends Error {}

/** What the service is asked, in the format's own names. */
function questionOf(
  format: HttpAuthFormat,
  credentials: Credentials,
): Record<string, unknown> {
  const { clientId, username, commonName, remote, listener, version } =
    credentials;
  const password = textOf(credentials.password);
  const hostname = remote.replace(/:\d+$/, "").replace(/^\[(.*)\]$/, "$1");
  switch (format) {
    case "emqx":
      return {
        clientid: clientId,
        username,
        password,
        peerhost: hostname,
        cert_common_name: commonName,
        proto_ver: version,
      };
    case "vernemq":
      return {
        peer_addr: hostname,
        peer_port: Number(/:(\d+)$/.exec(remote)?.[1] ?? 0),
        username: username ?? null,
        password: password ?? null,
        mountpoint: "",
        client_id: clientId,
        [version === 5 ? "clean_start" : "clean_session"]:
          credentials.cleanStart ?? true,
      };
    default:
      return {
        client_id: clientId,
        username,
        password,
        common_name: commonName,
        remote,
        listener,
        version,
      };
  }
}

function hookHeader(
  format: HttpAuthFormat,
  { version }: Credentials,
): Record<string, string> {
  if (format !== "vernemq") return {};
  const hook = version === 5 ? "auth_on_register_m5" : "auth_on_register";
  return { "vernemq-hook": hook };
}

function textOf(password: Uint8Array | undefined): string | undefined {
  try {
    return password &&
      new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
        .decode(password);
  } catch {
    // With replacement characters, two passwords would be one.
    throw new NotText("the password is not UTF-8");
  }
}

async function readResponse(
  format: HttpAuthFormat,
  response: Response,
): Promise<HttpAnswer> {
  const { status, headers } = response;
  const contentType = (headers.get("content-type") ?? "").split(";")[0]!
    .trim().toLowerCase();
  if (format === "status" || !response.ok) {
    await response.body?.cancel();
    return { status, contentType, body: "" };
  }
  return { status, contentType, body: await readBody(response) };
}

async function readBody(response: Response): Promise<string> {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let bytes = 0;
  for await (const part of response.body ?? []) {
    bytes += part.length;
    if (bytes > MAX_ANSWER_BYTES) {
      throw new Error(`the answer is longer than ${MAX_ANSWER_BYTES} bytes`);
    }
    parts.push(part);
  }
  return await new Blob(parts).text();
}
