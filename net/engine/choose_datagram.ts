/** Which engine serves: the one asked for, or the best that works here. */
import { UsageError } from "../errors.ts";
import type { DatagramEngine, EngineChoice } from "./datagram.ts";
import {
  createLinuxEngine,
  linuxEngineUnavailable,
} from "./linux/datagram/engine.ts";
import {
  denoDatagramEngine,
  hasDenoDatagram,
} from "./portable/datagram/deno.ts";
import { nodeDatagramEngine } from "./portable/datagram/node.ts";

/** Options of {@linkcode chooseDatagramEngine}. */
export interface ChooseEngineOptions {
  /** Whether waits may block the thread: only in a Worker of its own. @default {false} */
  blocking?: boolean;
  /** Called once where a lesser engine serves than could. */
  onWarning?: ((message: string) => void) | undefined;
}

/** The engine for datagrams; throws a UsageError where the one asked for cannot be had. */
export function chooseDatagramEngine(
  choice: EngineChoice,
  options: ChooseEngineOptions = {},
): DatagramEngine {
  const { blocking = false, onWarning } = options;
  if (choice !== "portable") {
    const reason = linuxEngineUnavailable();
    if (reason === undefined) return createLinuxEngine({ blocking });
    if (choice === "linux") {
      throw new UsageError(`Cannot use the linux engine: ${reason}`);
    }
  }
  if (hasDenoDatagram()) return denoDatagramEngine;
  onWarning?.(
    "Deno.listenDatagram is not there, so node:dgram serves, at an eighth of its rate:" +
      " run with --unstable-net",
  );
  return nodeDatagramEngine;
}
