/**
 * JSON-RPC 2.0 over the table of commands: a request text in, a response text
 * out. Parameters come by name (in snake or camel case) or by position. A
 * notification is done and not answered; batches are bounded.
 */
import { Buffer } from "node:buffer";
import type { Tunnels } from "../tunnels.ts";
import { COMMANDS, type ControlCommand } from "./commands.ts";
import { controlFailure } from "./errors.ts";
import {
  ParameterError,
  type ParameterReader,
  snakeCase,
  unknownField,
} from "./parameters.ts";

/** Requests that a batch may hold. */
export const MAX_BATCH = 100;

/** Bytes that a request or a batch may have. */
export const MAX_REQUEST_BYTES = 1024 * 1024;

/** Bytes that an answer may have, and the sum of a batch's answers. */
export const MAX_ANSWER_BYTES = 10 * 1024 * 1024;

/** Codes of the specification (section 5.1), and jsonrpsee's for limits. */
const PARSE_ERROR = -32700;
const INVALID_REQUEST = -32600;
const METHOD_NOT_FOUND = -32601;
const INVALID_PARAMS = -32602;
const INTERNAL_ERROR = -32603;
const OVERSIZED_REQUEST = -32007;
const OVERSIZED_ANSWER = -32008;
const OVERSIZED_BATCH = -32010;
const OVERSIZED_BATCH_ANSWER = -32011;

interface RpcError {
  code: number;
  message: string;
  data?: string;
}

type RpcId = string | number | null;

type RpcResponse =
  | { jsonrpc: "2.0"; result: unknown; id: RpcId }
  | { jsonrpc: "2.0"; error: RpcError; id: RpcId };

/** Answers one request or batch; undefined where nothing is to be said. */
export async function answerRpc(
  tunnels: Tunnels,
  text: string,
): Promise<string | undefined> {
  let message: unknown;
  try {
    message = JSON.parse(text);
  } catch {
    return JSON.stringify(
      failure(null, { code: PARSE_ERROR, message: "Parse error" }),
    );
  }
  if (!Array.isArray(message)) {
    const response = await answerOne(tunnels, message);
    if (!response) return undefined;
    const text = JSON.stringify(response);
    return Buffer.byteLength(text) <= MAX_ANSWER_BYTES
      ? text
      : oversizedAnswer(response.id);
  }
  if (message.length === 0) return JSON.stringify(invalidRequest(null));
  if (message.length > MAX_BATCH) {
    return JSON.stringify(failure(null, {
      code: OVERSIZED_BATCH,
      message: "The batch request was too large",
      data: `Exceeded max limit of ${MAX_BATCH}`,
    }));
  }
  return await answerBatch(tunnels, message);
}

/**
 * Answers requests in order: a batch may open what it then changes. Where the
 * answers have reached their limit, the remaining requests are not done.
 */
async function answerBatch(
  tunnels: Tunnels,
  requests: readonly unknown[],
): Promise<string | undefined> {
  const answers: string[] = [];
  let left = MAX_ANSWER_BYTES;
  for (const request of requests) {
    if (left < 0) {
      const { id, isNotification } = readId(request);
      if (!isNotification) answers.push(oversizedBatchAnswer(id));
      continue;
    }
    const response = await answerOne(tunnels, request);
    if (!response) continue;
    const text = JSON.stringify(response);
    left -= Buffer.byteLength(text);
    answers.push(left < 0 ? oversizedBatchAnswer(response.id) : text);
  }
  return answers.length === 0 ? undefined : `[${answers.join(",")}]`;
}

function oversizedAnswer(id: RpcId): string {
  return JSON.stringify(failure(id, {
    code: OVERSIZED_ANSWER,
    message: "Response is too big",
    data: `Exceeded max limit of ${MAX_ANSWER_BYTES}`,
  }));
}

function oversizedBatchAnswer(id: RpcId): string {
  return JSON.stringify(failure(id, {
    code: OVERSIZED_BATCH_ANSWER,
    message: "The batch response was too large",
    data: `Exceeded max limit of ${MAX_ANSWER_BYTES}`,
  }));
}

/** The answer to a request that is too long to be read. */
export function oversizedRequest(): string {
  return JSON.stringify(failure(null, {
    code: OVERSIZED_REQUEST,
    message: "Request is too big",
    data: `Exceeded max limit of ${MAX_REQUEST_BYTES}`,
  }));
}

async function answerOne(
  tunnels: Tunnels,
  message: unknown,
): Promise<RpcResponse | undefined> {
  if (
    typeof message !== "object" || message === null || Array.isArray(message)
  ) {
    return invalidRequest(null);
  }
  const { jsonrpc, method, params, id: given } = message as Record<
    string,
    unknown
  >;
  const { id, isNotification } = readId(message);
  if (
    jsonrpc !== "2.0" || typeof method !== "string" ||
    !isNotification && given !== id
  ) return invalidRequest(id);
  const response = await call(tunnels, method, params, id);
  return isNotification ? undefined : response;
}

function readId(message: unknown): { id: RpcId; isNotification: boolean } {
  if (
    typeof message !== "object" || message === null || !("id" in message)
  ) return { id: null, isNotification: true };
  const { id } = message;
  const isId = typeof id === "string" || typeof id === "number";
  return { id: isId ? id : null, isNotification: false };
}

async function call(
  tunnels: Tunnels,
  method: string,
  params: unknown,
  id: RpcId,
): Promise<RpcResponse> {
  const command = COMMANDS.find((one) => one.method === method);
  if (!command) {
    return failure(id, { code: METHOD_NOT_FOUND, message: "Method not found" });
  }
  try {
    const result = await command.run(tunnels, readParams(command, params));
    return { jsonrpc: "2.0", result: command.rpc?.(result) ?? null, id };
  } catch (error) {
    return failure(id, rpcError(error));
  }
}

/** Values by name, from a list, an object or nothing; what no reader takes is an error. */
function readParams(
  command: ControlCommand,
  params: unknown,
): Record<string, unknown> {
  const readers = Object.entries(command.parameters);
  if (params === undefined || params === null || Array.isArray(params)) {
    return readList(readers, params ?? []);
  }
  if (typeof params !== "object") {
    throw new ParameterError("expected a list or an object of parameters");
  }
  return readObject(readers, params as Record<string, unknown>);
}

type Readers = readonly (readonly [name: string, read: ParameterReader])[];

function readList(
  readers: Readers,
  list: readonly unknown[],
): Record<string, unknown> {
  if (list.length > readers.length) {
    throw new ParameterError(
      `invalid length ${list.length}, expected at most ${readers.length} parameters`,
    );
  }
  const values: Record<string, unknown> = {};
  for (const [i, [name, read]] of readers.entries()) {
    const value = i < list.length
      ? read(list[i], snakeCase(name))
      : orNoMore(() => read(undefined, snakeCase(name)));
    if (value !== undefined) values[name] = value;
  }
  return values;
}

function readObject(
  readers: Readers,
  given: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const known = readers.map(([name]) => snakeCase(name));
  const byName = new Map<string, unknown>();
  for (const [name, value] of Object.entries(given)) {
    const field = snakeCase(name);
    if (!known.includes(field)) throw unknownField(name, known);
    if (byName.has(field)) {
      throw new ParameterError(`duplicate field \`${name}\``);
    }
    byName.set(field, value);
  }
  const values: Record<string, unknown> = {};
  for (const [name, read] of readers) {
    const field = snakeCase(name);
    const value = read(byName.get(field), field);
    if (value !== undefined) values[name] = value;
  }
  return values;
}

/** What is missing behind the end of a list is said in jsonrpsee's words. */
function orNoMore<Value>(read: () => Value): Value {
  try {
    return read();
  } catch (error) {
    throw error instanceof ParameterError
      ? new ParameterError("No more params")
      : error;
  }
}

function rpcError(error: unknown): RpcError {
  if (error instanceof ParameterError) {
    return {
      code: INVALID_PARAMS,
      message: "Invalid params",
      data: error.message,
    };
  }
  // A fault of ours, such as a TypeError, is not the tunnels' answer.
  if (error instanceof TypeError) {
    return { code: INTERNAL_ERROR, message: "Internal error" };
  }
  const { code, message, detail } = controlFailure(error);
  return { code, message, ...(detail === undefined ? {} : { data: detail }) };
}

function invalidRequest(id: RpcId): RpcResponse {
  return failure(id, { code: INVALID_REQUEST, message: "Invalid request" });
}

function failure(id: RpcId, error: RpcError): RpcResponse {
  return { jsonrpc: "2.0", error, id };
}
