/** CONNECT (3.1). */
import { PacketError } from "./packet_error.ts";
import { PacketView } from "./packet_view.ts";
import { PropertyId, WILL_PLACE } from "./property_id.ts";
import { binaryEnd, PropertyList, textEnd, uint16At } from "./properties.ts";
import { checkResponseTopic } from "./publish.ts";
import { hexByte, PacketType, ReasonCode } from "./protocol.ts";
import { checkTopicName } from "./topic_bytes.ts";
import { decodeUtf8 } from "./utf8.ts";

/** Most characters of a client identifier of MQTT 3.1 (3.1 there). */
const MAX_CLIENT_ID_31 = 23;

/**
 * A CONNECT that was checked whole. It tells the version: `load` takes any,
 * and `version` is then the one that the packet names.
 */
export class ConnectView extends PacketView {
  /**
   * Most characters of a client identifier of MQTT 3.1, which allows 23; many
   * brokers take longer ones.
   */
  maxClientIdChars31 = MAX_CLIENT_ID_31;

  /** The byte of connect flags lies here; the protocol level before it. */
  flagsAt = 0;
  /** First byte of the client identifier, behind its length. */
  clientIdStart = 0;
  /** One behind the client identifier. */
  clientIdEnd = 0;
  /** First byte of the will topic, behind its length; 0 without a will. */
  willTopicStart = 0;
  /** One behind the will topic. */
  willTopicEnd = 0;
  /** First byte of the will's payload, behind its length; 0 without a will. */
  willPayloadStart = 0;
  /** One behind the will's payload. */
  willPayloadEnd = 0;
  /** First byte of the username, behind its length; 0 without one. */
  usernameStart = 0;
  /** One behind the username. */
  usernameEnd = 0;
  /** First byte of the password, behind its length; 0 without one. */
  passwordStart = 0;
  /** One behind the password. */
  passwordEnd = 0;
  /** The properties of MQTT 5; empty in older versions. */
  readonly properties: PropertyList = new PropertyList();
  /** The will's properties of MQTT 5; empty in older versions and without a will. */
  readonly willProperties: PropertyList = new PropertyList();

  /** The packet's type. */
  override get type(): typeof PacketType.CONNECT {
    return PacketType.CONNECT;
  }

  /** `MQTT`, or `MQIsdp` in 3.1. */
  get protocolName(): string {
    return this.version === 3 ? "MQIsdp" : "MQTT";
  }

  /**
   * Whether bit 0x80 of the protocol level is set: how bridges of 3.1 and
   * 3.1.1 tell a broker that they are one.
   */
  get bridge(): boolean {
    return (this.buffer[this.flagsAt - 1]! & 0x80) !== 0;
  }

  /** Clean Session, called Clean Start in MQTT 5. */
  get cleanStart(): boolean {
    return (this.#flags & 0x02) !== 0;
  }

  /** In seconds; 0 turns it off. */
  get keepAliveSeconds(): number {
    return uint16At(this.buffer, this.flagsAt + 1);
  }

  /** The client identifier; empty where the broker is to assign one. */
  get clientId(): string {
    return decodeUtf8(this.buffer, this.clientIdStart, this.clientIdEnd);
  }

  /** Whether there is a will. */
  get hasWill(): boolean {
    return this.willTopicStart > 0;
  }

  /** The will's topic, or undefined without a will. */
  get willTopic(): string | undefined {
    return this.willTopicStart === 0
      ? undefined
      : decodeUtf8(this.buffer, this.willTopicStart, this.willTopicEnd);
  }

  /** The will's payload where it lies, or undefined without a will. */
  get willPayload(): Uint8Array | undefined {
    return this.willPayloadStart === 0
      ? undefined
      : this.buffer.subarray(this.willPayloadStart, this.willPayloadEnd);
  }

  /** The will's QoS: 0, 1 or 2; 0 without a will. */
  get willQos(): 0 | 1 | 2 {
    return (this.#flags >> 3 & 3) as 0 | 1 | 2;
  }

  /** Whether the broker keeps the will's message. */
  get willRetain(): boolean {
    return (this.#flags & 0x20) !== 0;
  }

  /** The username, or undefined without one. */
  get username(): string | undefined {
    return this.usernameStart === 0
      ? undefined
      : decodeUtf8(this.buffer, this.usernameStart, this.usernameEnd);
  }

  /** The password where it lies, or undefined without one. */
  get password(): Uint8Array | undefined {
    return this.passwordStart === 0
      ? undefined
      : this.buffer.subarray(this.passwordStart, this.passwordEnd);
  }

  get #flags(): number {
    return this.buffer[this.flagsAt]!;
  }

  override blank(): this {
    const view = super.blank();
    view.maxClientIdChars31 = this.maxClientIdChars31;
    return view;
  }

  protected override check(): void {
    this.willTopicStart = this.willTopicEnd = 0;
    this.willPayloadStart = this.willPayloadEnd = 0;
    this.usernameStart = this.usernameEnd = 0;
    this.passwordStart = this.passwordEnd = 0;
    this.#checkProtocol();
    this.#checkFlags();
    const { buffer, end } = this;
    let at = this.flagsAt + 3;
    if (at > end) this.failShort();
    if (this.version === 5) {
      this.#checkMinimalLength();
      at = this.properties.read(this, at, end, PacketType.CONNECT);
      checkAuthentication(this, this.properties);
    } else this.properties.clear(buffer, at);

    this.clientIdStart = at + 2;
    at = this.clientIdEnd = textEnd(this, at, end);
    this.#checkClientId();

    const flags = this.#flags;
    this.willProperties.clear(buffer, at);
    if ((flags & 0x04) !== 0) at = this.#checkWill(at);
    if ((flags & 0x80) !== 0 && !this.#endsEarly(at)) {
      this.usernameStart = at + 2;
      at = this.usernameEnd = textEnd(this, at, end);
    }
    if ((flags & 0x40) !== 0 && !this.#endsEarly(at)) {
      this.passwordStart = at + 2;
      at = this.passwordEnd = binaryEnd(this, at, end);
    }
    if (at < end) this.failLong();
  }

  /** Reads the protocol's name and level, which tell the version. */
  #checkProtocol(): void {
    const { buffer, bodyStart, end } = this;
    if (bodyStart + 2 > end) this.#failUnknown("is shorter than its fields");
    const nameBytes = uint16At(buffer, bodyStart);
    const levelAt = bodyStart + 2 + nameBytes;
    if (levelAt > end) this.#failUnknown("is shorter than its fields");
    const is31 = nameBytes === 6 && hasName(buffer, bodyStart + 2, MQISDP);
    const isMqtt = nameBytes === 4 && hasName(buffer, bodyStart + 2, MQTT);
    if (!is31 && !isMqtt) {
      this.#failUnknown("names another protocol", "MQTT-3.1.2-1");
    }
    if (levelAt === end) this.#failUnknown("is shorter than its fields");
    const level = buffer[levelAt]!;
    this.flagsAt = levelAt + 1;
    if (isMqtt && level === 5) this.version = 5;
    else if (isMqtt && (level & 0x7f) === 4) this.version = 4;
    else if (is31 && (level & 0x7f) === 3) this.version = 3;
    else {
      // Who speaks a later version reads the CONNACK of 5.0 rather than the
      // shorter one of before.
      this.version = level > 5 && level < 0x80 ? 5 : 4;
      this.fail(
        ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
        `has protocol level ${hexByte(level)}`,
        "MQTT-3.1.2-2",
      );
    }
  }

  // The framer could not know the version when it read the length.
  #checkMinimalLength(): void {
    const lengthBytes = this.bodyStart - this.start - 1;
    if (lengthBytes > 1 && this.buffer[this.bodyStart - 1] === 0) {
      this.fail(
        ReasonCode.MALFORMED_PACKET,
        "has a remaining length in more bytes than it needs",
        "MQTT-1.5.5-1",
      );
    }
  }

  #checkFlags(): void {
    if (this.flagsAt >= this.end) this.failShort();
    const flags = this.#flags;
    // MQTT 3.1 does not use this bit, and does not say that it is 0.
    if ((flags & 0x01) !== 0 && this.version !== 3) {
      this.#failFlags("has the reserved connect flag set", "MQTT-3.1.2-3");
    }
    if ((flags & 0x04) === 0) {
      if ((flags & 0x18) !== 0) {
        this.#failFlags(
          "has a will QoS without a will",
          "MQTT-3.1.2-13",
          "MQTT-3.1.2-11",
        );
      }
      if ((flags & 0x20) !== 0) {
        this.#failFlags(
          "has a will to retain without a will",
          "MQTT-3.1.2-15",
          "MQTT-3.1.2-13",
        );
      }
    } else if ((flags & 0x18) === 0x18) {
      this.#failFlags("has will QoS 3", "MQTT-3.1.2-14", "MQTT-3.1.2-12");
    }
    // 5.0 allows a password alone (3.1.2.9).
    if (this.version !== 5 && (flags & 0xc0) === 0x40) {
      this.#failFlags("has a password without a username", "MQTT-3.1.2-22");
    }
  }

  #checkClientId(): void {
    const empty = this.clientIdStart === this.clientIdEnd;
    if (this.version === 4 && empty && !this.cleanStart) {
      this.fail(
        ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
        "has no client identifier for a session that is kept",
        "MQTT-3.1.3-8",
      );
    }
    if (
      this.version === 3 &&
      (empty ||
        this.clientIdEnd - this.clientIdStart > this.maxClientIdChars31 &&
          [...this.clientId].length > this.maxClientIdChars31)
    ) {
      this.fail(
        ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
        `has a client identifier of other than 1 to ${this.maxClientIdChars31} characters`,
        "MQTT-3.1.3-5",
      );
    }
  }

  #checkWill(start: number): number {
    const { end } = this;
    let at = start;
    if (this.version === 5) {
      at = this.willProperties.read(this, at, end, WILL_PLACE);
      const topic = this.willProperties.binary(PropertyId.RESPONSE_TOPIC);
      if (topic) checkResponseTopic(this, topic);
    }
    const topicEnd = binaryEnd(this, at, end);
    if (topicEnd === at + 2) {
      this.fail(
        ReasonCode.TOPIC_NAME_INVALID,
        "has an empty will topic",
        "MQTT-4.7.3-1",
      );
    }
    checkTopicName(this, at + 2, topicEnd, "MQTT-4.7.1-1", "MQTT-4.7.0-1");
    this.willTopicStart = at + 2;
    this.willTopicEnd = topicEnd;
    this.willPayloadStart = topicEnd + 2;
    return this.willPayloadEnd = binaryEnd(this, topicEnd, end);
  }

  // MQTT 3.1 (3.1 there): the remaining length takes precedence over the flags
  // of username and password, which may be set where the field is missing.
  #endsEarly(at: number): boolean {
    return this.version === 3 && at === this.end;
  }

  /** Throws: whose version cannot be told is answered nothing. */
  #failUnknown(problem: string, clause = "MQTT-3.1.4-1"): never {
    throw new PacketError({
      problem,
      clause,
      reasonCode: ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
      version: 0,
      direction: this.direction,
      packetType: PacketType.CONNECT,
      established: false,
    });
  }

  #failFlags(problem: string, clause4: string, clause5 = clause4): never {
    return this.fail(ReasonCode.MALFORMED_PACKET, problem, clause4, clause5);
  }
}

/** Authentication data belong to a method (3.1.2.11.10). */
export function checkAuthentication(
  view: PacketView,
  properties: PropertyList,
): void {
  if (
    properties.has(PropertyId.AUTHENTICATION_DATA) &&
    !properties.has(PropertyId.AUTHENTICATION_METHOD)
  ) {
    view.fail(
      ReasonCode.PROTOCOL_ERROR,
      "has Authentication Data without an Authentication Method",
      "3.1.2.11.10",
    );
  }
}

const MQTT: readonly number[] = [0x4d, 0x51, 0x54, 0x54];
const MQISDP: readonly number[] = [0x4d, 0x51, 0x49, 0x73, 0x64, 0x70];

function hasName(
  buffer: Uint8Array,
  at: number,
  name: readonly number[],
): boolean {
  for (let i = 0; i < name.length; i++) {
    if (buffer[at + i] !== name[i]) return false;
  }
  return true;
}
