/** SUBSCRIBE (3.8). */
import { PacketView } from "./packet_view.ts";
import { binaryEnd, PropertyList, uint16At } from "./properties.ts";
import { PacketType, ReasonCode } from "./protocol.ts";
import { checkTopicFilter } from "./topic_bytes.ts";
import { decodeUtf8 } from "./utf8.ts";

/** A SUBSCRIBE that was checked whole. */
export class SubscribeView extends PacketView {
  /** 1 to 65535. */
  packetId = 0;
  /** The properties of MQTT 5; empty in older versions. */
  readonly properties: PropertyList = new PropertyList();
  // Where each filter's length lies, and one behind the last options.
  readonly #entries: number[] = [];

  /** The packet's type. */
  override get type(): typeof PacketType.SUBSCRIBE {
    return PacketType.SUBSCRIBE;
  }

  /** How many filters there are: 1 or more. */
  get count(): number {
    return this.#entries.length - 1;
  }

  /** The filter at `index` from 0, with `$share/NAME/` where it has it. */
  filter(index: number): string {
    const at = this.entryStart(index);
    return decodeUtf8(this.buffer, at + 2, at + 2 + uint16At(this.buffer, at));
  }

  /** The options byte of a filter; before MQTT 5 just the QoS. */
  options(index: number): number {
    return this.buffer[this.entryStart(index + 1) - 1]!;
  }

  /** The highest QoS that is asked for: 0, 1 or 2. */
  qos(index: number): 0 | 1 | 2 {
    return (this.options(index) & 3) as 0 | 1 | 2;
  }

  /** Where the filter at `index` begins with its length; `count` gives the end of all. */
  entryStart(index: number): number {
    const at = this.#entries[index];
    if (at === undefined) {
      throw new RangeError(
        `Cannot read filter ${index} of ${this.count} in a SUBSCRIBE`,
      );
    }
    return at;
  }

  protected override check(): void {
    const entries = this.#entries;
    entries.length = 0;
    const { buffer, end } = this;
    let at = this.bodyStart;
    this.packetId = this.packetIdAt(at, "MQTT-2.3.1-1", "MQTT-2.2.1-3");
    at += 2;
    if (this.version === 5) {
      at = this.properties.read(this, at, end, PacketType.SUBSCRIBE);
    } else this.properties.clear(buffer, at);
    entries.push(at);
    if (at === end) {
      this.fail(
        ReasonCode.PROTOCOL_ERROR,
        "has no topic filter",
        "MQTT-3.8.3-3",
        "MQTT-3.8.3-2",
      );
    }
    while (at < end) {
      const filterEnd = binaryEnd(this, at, end);
      const shared = checkTopicFilter(
        this,
        at + 2,
        filterEnd,
        this.version === 5,
      );
      if (filterEnd === end) this.failShort();
      this.#checkOptions(buffer[filterEnd]!, shared);
      at = filterEnd + 1;
      entries.push(at);
    }
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
