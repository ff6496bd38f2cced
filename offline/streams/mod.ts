/**
 * Stand-in for `@std/streams` where JSR cannot be reached: the functions that
 * this project uses, with the signatures of the real package.
 *
 * @module
 */
export * from "./to_bytes.ts";
export * from "./to_text.ts";
