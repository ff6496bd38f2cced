/** PUBLISH (3.3). */
import { PacketView } from "./packet_view.ts";
import { PropertyId } from "./property_id.ts";
import { PropertyList, uint16At } from "./properties.ts";
import { PacketType, ReasonCode } from "./protocol.ts";
import { checkTopicName } from "./topic_bytes.ts";
import { RecentTopics } from "./recent_topics.ts";
import { isUnicodeText } from "./utf8.ts";

/** A PUBLISH that was checked whole. */
export class PublishView extends PacketView {
  /** First byte of the topic, behind its length. */
  topicStart = 0;
  /** One behind the topic; `topicStart` where an alias stands for it. */
  topicEnd = 0;
  /** 1 to 65535, or 0 with QoS 0. */
  packetId = 0;
  /** First byte of the payload, which reaches to `end`. */
  payloadStart = 0;
  /** The topic alias of MQTT 5, or 0 where there is none. */
  topicAlias = 0;
  /** The properties of MQTT 5; empty in older versions. */
  readonly properties: PropertyList = new PropertyList();
  #topic: string | undefined;
  readonly #recent = new RecentTopics();

  /** The packet's type. */
  override get type(): typeof PacketType.PUBLISH {
    return PacketType.PUBLISH;
  }

  /** 0, 1 or 2. */
  get qos(): 0 | 1 | 2 {
    return (this.buffer[this.start]! >> 1 & 3) as 0 | 1 | 2;
  }

  /** Whether this may be a repetition of an earlier attempt. */
  get dup(): boolean {
    return (this.buffer[this.start]! & 0x08) !== 0;
  }

  /** Whether the broker keeps the message, or sends a kept one. */
  get retain(): boolean {
    return (this.buffer[this.start]! & 0x01) !== 0;
  }

  /** The topic, decoded once; empty where only a topic alias tells it. */
  get topic(): string {
    if (this.#topic !== undefined) return this.#topic;
    return this.#topic = this.#recent.text(
      this.buffer,
      this.topicStart,
      this.topicEnd,
    );
  }

  /** The payload where it lies: valid as long as the memory is. */
  get payload(): Uint8Array {
    return this.buffer.subarray(this.payloadStart, this.end);
  }

  /**
   * Whether the payload is what its Payload Format Indicator says: well-formed
   * UTF-8 where that is 1 (3.3.2.3.2), anything otherwise.
   */
  payloadFitsFormat(): boolean {
    return this.properties.number(PropertyId.PAYLOAD_FORMAT_INDICATOR) !== 1 ||
      isUnicodeText(this.payload);
  }

  protected override check(): void {
    this.#topic = undefined;
    const { buffer, end } = this;
    const topicStart = this.bodyStart + 2;
    if (topicStart > end) this.failShort();
    const topicEnd = topicStart + uint16At(buffer, topicStart - 2);
    if (topicEnd > end) this.failShort();
    checkTopicName(
      this,
      topicStart,
      topicEnd,
      "MQTT-3.3.2-2",
      "MQTT-3.3.2-2",
    );
    this.topicStart = topicStart;
    let at = this.topicEnd = topicEnd;
    if ((buffer[this.start]! & 0x06) !== 0) {
      this.packetId = this.packetIdAt(
        at,
        "MQTT-2.3.1-1",
        this.upstream ? "MQTT-2.2.1-3" : "MQTT-2.2.1-4",
      );
      at += 2;
    } else this.packetId = 0;
    this.topicAlias = 0;
    if (this.version === 5) {
      at = this.properties.read(this, at, end, PacketType.PUBLISH);
      this.#checkProperties();
    } else {
      this.properties.clear(buffer, at);
      if (topicStart === topicEnd) {
        this.fail(
          ReasonCode.TOPIC_NAME_INVALID,
          "has an empty topic name",
          "MQTT-4.7.3-1",
        );
      }
    }
    this.payloadStart = at;
  }

  #checkProperties(): void {
    const { properties } = this;
    if (properties.has(PropertyId.TOPIC_ALIAS)) {
      this.topicAlias = properties.number(PropertyId.TOPIC_ALIAS)!;
    } else if (this.topicStart === this.topicEnd) {
      this.fail(
        ReasonCode.PROTOCOL_ERROR,
        "has neither topic name nor topic alias",
        "3.3.2.1",
      );
    }
    if (
      this.upstream && properties.has(PropertyId.SUBSCRIPTION_IDENTIFIER)
    ) {
      this.fail(
        ReasonCode.PROTOCOL_ERROR,
        "of a client has a Subscription Identifier",
        "MQTT-3.3.4-6",
      );
    }
    if (properties.has(PropertyId.RESPONSE_TOPIC)) {
      const topic = properties.binary(PropertyId.RESPONSE_TOPIC)!;
      checkResponseTopic(this, topic);
    }
  }
}

/** Checks a Response Topic (3.3.2.3.5), whose UTF-8 was checked already. */
export function checkResponseTopic(view: PacketView, topic: Uint8Array): void {
  if (topic.length === 0) {
    view.fail(
      ReasonCode.PROTOCOL_ERROR,
      "has an empty Response Topic",
      "MQTT-4.7.3-1",
    );
  }
  if (topic.includes(0x23) || topic.includes(0x2b)) {
    view.fail(
      ReasonCode.PROTOCOL_ERROR,
      "has a wildcard in its Response Topic",
      "MQTT-3.3.2-14",
    );
  }
}
