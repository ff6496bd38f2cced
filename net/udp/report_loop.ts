/** Makes a relay's loop guard, and names the loop that it finds in one line of the log. */
import { type Address, formatAddress } from "../address.ts";
import type { LogFields } from "../observe/log.ts";
import { LoopGuard } from "./loop_guard.ts";

/** A guard for what is received on an address and sent to UDP destinations. */
export function loopGuardOf(
  listener: Address,
  warn: (key: string, message: string, fields: LogFields) => void,
): LoopGuard {
  return new LoopGuard({
    onLoop: (batch, slot) => {
      const source = formatAddress(batch.source(slot));
      warn(
        `loop ${source}`,
        "forwarding loop: datagrams come back and are dropped; check the destinations of both ends",
        { listener: formatAddress(listener), source },
      );
    },
  });
}
