// deno-lint-ignore-file camelcase -- names of the original's JSON-RPC
/**
 * Options of `openTunnel`: every option of a specification under its own name,
 * in kebab, snake or camel case, and the original's names. The table of
 * options reads them, so that JSON-RPC takes what a specification takes. What
 * is unknown is refused: an option that is passed over could be `remote-tls`.
 */
import { UsageError } from "../../errors.ts";
import {
  DEFAULT_TUNNEL_OPTIONS,
  type GivenTunnelOptions,
  optionKeys,
  optionOf,
  type Strategy,
  type TunnelOption,
  type TunnelOptions,
} from "../spec.ts";
import {
  boolean,
  delay,
  expectType,
  integer,
  object,
  oneOf,
  optional,
  ParameterError,
  type ParameterReader,
  required,
  snakeCase,
  unknownField,
} from "./parameters.ts";

/** A name of the original. */
interface OriginalOption {
  /** The field that holds it. */
  readonly field: keyof TunnelOptions;
  readonly read: ParameterReader;
}

const STRATEGIES: Readonly<Record<string, Strategy>> = {
  Random: "random",
  RoundRobin: "round-robin",
  MinimumOpenConnections: "minimum-open-connections",
};

const readStrategy: ParameterReader<Strategy | undefined> = (value, name) => {
  const word = optional(oneOf(...Object.keys(STRATEGIES)))(value, name);
  return word === undefined ? undefined : STRATEGIES[word];
};

/** The original's names in `options`. */
const OUTER: Readonly<Record<string, OriginalOption>> = {
  lb_strategy: { field: "strategy", read: readStrategy },
  remote_connect_retries: {
    field: "attempts",
    read: optional(integer(65535)),
  },
};

/** The original's names in the object `options` within, none of which it can do without. */
const INNER: Readonly<Record<string, OriginalOption>> = {
  errors_till_dead: {
    field: "errorsTillDead",
    read: integer(Number.MAX_SAFE_INTEGER),
  },
  connect_timeout: { field: "connectTimeoutMs", read: delay(false) },
  dead_retry: { field: "checkIntervalMs", read: delay(false) },
  tls: { field: "remoteTls", read: boolean },
};

type Fields = Readonly<Record<string, unknown>>;

/** Reads the options; throws a {@linkcode ParameterError}. */
export function readRpcOptions(given: Fields): GivenTunnelOptions {
  const { options: inner, ...outer } = given;
  const options = new Map<string, unknown>();
  readFields(outer, OUTER, ["options"], options);
  optional(object((fields) => {
    for (const name of Object.keys(INNER)) {
      required(
        Object.keys(fields).find((key) => snakeCase(key) === name),
        name,
      );
    }
    readFields(fields, INNER, [], options);
  }))(inner, "options");
  return Object.fromEntries(options) as GivenTunnelOptions;
}

function readFields(
  given: Fields,
  originals: Readonly<Record<string, OriginalOption>>,
  others: readonly string[],
  options: Map<string, unknown>,
): void {
  for (const [name, value] of Object.entries(given)) {
    const original = originals[snakeCase(name)];
    const option = optionOf(snakeCase(name)) ?? optionOf(name);
    const field = original?.field ?? option?.field;
    if (field === undefined) {
      throw unknownField(name, [
        ...Object.keys(originals),
        ...others,
        ...optionKeys(),
      ]);
    }
    const read = original
      ? original.read(value, name)
      : readOption(option!, value, name);
    if (read === undefined) continue;
    if (options.has(field)) {
      throw new ParameterError(
        `duplicate field \`${name}\`: the option is given twice`,
      );
    }
    options.set(field, read);
  }
}

/** The value of an option, which must have in JSON the type that it has in the table. */
function readOption(
  option: TunnelOption,
  value: unknown,
  name: string,
): unknown {
  // An option without a default is null in `status`, which can be given back.
  if (value === null && DEFAULT_TUNNEL_OPTIONS[option.field] === undefined) {
    return undefined;
  }
  if (!["string", "number", "boolean"].includes(typeof value)) {
    return expectType(value, name, option.placeholder);
  }
  let read: unknown;
  try {
    read = option.read(String(value))[option.field];
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    throw new ParameterError(
      `invalid value: ${
        JSON.stringify(value)
      } for \`${name}\`: ${error.message}`,
    );
  }
  if (typeof read !== typeof value) {
    expectType(value, name, `a ${typeof read}`);
  }
  return read;
}
