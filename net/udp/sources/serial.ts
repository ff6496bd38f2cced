/** Serial ports: what a sensor sends comes byte for byte, and nothing is echoed to it. */
import { errorText, OperationError, UsageError } from "../../errors.ts";
import { BAUD_RATES, setRawMode } from "../../engine/linux/ffi/termios.ts";

/** Throws a UsageError where a speed is none of a serial port. */
export function checkBaud(baud: number | undefined): void {
  if (baud === undefined || BAUD_RATES.includes(baud)) return;
  throw new UsageError(
    `cannot use baud ${baud}: expected one of ${BAUD_RATES.join(", ")}`,
  );
}

/**
 * Sets a terminal device to raw mode: by termios(3) where FFI is permitted on
 * Linux, else by stty(1). Throws an OperationError.
 */
export async function openRaw(
  path: string,
  baud: number | undefined,
): Promise<void> {
  if (Deno.build.os === "linux" && hasFfi()) setRawMode(path, baud);
  else await runStty(path, baud);
}

function hasFfi(): boolean {
  return Deno.permissions.querySync({ name: "ffi" }).state === "granted";
}

async function runStty(path: string, baud: number | undefined): Promise<void> {
  const args = [
    Deno.build.os === "linux" ? "-F" : "-f",
    path,
    ...["raw", "-echo", "clocal"],
    ...baud === undefined ? [] : [`${baud}`],
  ];
  let error: string;
  try {
    const { success, stderr } = await new Deno.Command("stty", { args })
      .output();
    if (success) return;
    error = new TextDecoder().decode(stderr).trim();
  } catch (cause) {
    error = errorText(cause);
  }
  throw new OperationError(
    `cannot set up "${path}": ${error}; requires FFI or the program stty`,
  );
}
