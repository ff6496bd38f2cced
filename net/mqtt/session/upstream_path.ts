/**
 * From the client to the broker.
 *
 * 1. What comes before the broker's CONNACK waits, but for AUTH.
 * 2. `intercept` sees every packet (`message_path.ts`).
 * 3. PUBLISH: `authPublish` decides, and a denied message is answered.
 * 4. SUBSCRIBE and UNSUBSCRIBE: each filter is decided; denied ones are taken
 *    out, and their codes are put into the broker's answer on its way back.
 * 5. Acknowledgements pass, but for those of messages that the gateway itself
 *    has a part in.
 * 6. DISCONNECT passes and ends the session in order; what the broker answers
 *    still passes.
 */
import { type Denial, deny } from "../hooks/hooks.ts";
import { FilterDraft, type FilterVerdict } from "../hooks/filter_request.ts";
import type { Decision } from "../hooks/hook_chain.ts";
import type { Link } from "./link.ts";
import type { PublishMessage } from "./message.ts";
import { MessagePath, type MessageTerms } from "./message_path.ts";
import { checkPublishLimits } from "../packet/limits.ts";
import {
  editSubscribe,
  editUnsubscribe,
  encodeAnswer,
  encodePingresp,
  encodeSuback,
  encodeUnsuback,
  hexByte,
  type PacketError,
  PacketType,
  PropertyId,
  type PublishView,
  ReasonCode,
} from "../packet/mod.ts";
import { pendingOf } from "./pending_filters.ts";
import { type PublishFlow, reasonFor } from "./publish_flow.ts";
import type { StreamWriter } from "./stream_writer.ts";
import type { ByteStream } from "../transport/byte_stream.ts";

/** Beyond this, answers of the gateway's own wait for the client to read them. */
const MAX_UNREAD_ANSWER_BYTES = 65536;

/** A shorter wait is not worth a timer. */
const MIN_SLOW_MS = 10;

const OVER_LIMIT = deny(
  ReasonCode.QUOTA_EXCEEDED,
  "the message rate is too high",
);

const PINGRESP = encodePingresp();

const TERMS: MessageTerms = {
  direction: "upstream",
  hook: "authPublish",
  receiver: "broker",
  unknownAlias: ReasonCode.PROTOCOL_ERROR,
};

/** From the client to the broker; see the module's flow. */
export class UpstreamPath extends MessagePath {
  readonly #seesFilters: boolean;
  /** Bytes of the chunk that were charged with their messages. */
  #chargedBytes = 0;
  /** PINGREQs that were answered ahead of their turn. */
  #answeredPings = 0;

  constructor(link: Link, stream: ByteStream) {
    super(link, TERMS, stream, link.context.settings.maxConnectBytes);
    const { hooks, audit } = link.context;
    this.#seesFilters = hooks.has("authSubscribe") ||
      hooks.has("authUnsubscribe") || hooks.has("subscribe") ||
      hooks.has("unsubscribe") || audit !== undefined;
  }

  protected override get sink(): StreamWriter {
    return this.link.toBroker;
  }

  protected override handle(): Promise<void> | undefined {
    // [MQTT-3.14.4-2]: nothing follows a DISCONNECT.
    if (this.link.isLeaving) return;
    // 3.1.4: a client need not wait for the CONNACK, but if it is a refusal,
    // nothing of what it has sent may be done.
    if (!this.link.isAccepted && this.reader.type !== PacketType.AUTH) {
      return this.#handleLater();
    }
    return super.handle();
  }

  protected override broken(error: PacketError): void {
    const { isAccepted, agreement } = this.link;
    this.link.finish({
      reason: "client_protocol_error",
      reasonCode: error.reasonCode,
      detail: error.message,
      toClient: encodeAnswer(error, {
        connackSent: isAccepted,
        maxPacketBytes: agreement.clientMaxPacketBytes,
        reasonString: error.message,
      }),
    });
  }

  protected override ended(error: Error | undefined): void {
    this.link.finish({
      reason: "client_lost",
      reasonCode: 0,
      detail: error?.message ?? "the client closed without a DISCONNECT",
    });
  }

  protected override sinkEnded(error: Error): void {
    this.link.finish({
      reason: "broker_lost",
      reasonCode: 0,
      detail: error.message,
    });
  }

  protected override chunkDone(bytes: number): Promise<void> | undefined {
    const { throttle } = this.context;
    const uncharged = Math.max(0, bytes - this.#chargedBytes);
    this.#chargedBytes = 0;
    const pauseMs = throttle === undefined || uncharged === 0
      ? 0
      : throttle.charge(this.link.session, 0, uncharged);
    const unread = this.link.toClient.addedBytes > MAX_UNREAD_ANSWER_BYTES;
    return pauseMs > 0 || unread ? this.#pause(pauseMs, unread) : undefined;
  }

  async #pause(pauseMs: number, unread: boolean): Promise<void> {
    const startedMs = this.context.now();
    if (unread) await this.wait(this.link.toClient.flushed(), Infinity);
    this.counters.writeWaitMs += this.context.now() - startedMs;
    if (pauseMs > 0) await this.#slow(pauseMs);
  }

  /** Holds the client back, and answers its keep-alive meanwhile. */
  async #slow(ms: number): Promise<void> {
    await this.waitReadingAhead(ms, () => {
      this.#answeredPings++;
      this.link.toClient.add(PINGRESP);
    });
    this.counters.limitWaitMs += ms;
  }

  async #handleLater(): Promise<void> {
    await this.flush();
    await this.wait(this.link.untilAccepted(), Infinity);
    const { limits, type } = this.reader;
    // It was read before the broker said what it takes.
    if (limits && type === PacketType.PUBLISH) {
      checkPublishLimits(this.reader.publish, limits);
    }
    await this.handle();
  }

  /** Denied filters have an answer of their own. */
  protected override denyPacket(denial: Denial): Promise<void> | undefined {
    const { type } = this.current;
    if (type !== PacketType.SUBSCRIBE && type !== PacketType.UNSUBSCRIBE) {
      return super.denyPacket(denial);
    }
    const draft = this.#filterDraft();
    draft.denyAll(denial);
    return this.#filtersDecided(draft);
  }

  protected override dispatch(): Promise<void> | undefined {
    const { current } = this;
    switch (current.type) {
      case PacketType.PUBLISH:
        return this.publish(current.publish);
      case PacketType.PUBACK:
      case PacketType.PUBREC:
      case PacketType.PUBCOMP:
        if (!this.link.downFlow.acknowledged(current.ack)) this.keep();
        return;
      case PacketType.PUBREL:
        if (!this.link.upFlow.released(current.ack.packetId)) this.keep();
        return;
      case PacketType.SUBSCRIBE:
      case PacketType.UNSUBSCRIBE:
        if (this.#seesFilters) return this.#filters();
        this.keep();
        return;
      case PacketType.PINGREQ:
        if (this.#answeredPings > 0) this.#answeredPings--;
        else this.keep();
        return;
      case PacketType.DISCONNECT:
        return this.#disconnect();
      case PacketType.AUTH:
        this.#auth();
        return;
      default:
        this.keep();
    }
  }

  // PUBLISH

  protected override get flow(): PublishFlow {
    return this.link.upFlow;
  }

  protected override get receiverMaxPacketBytes(): number {
    return this.link.agreement.brokerMaxPacketBytes;
  }

  protected override admits(view: PublishView): boolean | Promise<boolean> {
    const { throttle } = this.context;
    if (throttle === undefined) return true;
    const { byteLength } = view;
    const excessMs = throttle.charge(this.link.session, 1, byteLength);
    this.#chargedBytes += byteLength;
    if (excessMs <= 0) return true;
    const { overLimit } = throttle;
    if (overLimit === "slow") {
      // Below the timer's resolution, excess is gathered.
      return excessMs < MIN_SLOW_MS || this.#admitLater(excessMs);
    }
    this.context.metrics.overLimit(overLimit);
    if (overLimit === "disconnect") return this.#disconnectOverLimit();
    if (overLimit === "refuse") return this.#refuse(view);
    const { qos, packetId } = view;
    // The broker has it from an earlier attempt and is about to answer.
    if (qos === 0 || qos === 2 && this.flow.isOpen(packetId)) return false;
    this.flow.drop(packetId, qos);
    return false;
  }

  async #admitLater(ms: number): Promise<boolean> {
    await this.flush();
    await this.#slow(ms);
    return true;
  }

  #refuse(view: PublishView): false | Promise<false> {
    const refused = this.denyPublish(view, OVER_LIMIT);
    return refused === undefined ? false : refused.then(() => false);
  }

  async #disconnectOverLimit(): Promise<false> {
    await this.flush();
    this.link.finishWithReason(
      "denied",
      ReasonCode.MESSAGE_RATE_TOO_HIGH,
      "the message rate is too high",
    );
    return false;
  }

  protected override sent(message: PublishMessage): Promise<void> | undefined {
    const { audit, hooks } = this.context;
    const { session } = this.link;
    if (audit?.messages) {
      audit.event("publish", session, audit.message(message));
    }
    const notified = hooks.publish(session, message);
    return notified && this.notified(notified);
  }

  protected override denyPublish(
    view: PublishView,
    denial: Denial,
  ): Promise<void> | undefined {
    const { upFlow, session } = this.link;
    const { audit } = this.context;
    audit?.event("publish_denied", session, {
      topic: this.topicOf(view),
      qos: view.qos,
      retain: view.retain,
      reasonCode: denial.reasonCode,
      reason: denial.reason,
    });
    if (this.context.settings.onDeny === "close") {
      return this.finishDenied("PUBLISH", denial);
    }
    const { qos, packetId } = view;
    if (qos === 0) return;
    // The broker has it from an earlier attempt and is about to say so.
    if (qos === 2 && upFlow.isOpen(packetId)) return;
    upFlow.deny(packetId, qos, denial);
  }

  // SUBSCRIBE and UNSUBSCRIBE

  #filterDraft(): FilterDraft {
    const { current } = this;
    return new FilterDraft(
      current.type === PacketType.SUBSCRIBE
        ? current.subscribe
        : current.unsubscribe,
    );
  }

  #filters(): Promise<void> | undefined {
    const draft = this.#filterDraft();
    const name = this.current.type === PacketType.SUBSCRIBE
      ? "authSubscribe"
      : "authUnsubscribe";
    const { hooks } = this.context;
    const decision = hooks.authFilters(name, this.link.session, draft);
    if (decision instanceof Promise) {
      return this.#filtersLater(name, draft, decision);
    }
    if (decision) draft.denyAll(decision);
    return this.#filtersDecided(draft);
  }

  async #filtersLater(
    name: "authSubscribe" | "authUnsubscribe",
    draft: FilterDraft,
    promise: Promise<Decision>,
  ): Promise<void> {
    const decision = await this.decidedBy(name, promise, () => {
      // The hook may still hold the draft and change it.
      draft = this.#filterDraft();
    });
    if (decision) draft.denyAll(decision);
    await this.#filtersDecided(draft);
  }

  #filtersDecided(draft: FilterDraft): Promise<void> | undefined {
    const subscribes = this.current.type === PacketType.SUBSCRIBE;
    const { version, session, agreement } = this.link;
    const { audit } = this.context;
    const denied = draft.verdicts.filter(({ denial }) => denial);
    for (const { written, denial } of denied) {
      audit?.event(
        subscribes ? "subscribe_denied" : "unsubscribe_denied",
        session,
        {
          filter: written,
          reasonCode: denial!.reasonCode,
          reason: denial!.reason,
        },
      );
    }
    if (
      // MQTT 3.1 has no code that refuses a filter.
      subscribes && version === 3 && denied.length > 0 &&
      this.context.settings.onDeny === "close"
    ) return this.finishDenied("SUBSCRIBE", denied[0]!.denial!);

    const codeOf = (index: number) =>
      this.#refusalCode(draft.verdicts[index]!, subscribes);
    const pending = pendingOf(draft, codeOf);
    if (denied.length === draft.verdicts.length) {
      return this.#answerFilters(draft, pending.codes as number[], subscribes);
    }
    const table = subscribes ? this.link.subscribing : this.link.unsubscribing;
    if (draft.isUntouched) this.keep();
    else {
      const edit = { entries: draft.entries() };
      try {
        const edited = subscribes
          ? editSubscribe(this.current.subscribe, edit)
          : editUnsubscribe(this.current.unsubscribe, edit);
        if (edited.byteLength > agreement.brokerMaxPacketBytes) {
          throw new RangeError("The filters are too large for the broker");
        }
        this.put(edited.bytes());
      } catch (error) {
        const name = subscribes ? "authSubscribe" : "authUnsubscribe";
        draft.denyAll(this.hookFailed(name, error));
        return this.#filtersDecided(draft);
      }
    }
    if (!table.add(draft.packetId, pending)) {
      this.link.finishWithReason(
        "client_protocol_error",
        ReasonCode.QUOTA_EXCEEDED,
        "too many SUBSCRIBEs wait for an answer",
      );
    }
  }

  /** What a client is told about a denied filter. */
  #refusalCode(verdict: FilterVerdict, subscribes: boolean): number {
    const { version } = this.link;
    const type = subscribes ? PacketType.SUBACK : PacketType.UNSUBACK;
    if (version === 5) {
      return reasonFor(type, verdict.denial!.reasonCode, "downstream");
    }
    // MQTT 3.1 cannot be told: it is granted what it will never get.
    return version === 4 ? 0x80 : verdict.current.qos;
  }

  /** All filters were denied: the broker never hears of it. */
  #answerFilters(
    draft: FilterDraft,
    codes: readonly number[],
    subscribes: boolean,
  ): Promise<void> | undefined {
    const { version, toClient, agreement, session } = this.link;
    const { denial } = draft.verdicts[0]!;
    const options = {
      version,
      packetId: draft.packetId,
      codes,
      maxPacketBytes: agreement.clientMaxPacketBytes,
      problemInformation: agreement.problemInformation,
      ...(denial?.reason ? { reasonString: denial.reason } : {}),
    };
    toClient.add(subscribes ? encodeSuback(options) : encodeUnsuback(options));
    const notified = this.context.hooks.subscribed(
      subscribes ? "subscribe" : "unsubscribe",
      session,
      {
        filters: draft.verdicts.map(({ written }) => written),
        reasonCodes: codes,
      },
    );
    return notified && this.notified(notified);
  }

  // The rest

  async #disconnect(): Promise<void> {
    const { reasonCode } = this.current.disconnect;
    this.keep();
    await this.flush();
    this.link.leave({
      reason: "client_disconnected",
      reasonCode,
      detail: `the client sent DISCONNECT ${hexByte(reasonCode)}`,
    });
  }

  #auth(): void {
    const { auth } = this.current;
    const method = auth.properties.text(PropertyId.AUTHENTICATION_METHOD);
    const { authenticationMethod } = this.link.agreement;
    if (
      authenticationMethod === undefined ||
      method !== undefined && method !== authenticationMethod
    ) {
      auth.fail(
        ReasonCode.PROTOCOL_ERROR,
        "does not name the CONNECT's authentication method",
        "MQTT-4.12.0-5",
      );
    }
    this.keep();
  }
}
