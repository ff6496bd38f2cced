/** Tests of a role run on every engine, so that none of them rots. */
import type { EngineChoice } from "../../net/engine/datagram.ts";
import { linuxEngineUnavailable } from "../../net/engine/linux/datagram/engine.ts";
import { type SkipReason, testUnless } from "./skip.ts";

/** Engines that a role can be told to use, and why one cannot be had here. */
export const ENGINES: readonly {
  engine: "portable" | "linux";
  reason: SkipReason;
}[] = [
  { engine: "portable", reason: undefined },
  { engine: "linux", reason: linuxEngineUnavailable() },
];

/**
 * What the tests of relay and tunnel ask for: the default, or what
 * MPROXY_STREAM_ENGINE says (`deno task test:portable`).
 */
export const STREAM_ENGINE: EngineChoice =
  Deno.env.get("MPROXY_STREAM_ENGINE") === "portable" ? "portable" : "auto";

/** Registers a test on every engine. */
export function testOnEngines(
  name: string,
  fn: (engine: "portable" | "linux") => Promise<void>,
  unless?: SkipReason,
): void {
  for (const { engine, reason } of ENGINES) {
    testUnless(reason ?? unless, `${name} [${engine}]`, () => fn(engine));
  }
}
