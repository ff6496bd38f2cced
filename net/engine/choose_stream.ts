/** Which engine serves streams: the one asked for; `auto` is the linux one where it can be had. */
import { UsageError } from "../errors.ts";
import type { EngineChoice } from "./datagram.ts";
import {
  linuxStreamEngine,
  linuxStreamEngineUnavailable,
} from "./linux/stream/engine.ts";
import type { StreamEngine } from "./stream.ts";
import { linuxEngineUnavailable } from "./linux/datagram/engine.ts";
import { openLibc } from "./linux/ffi/libc.ts";
import { NativeSockets } from "./linux/native_sockets.ts";
import type { SocketControl } from "./socket_control.ts";
import { portableStreamEngine } from "./portable/stream/forwarder.ts";
import { createPolicy } from "./balancing/policies.ts";

/** Threads that an engine may have. */
export const MAX_STREAM_WORKERS = 64;

/** Options of {@linkcode chooseStreamEngine}. */
export interface ChooseStreamOptions {
  /**
   * Threads that share every listener, with the linux engine.
   * @default {1}
   */
  workers?: number | undefined;
  /** Told why the linux engine does not serve where `auto` was asked for. */
  onFallback?: ((reason: string) => void) | undefined;
}

/** The engine for streams; throws a UsageError where what was asked for cannot be had. */
export function chooseStreamEngine(
  choice: EngineChoice,
  options: ChooseStreamOptions = {},
): StreamEngine {
  const { workers = 1, onFallback } = options;
  if (
    !Number.isInteger(workers) || workers < 1 || workers > MAX_STREAM_WORKERS
  ) {
    throw new UsageError(
      `Cannot serve with ${workers} workers: 1 to ${MAX_STREAM_WORKERS} are possible`,
    );
  }
  const asked = choice !== "portable";
  const reason = asked
    ? linuxStreamEngineUnavailable()
    : "it was not asked for";
  if (reason === undefined) return linuxStreamEngine({ workers });
  if (choice === "linux") {
    throw new UsageError(`Cannot use the linux engine: ${reason}`);
  }
  if (workers > 1) {
    throw new UsageError(
      `Cannot serve with ${workers} workers: only the linux engine has several, and ${reason}`,
    );
  }
  if (asked) onFallback?.(reason);
  return portableStreamEngine(createPolicy, openSocketControl);
}

/** Reaches the sockets of Deno's connections, where libc can be called. */
export function openSocketControl():
  | (SocketControl & Disposable)
  | undefined {
  return linuxEngineUnavailable() === undefined
    ? new NativeSockets(openLibc())
    : undefined;
}
