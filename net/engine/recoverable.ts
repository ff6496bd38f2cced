/** Which failures to open a socket may pass while the process waits. */
import { errorCode, OperationError } from "../errors.ts";

/**
 * Codes that are a mistake or a conflict and not a state of the network: a port
 * in use, a missing privilege, an ability that the engine lacks.
 */
const LASTING: ReadonlySet<string> = new Set([
  "EADDRINUSE",
  "EACCES",
  "EPERM",
  "EAFNOSUPPORT",
  "EPROTONOSUPPORT",
  "ENOTSUP",
  "EINVAL",
]);

/** Whether to try again later: an interface, address, route or name that is missing. */
export function isRecoverable(error: unknown): boolean {
  if (!(error instanceof OperationError)) return false;
  for (
    let cause: unknown = error;
    cause instanceof Error;
    cause = cause.cause
  ) {
    // A permission of Deno's that was not granted.
    if (cause instanceof Deno.errors.NotCapable) return false;
  }
  const code = errorCode(error);
  return code !== undefined && !LASTING.has(code);
}
