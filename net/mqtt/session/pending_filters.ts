/**
 * SUBSCRIBEs and UNSUBSCRIBEs that wait for the broker's answer, with the codes
 * that the gateway has already decided. Pure.
 */
import type { FilterDraft } from "../hooks/filter_request.ts";

/** What a SUBSCRIBE or UNSUBSCRIBE waits for. */
export interface PendingFilters {
  /** As the client wrote them. */
  readonly filters: readonly string[];
  /** For each filter the gateway's code, or undefined where the broker gives one. */
  readonly codes: readonly (number | undefined)[];
  /** Whether anything of it was decided here. */
  readonly isPartial: boolean;
}

/** Most answers that a session may wait for: one for each packet identifier. */
const MAX_PENDING = 65535;

/** Those of a session, by packet identifier. */
export class PendingTable {
  // MQTT 3.1 allows a client to repeat a SUBSCRIBE, so one identifier may be
  // answered more than once; brokers answer in order.
  #byId: Map<number, PendingFilters[]> | undefined;
  #count = 0;

  /** Notes that a packet went on. False where too many are waiting. */
  add(packetId: number, pending: PendingFilters): boolean {
    if (this.#count >= MAX_PENDING) return false;
    const byId = this.#byId ??= new Map();
    const waiting = byId.get(packetId);
    if (waiting) waiting.push(pending);
    else byId.set(packetId, [pending]);
    this.#count++;
    return true;
  }

  /** What the broker's answer belongs to. */
  take(packetId: number): PendingFilters | undefined {
    const waiting = this.#byId?.get(packetId);
    const pending = waiting?.shift();
    if (pending) this.#count--;
    if (waiting?.length === 0) this.#byId!.delete(packetId);
    return pending;
  }
}

/** What the gateway decided of a packet's filters. */
export function pendingOf(
  draft: FilterDraft,
  codeOf: (index: number) => number,
): PendingFilters {
  const codes = draft.verdicts.map(({ denial }, index) =>
    denial ? codeOf(index) : undefined
  );
  return {
    filters: draft.verdicts.map(({ written }) => written),
    codes,
    isPartial: codes.some((code) => code !== undefined),
  };
}

/**
 * The codes of all filters in their order [MQTT-3.9.3-1]: the gateway's own,
 * and between them the broker's. Undefined where the broker gave another
 * number than it was asked for.
 */
export function spliceCodes(
  pending: PendingFilters,
  brokerCodes: Uint8Array,
): number[] | undefined {
  let next = 0;
  const codes = pending.codes.map((code) => code ?? brokerCodes[next++] ?? -1);
  return next === brokerCodes.length ? codes : undefined;
}
