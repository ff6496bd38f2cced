/** DISCONNECT (3.14). */
import { PacketView } from "./packet_view.ts";
import { PropertyId } from "./property_id.ts";
import { PropertyList } from "./properties.ts";
import { hexByte, PacketType, ReasonCode } from "./protocol.ts";
import { isReasonOf } from "./reasons.ts";

/** A DISCONNECT that was checked whole. */
export class DisconnectView extends PacketView {
  /** The reason code of MQTT 5; 0 where it is left out and in older versions. */
  reasonCode = 0;
  /** The properties of MQTT 5; empty where they are left out and in older versions. */
  readonly properties: PropertyList = new PropertyList();

  /** The packet's type. */
  override get type(): typeof PacketType.DISCONNECT {
    return PacketType.DISCONNECT;
  }

  protected override check(): void {
    const { buffer, end } = this;
    let at = this.bodyStart;
    this.reasonCode = 0;
    this.properties.clear(buffer, at);
    // 3.14.2.1: the code and the properties may be left out.
    if (this.version === 5 && at < end) {
      const code = this.reasonCode = buffer[at++]!;
      if (!isReasonOf(PacketType.DISCONNECT, code, this.upstream)) {
        this.fail(
          ReasonCode.PROTOCOL_ERROR,
          `has reason code ${hexByte(code)}`,
          "MQTT-3.14.2-1",
        );
      }
      if (at < end) {
        at = this.properties.read(this, at, end, PacketType.DISCONNECT);
      } else this.properties.clear(buffer, at);
      if (
        !this.upstream &&
        this.properties.has(PropertyId.SESSION_EXPIRY_INTERVAL)
      ) {
        this.fail(
          ReasonCode.PROTOCOL_ERROR,
          "of a server has a Session Expiry Interval",
          "MQTT-3.14.2-2",
        );
      }
    }
    if (at < end) this.failLong();
  }
}
