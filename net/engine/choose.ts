/** Which engine serves: the one asked for, or the best that works here. */
import { UsageError } from "../errors.ts";
import type { DatagramEngine, EngineChoice } from "./engine.ts";
import {
  denoDatagramEngine,
  hasDenoDatagram,
} from "./portable/deno_datagram.ts";

/** Options of {@linkcode chooseDatagramEngine}. */
export interface ChooseEngineOptions {
  /** Called once where a lesser engine serves than could. */
  onWarning?: ((message: string) => void) | undefined;
}

/** The engine for datagrams; throws a UsageError where the one asked for cannot be had. */
export async function chooseDatagramEngine(
  choice: EngineChoice,
  options: ChooseEngineOptions = {},
): Promise<DatagramEngine> {
  if (choice === "linux") {
    throw new UsageError("Cannot use the linux engine: this build has none");
  }
  if (hasDenoDatagram()) return denoDatagramEngine;
  options.onWarning?.(
    "Deno.listenDatagram is not there, so node:dgram serves, at an eighth of the rate:" +
      " run with --unstable-net",
  );
  const { nodeDatagramEngine } = await import("./portable/node_datagram.ts");
  return nodeDatagramEngine;
}
