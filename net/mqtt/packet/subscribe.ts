/** SUBSCRIBE (3.8). */
import { FiltersView } from "./filters_view.ts";
import { PacketType, ReasonCode } from "./protocol.ts";

/** A SUBSCRIBE that was checked whole. */
export class SubscribeView extends FiltersView {
  /** The packet's type. */
  override get type(): typeof PacketType.SUBSCRIBE {
    return PacketType.SUBSCRIBE;
  }

  /** The options byte of a filter; before MQTT 5 just the QoS. */
  options(index: number): number {
    return this.buffer[this.entryStart(index + 1) - 1]!;
  }

  /** The highest QoS that is asked for: 0, 1 or 2. */
  qos(index: number): 0 | 1 | 2 {
    return (this.options(index) & 3) as 0 | 1 | 2;
  }

  protected override get emptyClauses(): readonly [string, string] {
    return ["MQTT-3.8.3-3", "MQTT-3.8.3-2"];
  }

  /** An options byte stands behind each filter. */
  protected override checkEntry(filterEnd: number, shared: boolean): number {
    if (filterEnd === this.end) this.failShort();
    this.#checkOptions(this.buffer[filterEnd]!, shared);
    return filterEnd + 1;
  }

  #checkOptions(options: number, shared: boolean): void {
    if ((options & 3) === 3) {
      this.fail(
        ReasonCode.PROTOCOL_ERROR,
        "asks for QoS 3",
        "MQTT-3.8.3-4",
        "3.8.3.1",
      );
    }
    if (this.version !== 5) {
      if (options > 2) this.#failReserved();
      return;
    }
    if ((options & 0xc0) !== 0) this.#failReserved();
    if ((options & 0x30) === 0x30) {
      this.fail(
        ReasonCode.PROTOCOL_ERROR,
        "has Retain Handling 3",
        "3.8.3.1",
      );
    }
    if (shared && (options & 0x04) !== 0) {
      this.fail(
        ReasonCode.PROTOCOL_ERROR,
        "has No Local on a shared topic filter",
        "MQTT-3.8.3-4",
      );
    }
  }

  #failReserved(): never {
    return this.fail(
      ReasonCode.MALFORMED_PACKET,
      "has reserved bits set behind a topic filter",
      "MQTT-3.8.3-4",
      "MQTT-3.8.3-5",
    );
  }
}
