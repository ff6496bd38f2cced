/** UNSUBSCRIBE (3.10). */
import { FiltersView } from "./filters_view.ts";
import { PacketType } from "./protocol.ts";

/** An UNSUBSCRIBE that was checked whole. */
export class UnsubscribeView extends FiltersView {
  /** The packet's type. */
  override get type(): typeof PacketType.UNSUBSCRIBE {
    return PacketType.UNSUBSCRIBE;
  }

  protected override get emptyClauses(): readonly [string, string] {
    return ["MQTT-3.10.3-2", "MQTT-3.10.3-2"];
  }

  /** Nothing stands behind a filter. */
  protected override checkEntry(filterEnd: number): number {
    return filterEnd;
  }
}
