/**
 * From the broker to the client.
 *
 * 1. CONNACK: what client and broker agreed on is noted, and what the gateway
 *    must say about itself is put in. It lets the client's other packets go.
 * 2. `intercept` sees every packet (`message_path.ts`).
 * 3. PUBLISH: `deliver` decides; a denied message is
 *    acknowledged to the broker, which else would wait for the client.
 * 4. SUBACK and UNSUBACK: the codes of denied filters are put in.
 * 5. Acknowledgements pass, but for those of messages that the gateway itself
 *    has a part in; a PINGRESP to the gateway's own PINGREQ stays here.
 * 6. DISCONNECT passes, and the connection with the client ends.
 */
import type { Denial, Qos } from "../hooks/hooks.ts";
import type { Link } from "./link.ts";
import type { PublishMessage } from "./message.ts";
import { MessagePath, type MessageTerms } from "./message_path.ts";
import {
  type ConnackView,
  editConnack,
  editDisconnect,
  editSuback,
  encodeAnswer,
  encodeConnack,
  hexByte,
  limitsOfBroker,
  MAX_PACKET_BYTES,
  type OversizedPublish,
  type PacketError,
  type PacketLimits,
  PacketType,
  type Property,
  type PropertyEdit,
  PropertyId,
  type PublishView,
  ReasonCode,
  type SubackView,
} from "../packet/mod.ts";
import { spliceCodes } from "./pending_filters.ts";
import type { PublishFlow } from "./publish_flow.ts";
import { logged } from "./log.ts";
import type { StreamWriter } from "./stream_writer.ts";
import type { ByteStream } from "../transport/byte_stream.ts";

/** What explains a packet, and may be left out where there is no room for it. */
const EXPLAINING = [PropertyId.REASON_STRING, PropertyId.USER_PROPERTY];

/** Acknowledgements that a broker does not read: more than it can have asked for. */
const MAX_UNREAD_ANSWER_BYTES = 1 << 20;

const TERMS: MessageTerms = {
  direction: "downstream",
  hook: "deliver",
  receiver: "client",
  unknownAlias: ReasonCode.TOPIC_ALIAS_INVALID,
};

/** From the broker to the client; see the module's flow. */
export class DownstreamPath extends MessagePath {
  constructor(link: Link, stream: ByteStream) {
    super(link, TERMS, stream, link.context.settings.maxPacketBytes);
    this.reader.version = link.version;
    // An MQTT 5 broker was given the limit; another one can only lose the
    // message, as its session would not get past it.
    this.reader.framer.skipsOversized = true;
  }

  protected override get sink(): StreamWriter {
    return this.link.toClient;
  }

  protected override broken(error: PacketError): void {
    const { version, isAccepted } = this.link;
    this.link.finish({
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
    const { version, isAccepted } = this.link;
    this.link.finish({
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
    this.link.finish({
      reason: "client_lost",
      reasonCode: 0,
      detail: error.message,
    });
  }

  protected override chunkDone(): undefined {
    if (this.link.toBroker.addedBytes > MAX_UNREAD_ANSWER_BYTES) {
      this.link.finish({
        reason: "broker_protocol_error",
        reasonCode: 0,
        detail: "the broker reads no acknowledgements",
      });
    }
  }

  protected override dispatch(): Promise<void> | undefined {
    const { current } = this;
    switch (current.type) {
      case PacketType.PUBLISH:
        return this.publish(current.publish);
      case PacketType.PUBACK:
      case PacketType.PUBREC:
      case PacketType.PUBCOMP:
        if (!this.link.upFlow.acknowledged(current.ack)) this.keep();
        return;
      case PacketType.PUBREL:
        if (!this.link.downFlow.released(current.ack.packetId)) this.keep();
        return;
      case PacketType.PINGRESP:
        if (this.link.ownPings > 0) this.link.ownPings--;
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
    const { version, agreement, session } = this.link;
    if (!view.accepted) {
      const edit = version === 5 ? { remove: this.#hidden() } : {};
      if (!this.#keepEdited(view, edit)) return;
      await this.flush();
      this.link.finish({
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
      if (assigned !== undefined) this.link.assignClientId(assigned);
      const isSent = this.#keepEdited(view, {
        remove: this.#hidden(),
        set: this.#ownProperties(limits, agreement.brokerMaxPacketBytes),
      });
      if (!isSent) return;
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
    this.link.accept(limits);
  }

  /** What the broker takes from its client, and the hooks let through. */
  #limits(view: ConnackView): PacketLimits {
    const { maximumQos, retainAvailable } = this.link.agreement;
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
      this.link.agreement;
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
    if (
      maxPacketBytes < MAX_PACKET_BYTES && brokerMaxPacketBytes > maxPacketBytes
    ) {
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

  /** False, and the session is over, if the client takes no packet of that size [MQTT-3.1.2-24]. */
  #keepEdited(view: ConnackView, edit: PropertyEdit): boolean {
    const { remove = [], set = [] } = edit;
    const { clientMaxPacketBytes } = this.link.agreement;
    const isChanged = set.length > 0 ||
      remove.some((id) => view.properties.has(id));
    let edited = isChanged ? editConnack(view, { properties: edit }) : view;
    if (edited.byteLength > clientMaxPacketBytes) {
      // [MQTT-3.2.2-19]
      edited = editConnack(edited, { properties: { remove: EXPLAINING } });
    }
    if (edited.byteLength > clientMaxPacketBytes) {
      this.link.finish({
        reason: "connect_refused",
        reasonCode: ReasonCode.PACKET_TOO_LARGE,
        detail:
          `the CONNACK has ${edited.byteLength} bytes, and the client takes ${clientMaxPacketBytes}`,
      });
      return false;
    }
    if (edited === view) this.keep();
    else this.put(edited.bytes());
    return true;
  }

  // PUBLISH

  protected override get flow(): PublishFlow {
    return this.link.downFlow;
  }

  protected override get receiverMaxPacketBytes(): number {
    return this.link.agreement.clientMaxPacketBytes;
  }

  protected override sent(message: PublishMessage): undefined {
    const { audit } = this.context;
    if (audit?.messages) {
      audit.event("deliver", this.link.session, audit.message(message));
    }
  }

  protected override skipped(publish: OversizedPublish): void {
    const { topic, qos, packetId, byteLength } = publish;
    const { session, downFlow } = this.link;
    const { metrics, log, audit, settings } = this.context;
    metrics.published("downstream", qos);
    metrics.oversized++;
    log.limited(
      "oversized",
      "message dropped: larger than the maximum packet size",
      {
        session: session.id,
        clientId: logged(session.clientId),
        topic: logged(topic),
        bytes: byteLength,
        limit: settings.maxPacketBytes,
      },
    );
    audit?.event("deliver_denied", session, {
      topic,
      qos,
      reasonCode: ReasonCode.PACKET_TOO_LARGE,
      reason: "larger than the maximum packet size",
    });
    if (qos === 0) return;
    if (downFlow.owns(packetId)) downFlow.repeat(packetId);
    else if (qos === 1 || !downFlow.isOpen(packetId)) {
      downFlow.drop(packetId, qos);
    }
  }

  /** The client does not get the message; the broker need not wait for it. */
  protected override denyPublish(
    view: PublishView,
    denial: Denial,
  ): undefined {
    const { downFlow, session } = this.link;
    const { qos, packetId } = view;
    this.context.audit?.event("deliver_denied", session, {
      topic: this.topicOf(view),
      qos,
      reasonCode: denial.reasonCode,
      reason: denial.reason,
    });
    if (qos === 0 || qos === 2 && downFlow.isOpen(packetId)) return;
    downFlow.deny(packetId, qos, denial);
  }

  // SUBACK and UNSUBACK

  #suback(view: SubackView): Promise<void> | undefined {
    const { version, agreement, session } = this.link;
    const subscribes = view.type === PacketType.SUBACK;
    const table = subscribes ? this.link.subscribing : this.link.unsubscribing;
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
    this.link.finish({
      reason: "broker_disconnected",
      reasonCode,
      detail: `the broker said ${hexByte(reasonCode)}`,
    });
  }
}
