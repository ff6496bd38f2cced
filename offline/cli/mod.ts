/**
 * Stand-in for `@std/cli` where JSR cannot be reached: the one function that
 * this project uses, with the signature and the rules of the real package.
 *
 * @module
 */
export * from "./parse_args.ts";
