/**
 * Messages as hooks see them: what a packet says, with what hooks changed on
 * top. Used again for the next packet.
 */
import type {
  MessageChange,
  MessageRequest,
  Qos,
  UserProperty,
  WillChange,
} from "../hooks/hooks.ts";
import {
  type ConnectView,
  type PropertyEdit,
  PropertyId,
  type PropertyList,
  type ProtocolVersion,
  type PublishEdit,
  type PublishView,
  type WillEdit,
} from "../packet/mod.ts";
import { isTopicName } from "../topic.ts";

const encoder = new TextEncoder();

/** What PUBLISH and will have in common for hooks. */
abstract class Message implements MessageRequest {
  /** Whether a hook changed anything. */
  changed = false;
  protected newTopic: string | undefined;
  protected newPayload: Uint8Array | undefined;
  protected newQos: Qos | undefined;
  protected newRetain: boolean | undefined;
  #newUserProperties: readonly UserProperty[] | undefined;
  #newResponseTopic: string | null | undefined;

  abstract readonly originalTopic: string;
  abstract readonly originalPayload: Uint8Array;
  abstract readonly originalQos: Qos;
  abstract readonly originalRetain: boolean;
  abstract readonly dup: boolean;
  abstract readonly packetId: number;
  abstract readonly isWill: boolean;
  protected abstract readonly version: ProtocolVersion;
  protected abstract readonly properties: PropertyList;

  get topic(): string {
    return this.newTopic ?? this.originalTopic;
  }

  get payload(): Uint8Array {
    return this.newPayload ?? this.originalPayload;
  }

  get qos(): Qos {
    return this.newQos ?? this.originalQos;
  }

  get retain(): boolean {
    return this.newRetain ?? this.originalRetain;
  }

  get userProperties(): readonly UserProperty[] {
    return this.#newUserProperties ?? this.properties.userProperties();
  }

  get responseTopic(): string | undefined {
    return this.#newResponseTopic === undefined
      ? this.properties.text(PropertyId.RESPONSE_TOPIC)
      : this.#newResponseTopic ?? undefined;
  }

  get correlationData(): Uint8Array | undefined {
    return this.properties.binary(PropertyId.CORRELATION_DATA);
  }

  get contentType(): string | undefined {
    return this.properties.text(PropertyId.CONTENT_TYPE);
  }

  get messageExpirySeconds(): number | undefined {
    return this.properties.number(PropertyId.MESSAGE_EXPIRY_INTERVAL);
  }

  get payloadIsUtf8(): boolean {
    return this.properties.number(PropertyId.PAYLOAD_FORMAT_INDICATOR) === 1;
  }

  /** Puts a hook's change on top; throws a TypeError where it cannot be done. */
  apply(change: MessageChange): void {
    const { topic, payload, qos, retain, userProperties, responseTopic } =
      change;
    if (topic !== undefined) {
      checkTopic(topic);
      this.newTopic = topic;
    }
    if (payload !== undefined) {
      this.newPayload = typeof payload === "string"
        ? encoder.encode(payload)
        : payload;
    }
    if (qos !== undefined) {
      if (!(qos >= 0 && qos <= this.qos)) {
        throw new TypeError(
          `Cannot raise the QoS from ${this.qos} to ${qos}: it can only be lowered`,
        );
      }
      this.newQos = qos;
    }
    if (retain !== undefined) this.newRetain = retain;
    if (userProperties !== undefined || responseTopic !== undefined) {
      if (this.version !== 5) {
        throw new TypeError(
          "Cannot set properties: the client does not speak MQTT 5",
        );
      }
      if (typeof responseTopic === "string") checkTopic(responseTopic);
      if (responseTopic !== undefined) this.#newResponseTopic = responseTopic;
      if (userProperties !== undefined) {
        this.#newUserProperties = userProperties;
      }
    }
    this.changed = true;
  }

  protected reset(): void {
    if (!this.changed) return;
    this.changed = false;
    this.newTopic =
      this.newPayload =
      this.newQos =
      this.newRetain =
        undefined;
    this.#newUserProperties = this.#newResponseTopic = undefined;
  }

  protected get changesProperties(): boolean {
    return this.#newResponseTopic !== undefined ||
      this.#newUserProperties !== undefined;
  }

  /** What hooks changed of the properties. */
  protected propertyEdit(): PropertyEdit | undefined {
    const response = this.#newResponseTopic;
    const pairs = this.#newUserProperties;
    if (response === undefined && pairs === undefined) return undefined;
    return {
      remove: [
        ...response === null ? [PropertyId.RESPONSE_TOPIC] : [],
        ...pairs ? [PropertyId.USER_PROPERTY] : [],
      ],
      set: [
        ...(typeof response === "string"
          ? [{ id: PropertyId.RESPONSE_TOPIC, value: response }]
          : []),
        ...(pairs ?? []).map((value) => ({
          id: PropertyId.USER_PROPERTY,
          value,
        })),
      ],
    };
  }
}

/** A PUBLISH on its way. */
export class PublishMessage extends Message {
  readonly isWill = false;
  #view: PublishView | undefined;
  #resolvedTopic: string | undefined;

  /** Takes the next PUBLISH; `topic` where an alias stands for it. */
  load(view: PublishView, topic: string | undefined): void {
    this.reset();
    this.#view = view;
    this.#resolvedTopic = topic;
  }

  /** The packet. */
  get view(): PublishView {
    return this.#view!;
  }

  override get originalTopic(): string {
    return this.#resolvedTopic ?? this.view.topic;
  }

  override get originalPayload(): Uint8Array {
    return this.view.payload;
  }

  override get originalQos(): Qos {
    return this.view.qos;
  }

  override get originalRetain(): boolean {
    return this.view.retain;
  }

  override get dup(): boolean {
    return this.view.dup;
  }

  override get packetId(): number {
    return this.view.packetId;
  }

  protected override get version(): ProtocolVersion {
    return this.view.version;
  }

  protected override get properties(): PropertyList {
    return this.view.properties;
  }

  /** Whether nothing but the topic is another one. */
  get changesTopicOnly(): boolean {
    return this.newTopic !== undefined && this.newPayload === undefined &&
      this.newQos === undefined && this.newRetain === undefined &&
      !this.changesProperties;
  }

  /** What is to be spliced into the packet, beside its topic. */
  edit(): PublishEdit {
    const properties = this.propertyEdit();
    return {
      ...(this.newPayload ? { payload: this.newPayload } : {}),
      ...(this.newQos !== undefined ? { qos: this.newQos } : {}),
      ...(this.newRetain !== undefined ? { retain: this.newRetain } : {}),
      ...(properties ? { properties } : {}),
    };
  }
}

/** A will in its CONNECT. */
export class WillMessage extends Message {
  readonly isWill = true;
  readonly dup = false;
  readonly packetId = 0;
  /** Whether a hook took it away. */
  removed = false;
  readonly #view: ConnectView;

  constructor(view: ConnectView) {
    super();
    this.#view = view;
  }

  override get originalTopic(): string {
    return this.#view.willTopic!;
  }

  override get originalPayload(): Uint8Array {
    return this.#view.willPayload!;
  }

  override get originalQos(): Qos {
    return this.#view.willQos;
  }

  override get originalRetain(): boolean {
    return this.#view.willRetain;
  }

  protected override get version(): ProtocolVersion {
    return this.#view.version;
  }

  protected override get properties(): PropertyList {
    return this.#view.willProperties;
  }

  override apply(change: WillChange): void {
    super.apply(change);
    if (change.remove) this.removed = true;
  }

  /** What is to be spliced into the CONNECT; null takes the will out. */
  edit(): WillEdit | null {
    if (this.removed) return null;
    const properties = this.propertyEdit();
    return {
      ...(this.newTopic !== undefined ? { topic: this.newTopic } : {}),
      ...(this.newPayload ? { payload: this.newPayload } : {}),
      ...(this.newQos !== undefined ? { qos: this.newQos } : {}),
      ...(this.newRetain !== undefined ? { retain: this.newRetain } : {}),
      ...(properties ? { properties } : {}),
    };
  }
}

function checkTopic(topic: string): void {
  if (!isTopicName(topic)) {
    throw new TypeError(
      `Cannot publish to "${topic}": a topic name without wildcards is wanted`,
    );
  }
}
