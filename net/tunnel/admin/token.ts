/**
 * Who may drive a control door: anybody on this machine's loopback, and
 * elsewhere only who knows a token.
 */
import { timingSafeEqual } from "node:crypto";
import { type Address, formatAddress, isLoopback } from "../../address.ts";
import { UsageError } from "../../errors.ts";
import { readTextFile } from "../../text_file.ts";

/** Shorter tokens can be guessed. */
const SHORTEST_TOKEN = 16;

/** Reads a token: the first line of a file. Throws a UsageError. */
export function readToken(file: string): string {
  const token = readTextFile(file).split("\n", 1)[0]!.trim();
  if (token.length >= SHORTEST_TOKEN) return token;
  throw new UsageError(
    `Cannot use "${file}" as a token: its first line has ${token.length} characters, but at least ${SHORTEST_TOKEN} are wanted`,
  );
}

/** Throws a UsageError where a door would be open to others without a token. */
export function checkExposure(
  address: Address,
  token: string | undefined,
): void {
  if (token !== undefined || isLoopback(address.hostname)) return;
  throw new UsageError(
    `Cannot open a control server on ${
      formatAddress(address)
    } without a token: pass \`controlToken\` or use a loopback address`,
    { option: "controlToken" },
  );
}

/** Whether a given token is the right one, in a time that does not tell how much of it is. */
export function isToken(given: string, token: string): boolean {
  const encoder = new TextEncoder();
  const [a, b] = [encoder.encode(given), encoder.encode(token)];
  return a.length === b.length && timingSafeEqual(a, b);
}
