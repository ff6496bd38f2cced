/** Which engine serves streams: the one asked for, or the best that works here. */
import { UsageError } from "../errors.ts";
import type { EngineChoice } from "../engine/engine.ts";
import { linuxEngineUnavailable } from "../engine/linux/engine.ts";
import { linuxStreamEngine } from "../engine/linux/stream/engine.ts";
import type { StreamEngine } from "../engine/stream.ts";
import { portableStreamEngine } from "./forward.ts";
import { createPolicy } from "./policy.ts";

/** The engine for streams; throws a UsageError where the one asked for cannot be had. */
export function chooseStreamEngine(choice: EngineChoice): StreamEngine {
  if (choice === "linux") {
    const reason = linuxEngineUnavailable();
    if (reason === undefined) return linuxStreamEngine();
    throw new UsageError(`Cannot use the linux engine: ${reason}`);
  }
  return portableStreamEngine(createPolicy);
}
