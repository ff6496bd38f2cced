/** AUTH (3.15), which came with MQTT 5. */
import { PacketView } from "./packet_view.ts";
import { PropertyId } from "./property_id.ts";
import { PropertyList } from "./properties.ts";
import { hexByte, PacketType, ReasonCode } from "./protocol.ts";
import { isReasonOf } from "./reasons.ts";

/** An AUTH that was checked whole. */
export class AuthView extends PacketView {
  /** 0x00 success, 0x18 continue, 0x19 authenticate again. */
  reasonCode = 0;
  /** The properties; empty where they are left out. */
  readonly properties: PropertyList = new PropertyList();

  /** The packet's type. */
  override get type(): typeof PacketType.AUTH {
    return PacketType.AUTH;
  }

  protected override check(): void {
    const { buffer, end } = this;
    let at = this.bodyStart;
    // 3.15.2.1: success without properties may be left out, both together.
    const code = this.reasonCode = at < end ? buffer[at++]! : 0;
    if (!isReasonOf(PacketType.AUTH, code, this.upstream)) {
      this.fail(
        ReasonCode.PROTOCOL_ERROR,
        `has reason code ${hexByte(code)}`,
        "MQTT-3.15.2-1",
      );
    }
    if (this.bodyStart === end) {
      this.properties.clear(buffer, at);
      return;
    }
    at = this.properties.read(this, at, end, PacketType.AUTH);
    if (at < end) this.failLong();
    if (!this.properties.has(PropertyId.AUTHENTICATION_METHOD)) {
      this.fail(
        ReasonCode.PROTOCOL_ERROR,
        "has no Authentication Method",
        "3.15.2.2.2",
      );
    }
  }
}
