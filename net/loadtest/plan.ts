/**
 * What a load test runs: scenarios, with the defaults and the file format of
 * Monkey D. TCP's `load_test.toml`. Pure.
 */
import { type Address, parseAddress } from "../address.ts";
import { UsageError } from "../errors.ts";

/** One run of a load test. */
export interface LoadScenario {
  /** Name in the table; empty where there is only one scenario. */
  readonly name: string;
  /** Connections, each with one request under way at a time. */
  readonly connections: number;
  /** How long it is measured. */
  readonly durationMs: number;
  /** Bytes of a request, and of its answer. */
  readonly messageBytes: number;
}

/** The target of the original without any file. */
export const DEFAULT_LOAD_TARGET: Address = {
  hostname: "127.0.0.1",
  port: 8080,
};

/** The original without any file: 10 connections, 30 s, 1 KiB. */
export const DEFAULT_SCENARIO: LoadScenario = {
  name: "",
  connections: 10,
  durationMs: 30_000,
  messageBytes: 1024,
};

/** The file that the original ships: name, connections, bytes; 5 s each. */
export const SHIPPED_MATRIX: readonly LoadScenario[] = [
  scenario("baseline", 10, 1024),
  scenario("small-packets", 10, 64),
  scenario("large-packets", 10, 8192),
  scenario("medium-load", 50, 1024),
  scenario("heavy-load", 100, 1024),
  scenario("stress-test", 500, 1024),
  scenario("big-data", 10, 65536),
];

function scenario(
  name: string,
  connections: number,
  messageBytes: number,
): LoadScenario {
  return { name, connections, durationMs: 5000, messageBytes };
}

/** Most connections of a scenario. */
export const MAX_LOAD_CONNECTIONS = 100_000;
/** Most bytes of a message. */
export const MAX_MESSAGE_BYTES: number = 1 << 30;

const KEYS = ["name", "connections", "duration_secs", "message_size"];

/** Reads a `[[scenarios]]` table; throws a UsageError that names the key. */
export function readScenario(
  table: Readonly<Record<string, unknown>>,
): LoadScenario {
  for (const key of Object.keys(table)) {
    if (!KEYS.includes(key)) {
      throw new UsageError(
        `Cannot use the scenario: the key "${key}" is none of ${
          KEYS.join(", ")
        }`,
      );
    }
  }
  const { name } = table;
  if (typeof name !== "string" || name === "") {
    throw new UsageError('Cannot use the scenario: "name" is missing');
  }
  const number = (key: string, fallback: number, most: number): number => {
    const value = table[key] ?? fallback;
    const least = key === "duration_secs" ? 0.001 : 1;
    const fits = typeof value === "number" && value >= least && value <= most &&
      (key === "duration_secs" || Number.isInteger(value));
    if (fits) return value;
    throw new UsageError(
      `Cannot use the scenario "${name}": "${key}" must be a number from ${least} to ${most}, but is ${
        JSON.stringify(value)
      }`,
    );
  };
  return {
    name,
    connections: number("connections", 10, MAX_LOAD_CONNECTIONS),
    durationMs: number("duration_secs", 10, 86_400) * 1000,
    messageBytes: number("message_size", 1024, MAX_MESSAGE_BYTES),
  };
}

/** Reads a target, as `host:port` or a bare port of this machine. */
export function readLoadTarget(text: string): Address {
  return parseAddress(text, { defaultHostname: "127.0.0.1" });
}
