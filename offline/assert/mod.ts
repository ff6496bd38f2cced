/**
 * Stand-in for `@std/assert` where JSR cannot be reached: the functions that
 * this project uses, with the signatures of the real package.
 *
 * @module
 */
import nodeAssert from "node:assert";

/** Thrown by every assertion that fails. */
export class AssertionError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "AssertionError";
  }
}

function raise(message: string | undefined, fallback: string): never {
  throw new AssertionError(message ? `${fallback}: ${message}` : fallback);
}

/** Fails where `expr` is falsy. */
export function assert(expr: unknown, msg = ""): asserts expr {
  if (!expr) throw new AssertionError(msg || "Expected a truthy value");
}

/** Fails where the two are not deeply equal. */
export function assertEquals<T>(actual: T, expected: T, msg?: string): void {
  try {
    nodeAssert.deepStrictEqual(actual, expected);
  } catch (error) {
    raise(msg, (error as Error).message);
  }
}

/** Fails where the two are deeply equal. */
export function assertNotEquals<T>(actual: T, expected: T, msg?: string): void {
  try {
    nodeAssert.notDeepStrictEqual(actual, expected);
  } catch (error) {
    raise(msg, (error as Error).message);
  }
}

/** Fails where the two are not the same by `Object.is`. */
export function assertStrictEquals<T>(
  actual: unknown,
  expected: T,
  msg?: string,
): asserts actual is T {
  if (!Object.is(actual, expected)) {
    raise(
      msg,
      `Expected ${Deno.inspect(expected)}, got ${Deno.inspect(actual)}`,
    );
  }
}

/** Fails where `actual` is null or undefined. */
export function assertExists<T>(
  actual: T,
  msg?: string,
): asserts actual is NonNullable<T> {
  if (actual === undefined || actual === null) {
    raise(msg, `Expected a value, got ${actual}`);
  }
}

/** Fails where `actual` does not contain `expected`. */
export function assertStringIncludes(
  actual: string,
  expected: string,
  msg?: string,
): void {
  if (!actual.includes(expected)) {
    raise(
      msg,
      `Expected ${Deno.inspect(actual)} to contain ${Deno.inspect(expected)}`,
    );
  }
}

/** Fails where `actual` does not match `expected`. */
export function assertMatch(
  actual: string,
  expected: RegExp,
  msg?: string,
): void {
  if (!expected.test(actual)) {
    raise(msg, `Expected ${Deno.inspect(actual)} to match ${expected}`);
  }
}

/** Fails where `actual` is not above `expected`. */
export function assertGreater<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual > expected)) raise(msg, `Expected ${actual} > ${expected}`);
}

/** Fails where `actual` is below `expected`. */
export function assertGreaterOrEqual<T>(
  actual: T,
  expected: T,
  msg?: string,
): void {
  if (!(actual >= expected)) raise(msg, `Expected ${actual} >= ${expected}`);
}

/** Fails where `actual` is not below `expected`. */
export function assertLess<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual < expected)) raise(msg, `Expected ${actual} < ${expected}`);
}

/** Fails where `actual` is above `expected`. */
export function assertLessOrEqual<T>(
  actual: T,
  expected: T,
  msg?: string,
): void {
  if (!(actual <= expected)) raise(msg, `Expected ${actual} <= ${expected}`);
}

/** Fails always. */
export function fail(msg?: string): never {
  throw new AssertionError(`Failed assertion${msg ? `: ${msg}` : "."}`);
}

// deno-lint-ignore no-explicit-any
type ErrorClass<E extends Error> = abstract new (...args: any[]) => E;

/** Fails where `error` is not of the class or lacks the text. */
export function assertIsError<E extends Error = Error>(
  error: unknown,
  // deno-lint-ignore no-explicit-any
  ErrorClass?: abstract new (...args: any[]) => E,
  msgMatches?: string | RegExp,
  msg?: string,
): asserts error is E {
  if (!(error instanceof Error)) {
    raise(msg, `Expected an Error, got ${Deno.inspect(error)}`);
  }
  if (ErrorClass && !(error instanceof ErrorClass)) {
    raise(
      msg,
      `Expected ${ErrorClass.name}, got ${error.name}: ${error.message}`,
    );
  }
  if (typeof msgMatches === "string") {
    assertStringIncludes(error.message, msgMatches, msg);
  } else if (msgMatches) {
    assertMatch(error.message, msgMatches, msg);
  }
}

/** Fails where `fn` does not throw; returns what it threw. */
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  ErrorClass?: ErrorClass<E>,
  msgIncludes = "",
  msg?: string,
): E {
  try {
    fn();
  } catch (error) {
    assertIsError(error, ErrorClass, msgIncludes, msg);
    return error;
  }
  raise(msg, "Expected function to throw");
}

/**
 * Fails where the promise of `fn` does not reject, and where `fn` itself
 * throws; resolves to the error.
 */
export async function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  ErrorClass?: ErrorClass<E>,
  msgIncludes = "",
  msg?: string,
): Promise<E> {
  let promise: PromiseLike<unknown> | undefined;
  try {
    promise = fn();
  } catch {
    raise(msg, "Function throws when expected to reject");
  }
  if (typeof promise?.then !== "function") {
    raise(msg, "Function throws when expected to reject");
  }
  try {
    await promise;
  } catch (error) {
    assertIsError(error, ErrorClass, msgIncludes, msg);
    return error;
  }
  raise(msg, "Expected function to reject");
}
