/**
 * From the broker to the client.
 *
 * 1. CONNACK: what client and broker agreed on is noted, and what the gateway
 *    must say about itself is put in. It lets the client's other packets go.
 * 2. `intercept` sees every packet.
 * 3. PUBLISH: an alias is resolved, `deliver` decides; a denied message is
 *    acknowledged to the broker, which else would wait for the client.
 * 4. SUBACK and UNSUBACK: the codes of denied filters are put in.
 * 5. Acknowledgements pass, but for those of messages that the gateway itself
 *    has a part in; a PINGRESP to the gateway's own PINGREQ stays here.
 * 6. DISCONNECT passes, and the connection with the client ends.
 */
import { Denial, type Qos } from "./hooks.ts";
import { InterceptDraft } from "./intercept_draft.ts";
import type { Decision } from "./hook_chain.ts";
import type { Link } from "./link.ts";
import { PublishMessage } from "./message.ts";
import {
  type ConnackView,
  editConnack,
  editDisconnect,
  editPublish,
  editSuback,
  encodeAnswer,
  encodeConnack,
  hexByte,
  limitsOfBroker,
  type PacketError,
  type PacketLimits,
  packetName,
  PacketType,
  type Property,
  type PropertyEdit,
  PropertyId,
  type PublishEdit,
  type PublishView,
  ReasonCode,
  type SubackView,
} from "./packet/mod.ts";
import { PacketPath } from "./packet_path.ts";
import { spliceCodes } from "./pending_filters.ts";
import type { StreamWriter } from "./stream_writer.ts";
import { TopicAliases } from "./topic_aliases.ts";
import { TopicSplice } from "./topic_splice.ts";
import type { ByteStream } from "./transport/byte_stream.ts";

/** What explains a packet, and may be left out where there is no room for it. */
const EXPLAINING = [PropertyId.REASON_STRING, PropertyId.USER_PROPERTY];

/** Acknowledgements that a broker does not read: more than it can have asked for. */
const MAX_UNREAD_ANSWER_BYTES = 1 << 20;

/** From the broker to the client; see the module's flow. */
export class DownstreamPath extends PacketPath {
  readonly #link: Link;
  readonly #aliases = new TopicAliases();
  readonly #splice = new TopicSplice();
  readonly #seesPackets: boolean;
  readonly #seesMessages: boolean;
  #message: PublishMessage | undefined;

  constructor(link: Link, stream: ByteStream) {
    super(link, "downstream", stream, link.context.settings.maxPacketBytes);
    this.#link = link;
    this.reader.version = link.version;
    const { hooks, audit } = link.context;
    this.#seesPackets = hooks.has("intercept");
    this.#seesMessages = hooks.has("deliver") || (audit?.messages ?? false);
  }

  protected override get sink(): StreamWriter {
    return this.#link.toClient;
  }

  protected override handle(): Promise<void> | undefined {
    return this.#seesPackets ? this.#intercept() : this.#dispatch();
  }

  protected override broken(error: PacketError): void {
    const { version, isAccepted } = this.#link;
    this.#link.finish({
      reason: "broker_protocol_error",
      reasonCode: error.reasonCode,
      detail: `the broker's ${error.message}`,
      // Before its CONNACK, a broker is not told anything by a DISCONNECT.
      ...(isAccepted
        ? { toBroker: encodeAnswer(error, { connackSent: true }) }
        : {}),
      toClient: isAccepted ? undefined : encodeConnack({
        version,
        reasonCode: ReasonCode.SERVER_UNAVAILABLE,
      }),
    });
  }

  protected override ended(error: Error | undefined): void {
    const { version, isAccepted } = this.#link;
    this.#link.finish({
      reason: "broker_lost",
      reasonCode: 0,
      detail: error?.message ?? "the broker closed the connection",
      toClient: isAccepted ? undefined : encodeConnack({
        version,
        reasonCode: ReasonCode.SERVER_UNAVAILABLE,
      }),
    });
  }

  protected override sinkEnded(error: Error): void {
    this.#link.finish({
      reason: "client_lost",
      reasonCode: 0,
      detail: error.message,
    });
  }

  protected override chunkDone(): undefined {
    if (this.#link.toBroker.addedBytes > MAX_UNREAD_ANSWER_BYTES) {
      this.#link.finish({
        reason: "broker_protocol_error",
        reasonCode: 0,
        detail: "the broker reads no acknowledgements",
      });
    }
  }

  #intercept(): Promise<void> | undefined {
    const draft = new InterceptDraft(this.reader.type, this.packetBytes);
    const { hooks } = this.context;
    const decision = hooks.intercept(this.#link.session, draft, "downstream");
    return decision instanceof Promise
      ? this.#interceptLater(draft, decision)
      : this.#intercepted(draft, decision);
  }

  async #interceptLater(
    draft: InterceptDraft,
    promise: Promise<Decision>,
  ): Promise<void> {
    const decision = await this.decidedBy("intercept", promise);
    await this.#intercepted(draft, decision);
  }

  #intercepted(
    draft: InterceptDraft,
    decision: Decision,
  ): Promise<void> | undefined {
    const wrong = !decision && draft.changed
      ? this.replace(draft.bytes)
      : undefined;
    const denial = wrong ? this.hookFailed("intercept", wrong) : decision;
    if (!denial) return this.#dispatch();
    const { type } = this.current;
    if (type === PacketType.PUBLISH) {
      const { publish } = this.current;
      this.#arrived(publish);
      this.#denyPublish(publish, denial);
      return;
    }
    return this.#finishDenied(packetName(type), denial);
  }

  #dispatch(): Promise<void> | undefined {
    const { current } = this;
    switch (current.type) {
      case PacketType.PUBLISH:
        return this.#publish(current.publish);
      case PacketType.PUBACK:
      case PacketType.PUBREC:
      case PacketType.PUBCOMP:
        if (!this.#link.upFlow.acknowledged(current.ack)) this.keep();
        return;
      case PacketType.PUBREL:
        if (!this.#link.downFlow.released(current.ack.packetId)) this.keep();
        return;
      case PacketType.PINGRESP:
        if (this.#link.ownPings > 0) this.#link.ownPings--;
        else this.keep();
        return;
      case PacketType.SUBACK:
      case PacketType.UNSUBACK:
        return this.#suback(current.suback);
      case PacketType.CONNACK:
        return this.#connack(current.connack);
      case PacketType.DISCONNECT:
        return this.#disconnect();
      default:
        this.keep();
    }
  }

  // CONNACK

  async #connack(view: ConnackView): Promise<void> {
    const { version, agreement, session } = this.#link;
    if (!view.accepted) {
      this.#keepEdited(view, version === 5 ? { remove: this.#hidden() } : {});
      await this.flush();
      this.#link.finish({
        reason: "connect_refused",
        reasonCode: view.reasonCode,
        detail: `the broker refused the client with ${
          hexByte(view.reasonCode)
        }`,
      });
      return;
    }
    const limits = version === 5 ? this.#limits(view) : undefined;
    if (limits) {
      const { properties } = view;
      const number = (id: number) => properties.number(id);
      agreement.brokerMaxPacketBytes = number(PropertyId.MAXIMUM_PACKET_SIZE) ??
        Infinity;
      agreement.keepAliveSeconds = number(PropertyId.SERVER_KEEP_ALIVE) ??
        agreement.keepAliveSeconds;
      const assigned = properties.text(PropertyId.ASSIGNED_CLIENT_IDENTIFIER);
      if (assigned !== undefined) this.#link.assignClientId(assigned);
      this.#keepEdited(view, {
        remove: this.#hidden(),
        set: this.#ownProperties(limits, agreement.brokerMaxPacketBytes),
      });
    } else this.keep();
    // The broker may send messages in the same chunk: the client's CONNACK and
    // the `connect` hook come before them.
    const notified = this.context.hooks.connect(session, {
      sessionPresent: view.sessionPresent,
    });
    this.context.audit?.event("connect", session, {
      version,
      sessionPresent: view.sessionPresent,
    });
    if (notified) await this.notified(notified);
    await this.flush();
    this.#link.accept(limits);
  }

  /** What the broker takes from its client, and the hooks let through. */
  #limits(view: ConnackView): PacketLimits {
    const { maximumQos, retainAvailable } = this.#link.agreement;
    const limits = limitsOfBroker(view);
    return {
      ...limits,
      maximumQos: Math.min(limits.maximumQos, maximumQos) as Qos,
      retainAvailable: limits.retainAvailable && retainAvailable,
    };
  }

  /** Properties of the broker that are not the client's business. */
  #hidden(): number[] {
    return this.context.settings.passServerReference
      ? []
      : [PropertyId.SERVER_REFERENCE];
  }

  /** What the gateway says about itself in an MQTT 5 CONNACK. */
  #ownProperties(
    limits: PacketLimits,
    brokerMaxPacketBytes: number,
  ): Property[] {
    const { maxPacketBytes } = this.context.settings;
    const { assignedClientId, maximumQos, retainAvailable } =
      this.#link.agreement;
    const properties: Property[] = [];
    if (maximumQos < 2) {
      properties.push({
        id: PropertyId.MAXIMUM_QOS,
        value: limits.maximumQos,
      });
    }
    if (!retainAvailable) {
      properties.push({ id: PropertyId.RETAIN_AVAILABLE, value: 0 });
    }
    if (brokerMaxPacketBytes > maxPacketBytes) {
      properties.push({
        id: PropertyId.MAXIMUM_PACKET_SIZE,
        value: maxPacketBytes,
      });
    }
    if (assignedClientId !== undefined) {
      properties.push({
        id: PropertyId.ASSIGNED_CLIENT_IDENTIFIER,
        value: assignedClientId,
      });
    }
    return properties;
  }

  #keepEdited(view: ConnackView, edit: PropertyEdit): void {
    const { remove = [], set = [] } = edit;
    const isChanged = set.length > 0 ||
      remove.some((id) => view.properties.has(id));
    if (!isChanged) return this.keep();
    const edited = editConnack(view, { properties: edit });
    const fits = edited.byteLength <=
      this.#link.agreement.clientMaxPacketBytes;
    // [MQTT-3.2.2-19]
    this.put(
      (fits ? edited : editConnack(edited, {
        properties: { remove: EXPLAINING },
      })).bytes(),
    );
  }

  // PUBLISH

  /** Counts a message; returns the topic that it has by an alias, which it may also make. */
  #arrived(view: PublishView): string | undefined {
    this.context.metrics.published("downstream", view.qos);
    return view.topicAlias === 0 ? undefined : this.#resolve(view);
  }

  #publish(view: PublishView): Promise<void> | undefined {
    const topic = this.#arrived(view);
    const { downFlow } = this.#link;
    if (view.dup && view.qos === 2 && downFlow.owns(view.packetId)) {
      downFlow.repeat(view.packetId);
      return;
    }
    if (!this.#seesMessages) {
      this.#forward(view, undefined, topic);
      return;
    }
    const message = this.#message ??= new PublishMessage();
    message.load(view, topic);
    const { hooks } = this.context;
    const decision = hooks.deliver(this.#link.session, message);
    if (decision instanceof Promise) return this.#publishLater(view, decision);
    this.#publishDecided(view, decision);
  }

  async #publishLater(
    view: PublishView,
    promise: Promise<Decision>,
  ): Promise<void> {
    const decision = await this.decidedBy("deliver", promise, () => {
      // The hook may still hold the message and change it: it gets no other.
      this.#message = undefined;
    });
    this.#publishDecided(view, decision);
  }

  #publishDecided(view: PublishView, decision: Decision): void {
    const message = this.#message!;
    const refusal = decision ?? this.#forward(
      view,
      message,
      view.topicAlias === 0 ? undefined : message.originalTopic,
    );
    if (refusal) return this.#denyPublish(view, refusal);
    const { audit } = this.context;
    if (audit?.messages) {
      audit.event("deliver", this.#link.session, audit.message(message));
    }
  }

  /** Sends a message on, changed where it must be. Returns why it cannot be. */
  #forward(
    view: PublishView,
    message: PublishMessage | undefined,
    resolvedTopic: string | undefined,
  ): Denial | undefined {
    const { downFlow, agreement } = this.#link;
    const alias = view.topicAlias;
    const topic = message?.topic ?? resolvedTopic ?? "";
    if (alias === 0 && message?.changed && message.changesTopicOnly) {
      const front = this.#splice.front(
        view,
        topic,
        agreement.clientMaxPacketBytes,
      );
      // Where it cannot be done, the way below says why.
      if (front) {
        this.splice(front, view.topicEnd);
        if (view.qos === 2) downFlow.forwarded(view.packetId);
        return undefined;
      }
    }
    let edit: PublishEdit | undefined;
    if (message?.changed) {
      edit = message.edit();
      if (topic !== message.originalTopic) edit.topic = topic;
    }
    if (alias !== 0) {
      const isNamed = view.topicStart !== view.topicEnd;
      if (!isNamed && !this.#aliases.isTold(alias, topic)) {
        (edit ??= {}).topic = topic;
      } else if (!isNamed && edit) delete edit.topic;
    }
    if (edit) {
      let edited: PublishView;
      try {
        edited = editPublish(view, edit);
      } catch (error) {
        return this.hookFailed("deliver", error);
      }
      // [MQTT-3.1.2-25]: a message that is too large for the client counts as sent.
      if (edited.byteLength > agreement.clientMaxPacketBytes) {
        return new Denial(
          ReasonCode.QUOTA_EXCEEDED,
          "too large for the client",
        );
      }
      this.put(edited.bytes());
    } else this.keep();
    if (alias !== 0) this.#aliases.tell(alias, topic);
    const { qos } = view;
    const sentQos: Qos = edit?.qos ?? qos;
    if (sentQos < qos) {
      downFlow.lowered(view.packetId, qos as 1 | 2, sentQos as 0 | 1);
    } else if (qos === 2) downFlow.forwarded(view.packetId);
    return undefined;
  }

  /** The client does not get the message; the broker need not wait for it. */
  #denyPublish(view: PublishView, denial: Denial): void {
    const { downFlow, session } = this.#link;
    const { qos, packetId, topicAlias } = view;
    this.context.audit?.event("deliver_denied", session, {
      topic: topicAlias === 0
        ? view.topic
        : this.#aliases.resolve(topicAlias, view.topic),
      qos,
      reasonCode: denial.reasonCode,
      reason: denial.reason,
    });
    if (qos === 0 || qos === 2 && downFlow.isOpen(packetId)) return;
    downFlow.deny(packetId, qos, denial);
  }

  #resolve(view: PublishView): string {
    const { topicAlias } = view;
    return this.#aliases.resolve(topicAlias, view.topic) ?? view.fail(
      ReasonCode.TOPIC_ALIAS_INVALID,
      `has topic alias ${topicAlias}, which stands for nothing`,
      "3.3.2.3.4",
    );
  }

  // SUBACK and UNSUBACK

  #suback(view: SubackView): Promise<void> | undefined {
    const { version, agreement, session } = this.#link;
    const subscribes = view.type === PacketType.SUBACK;
    const table = subscribes
      ? this.#link.subscribing
      : this.#link.unsubscribing;
    const pending = table.take(view.packetId);
    if (!pending) return void this.keep();
    // Before MQTT 5 an UNSUBACK has no codes: denied or not, it is done.
    const hasCodes = subscribes || version === 5;
    const codes = hasCodes
      ? spliceCodes(pending, view.codes)
      : pending.filters.map(() => 0);
    if (!codes) {
      return view.fail(
        ReasonCode.PROTOCOL_ERROR,
        "has another number of codes than there were filters",
        "MQTT-3.8.4-6",
      );
    }
    if (pending.isPartial && hasCodes) {
      let edited = editSuback(view, { codes });
      if (edited.byteLength > agreement.clientMaxPacketBytes) {
        edited = editSuback(edited, { properties: { remove: EXPLAINING } });
      }
      this.put(edited.bytes());
    } else this.keep();
    const notified = this.context.hooks.subscribed(
      subscribes ? "subscribe" : "unsubscribe",
      session,
      { filters: pending.filters, reasonCodes: codes },
    );
    this.context.audit?.event(
      subscribes ? "subscribe" : "unsubscribe",
      session,
      { filters: pending.filters, reasonCodes: codes },
    );
    return notified && this.notified(notified);
  }

  // The rest

  async #disconnect(): Promise<void> {
    const view = this.current.disconnect;
    const { reasonCode } = view;
    const remove = this.#hidden();
    if (remove.some((id) => view.properties.has(id))) {
      this.put(editDisconnect(view, { properties: { remove } }).bytes());
    } else this.keep();
    await this.flush();
    this.#link.finish({
      reason: "broker_disconnected",
      reasonCode,
      detail: `the broker said ${hexByte(reasonCode)}`,
    });
  }

  async #finishDenied(packet: string, denial: Denial): Promise<void> {
    await this.flush();
    this.#link.finishWithReason(
      "denied",
      denial.reasonCode,
      `${packet} was denied${denial.reason ? `: ${denial.reason}` : ""}`,
    );
  }
}
