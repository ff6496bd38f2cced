/** PUBACK, PUBREC, PUBREL and PUBCOMP (3.4 to 3.7), which have one form. */
import { PacketView } from "./packet_view.ts";
import { PropertyList } from "./properties.ts";
import { hexByte, PacketType, ReasonCode } from "./protocol.ts";
import { isReasonOf } from "./reasons.ts";

/** A PUBACK, PUBREC, PUBREL or PUBCOMP that was checked whole. */
export class AckView extends PacketView {
  /** 1 to 65535. */
  packetId = 0;
  /** The reason code of MQTT 5; 0 where it is left out and in older versions. */
  reasonCode = 0;
  /** The properties of MQTT 5; empty where they are left out and in older versions. */
  readonly properties: PropertyList = new PropertyList();

  /** The packet's type. */
  override get type(): 4 | 5 | 6 | 7 {
    return (this.buffer[this.start]! >> 4) as 4 | 5 | 6 | 7;
  }

  protected override check(): void {
    const { buffer, bodyStart, end } = this;
    this.packetId = this.packetIdAt(bodyStart, "MQTT-2.3.1-6", "MQTT-2.2.1-5");
    let at = bodyStart + 2;
    this.reasonCode = 0;
    this.properties.clear(buffer, at);
    // 3.4.2.1 to 3.7.2.1: the code and the properties may be left out.
    if (this.version === 5 && at < end) {
      const code = this.reasonCode = buffer[at++]!;
      const { type } = this;
      if (!isReasonOf(type, code, this.upstream)) {
        this.fail(
          ReasonCode.PROTOCOL_ERROR,
          `has reason code ${hexByte(code)}`,
          REASON_CLAUSES[type - PacketType.PUBACK]!,
        );
      }
      if (at < end) at = this.properties.read(this, at, end, type);
      else this.properties.clear(buffer, at);
    }
    if (at < end) this.failLong();
  }
}

const REASON_CLAUSES: readonly string[] = [
  "MQTT-3.4.2-1",
  "MQTT-3.5.2-1",
  "MQTT-3.6.2-1",
  "MQTT-3.7.2-1",
];
