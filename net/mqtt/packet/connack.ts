/** CONNACK (3.2). */
import { checkAuthentication } from "./connect.ts";
import { PacketView } from "./packet_view.ts";
import { PropertyList } from "./properties.ts";
import { hexByte, PacketType, ReasonCode } from "./protocol.ts";
import { isReasonOf } from "./reasons.ts";

/** A CONNACK that was checked whole. */
export class ConnackView extends PacketView {
  /** The properties of MQTT 5; empty in older versions. */
  readonly properties: PropertyList = new PropertyList();

  /** The packet's type. */
  override get type(): typeof PacketType.CONNACK {
    return PacketType.CONNACK;
  }

  /** Whether the broker goes on with a session that it kept. */
  get sessionPresent(): boolean {
    return this.buffer[this.bodyStart] === 1;
  }

  /** The byte as it stands: a return code before MQTT 5, a reason code in it. */
  get reasonCode(): number {
    return this.buffer[this.bodyStart + 1]!;
  }

  /** Whether the broker took the client. */
  get accepted(): boolean {
    return this.reasonCode === 0;
  }

  protected override check(): void {
    const { buffer, bodyStart, end } = this;
    if (bodyStart + 2 > end) this.failShort();
    if (buffer[bodyStart]! > 1) {
      this.fail(
        ReasonCode.MALFORMED_PACKET,
        "has reserved flags set",
        "3.2.2.1",
        "MQTT-3.2.2-1",
      );
    }
    const code = buffer[bodyStart + 1]!;
    const known = this.version === 5
      ? isReasonOf(PacketType.CONNACK, code, false)
      : code <= 5;
    if (!known) {
      this.fail(
        ReasonCode.PROTOCOL_ERROR,
        `has code ${hexByte(code)}`,
        "3.2.2.3",
        "MQTT-3.2.2-8",
      );
    }
    if (code !== 0 && buffer[bodyStart] === 1) {
      this.fail(
        ReasonCode.PROTOCOL_ERROR,
        "refuses and has a session present",
        "MQTT-3.2.2-4",
        "MQTT-3.2.2-6",
      );
    }
    let at = bodyStart + 2;
    if (this.version === 5) {
      at = this.properties.read(this, at, end, PacketType.CONNACK);
      checkAuthentication(this, this.properties);
    } else this.properties.clear(buffer, at);
    if (at < end) this.failLong();
  }
}
