/** SUBACK and UNSUBACK (3.9, 3.11). */
import { PacketView } from "./packet_view.ts";
import { PropertyList } from "./properties.ts";
import { hexByte, PacketType, ReasonCode } from "./protocol.ts";
import { isReasonOf } from "./reasons.ts";

/** A SUBACK or UNSUBACK that was checked whole. */
export class SubackView extends PacketView {
  /** 1 to 65535. */
  packetId = 0;
  /**
   * The first code, one byte for each filter up to `end`. The UNSUBACK of
   * older versions than MQTT 5 has none.
   */
  codesStart = 0;
  /** The properties of MQTT 5; empty in older versions. */
  readonly properties: PropertyList = new PropertyList();

  /** The packet's type. */
  override get type(): 9 | 11 {
    return (this.buffer[this.start]! >> 4) as 9 | 11;
  }

  /** How many codes there are. */
  get count(): number {
    return this.end - this.codesStart;
  }

  /** The code for the filter at `index`: granted QoS, 0x80 or a reason code. */
  code(index: number): number {
    if (index < 0 || index >= this.count) {
      throw new RangeError(`Cannot read code ${index} of ${this.count}`);
    }
    return this.buffer[this.codesStart + index]!;
  }

  /** All codes where they lie. */
  get codes(): Uint8Array {
    return this.buffer.subarray(this.codesStart, this.end);
  }

  protected override check(): void {
    const { buffer, bodyStart, end } = this;
    this.packetId = this.packetIdAt(bodyStart, "MQTT-2.3.1-7", "MQTT-2.2.1-6");
    let at = bodyStart + 2;
    const { type } = this;
    if (this.version === 5) {
      at = this.properties.read(this, at, end, type);
    } else this.properties.clear(buffer, at);
    this.codesStart = at;
    if (type === PacketType.UNSUBACK && this.version !== 5) {
      if (at < end) this.failLong();
      return;
    }
    if (at === end) this.failShort();
    for (; at < end; at++) this.#checkCode(type, buffer[at]!);
  }

  #checkCode(type: number, code: number): void {
    const known = this.version === 5
      ? isReasonOf(type, code, false)
      : code <= 2 || code === 0x80 && this.version === 4;
    if (known) return;
    this.fail(
      ReasonCode.PROTOCOL_ERROR,
      `has code ${hexByte(code)}`,
      "MQTT-3.9.3-2",
      type === PacketType.SUBACK ? "MQTT-3.9.3-2" : "MQTT-3.11.3-2",
    );
  }
}
