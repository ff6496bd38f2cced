/** Tests of a role run on every engine, so that none of them rots. */
import { linuxEngineUnavailable } from "../../net/engine/linux/engine.ts";
import { type SkipReason, testUnless } from "./skip.ts";

/** Engines that a role can be told to use, and why one cannot be had here. */
export const ENGINES: readonly {
  engine: "portable" | "linux";
  reason: SkipReason;
}[] = [
  { engine: "portable", reason: undefined },
  { engine: "linux", reason: linuxEngineUnavailable() },
];

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
