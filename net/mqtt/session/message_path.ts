/**
 * What both directions of a session do.
 *
 * 1. `intercept` sees every packet, where somebody listens.
 * 2. PUBLISH: an alias is resolved, limits hold, a hook decides.
 * 3. What the hook changed is spliced in; an alias that the receiver was not
 *    told, or was told something else by, gets its topic.
 * 4. What is denied, or cannot be sent on, is answered as the direction wants.
 */
import type { Decision } from "../hooks/hook_chain.ts";
import { Denial, type Qos } from "../hooks/hooks.ts";
import { InterceptDraft } from "../hooks/intercept_request.ts";
import type { Link } from "./link.ts";
import { PublishMessage } from "./message.ts";
import {
  type Direction,
  editPublish,
  packetName,
  PacketType,
  type PublishEdit,
  type PublishView,
  ReasonCode,
} from "../packet/mod.ts";
import { PacketPath } from "./packet_path.ts";
import type { PublishFlow } from "./publish_flow.ts";
import { TopicAliases } from "./topic_aliases.ts";
import { TopicSplice } from "./topic_splice.ts";
import type { ByteStream } from "../transport/byte_stream.ts";

/** What a direction says of its messages. */
export interface MessageTerms {
  readonly direction: Direction;
  /** The hook that decides about a message. */
  readonly hook: "authPublish" | "deliver";
  /** Who gets messages. */
  readonly receiver: "broker" | "client";
  /** What a sender is told whose topic alias stands for nothing. */
  readonly unknownAlias: number;
}

/** One direction of a session, with what both do; see the module's flow. */
export abstract class MessagePath extends PacketPath {
  protected readonly link: Link;
  readonly #terms: MessageTerms;
  readonly #aliases = new TopicAliases();
  readonly #splice = new TopicSplice();
  readonly #seesPackets: boolean;
  readonly #seesMessages: boolean;
  #message: PublishMessage | undefined;

  constructor(
    link: Link,
    terms: MessageTerms,
    stream: ByteStream,
    maxPacketBytes: number,
  ) {
    super(link, terms.direction, stream, maxPacketBytes);
    this.link = link;
    this.#terms = terms;
    const { hooks, audit } = link.context;
    this.#seesPackets = hooks.has("intercept");
    this.#seesMessages = hooks.has(terms.hook) ||
      terms.direction === "upstream" && hooks.has("publish") ||
      (audit?.messages ?? false);
  }

  /** The gateway's part in the handshakes of these messages. */
  protected abstract get flow(): PublishFlow;
  /** The largest packet that the receiver takes. */
  protected abstract get receiverMaxPacketBytes(): number;
  /** Does what a packet's type asks for. */
  protected abstract dispatch(): Promise<void> | undefined;
  /** A message goes no further. */
  protected abstract denyPublish(
    view: PublishView,
    denial: Denial,
  ): Promise<void> | undefined;
  /** Whether a message is within its limits; if not, it was dealt with. */
  protected admits(_view: PublishView): boolean | Promise<boolean> {
    return true;
  }
  /** A message that hooks have seen goes on. */
  protected abstract sent(message: PublishMessage): Promise<void> | undefined;

  protected override handle(): Promise<void> | undefined {
    return this.#seesPackets ? this.#intercept() : this.dispatch();
  }

  // Every packet

  #intercept(): Promise<void> | undefined {
    const draft = new InterceptDraft(this.reader.type, this.packetBytes);
    const decision = this.context.hooks.intercept(
      this.link.session,
      draft,
      this.#terms.direction,
    );
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
    return denial ? this.denyPacket(denial) : this.dispatch();
  }

  /** A denied packet that has no answer of its own ends the session. */
  protected denyPacket(denial: Denial): Promise<void> | undefined {
    const { type } = this.current;
    if (type !== PacketType.PUBLISH) {
      return this.finishDenied(packetName(type), denial);
    }
    const { publish } = this.current;
    this.#arrived(publish);
    return this.denyPublish(publish, denial);
  }

  // PUBLISH

  /** Counts a message; returns the topic that it has by an alias, which it may also make. */
  #arrived(view: PublishView): string | undefined {
    this.arrived(view);
    return view.topicAlias === 0 ? undefined : this.#resolve(view);
  }

  /** Counts a message. */
  protected arrived(view: PublishView): void {
    this.context.metrics.published(this.#terms.direction, view.qos);
  }

  protected publish(view: PublishView): Promise<void> | undefined {
    const topic = this.#arrived(view);
    if (view.dup && view.qos === 2 && this.flow.owns(view.packetId)) {
      this.flow.repeat(view.packetId);
      return;
    }
    const admitted = this.admits(view);
    if (admitted === true) return this.#decide(view, topic);
    return admitted === false
      ? undefined
      : this.#decideAdmitted(view, topic, admitted);
  }

  async #decideAdmitted(
    view: PublishView,
    topic: string | undefined,
    admitted: Promise<boolean>,
  ): Promise<void> {
    if (await admitted) await this.#decide(view, topic);
  }

  #decide(
    view: PublishView,
    topic: string | undefined,
  ): Promise<void> | undefined {
    if (!this.#seesMessages) {
      const refusal = this.#forward(view, undefined, topic);
      return refusal && this.denyPublish(view, refusal);
    }
    const message = this.#message ??= new PublishMessage();
    message.load(view, topic);
    const { hooks } = this.context;
    const decision = hooks[this.#terms.hook](this.link.session, message);
    if (decision instanceof Promise) return this.#publishLater(view, decision);
    return this.#publishDecided(view, decision);
  }

  async #publishLater(
    view: PublishView,
    promise: Promise<Decision>,
  ): Promise<void> {
    const decision = await this.decidedBy(this.#terms.hook, promise, () => {
      // The hook may still hold the message and change it: it gets no other.
      this.#message = undefined;
    });
    await this.#publishDecided(view, decision);
  }

  #publishDecided(
    view: PublishView,
    decision: Decision,
  ): Promise<void> | undefined {
    if (decision) return this.denyPublish(view, decision);
    const message = this.#message!;
    const topic = view.topicAlias === 0 ? undefined : message.originalTopic;
    const refusal = this.#forward(view, message, topic);
    return refusal ? this.denyPublish(view, refusal) : this.sent(message);
  }

  /** Sends a message on, changed where it must be. Returns why it cannot be. */
  #forward(
    view: PublishView,
    message: PublishMessage | undefined,
    resolvedTopic: string | undefined,
  ): Denial | undefined {
    const { flow } = this;
    const alias = view.topicAlias;
    const topic = message?.topic ?? resolvedTopic ?? "";
    if (alias === 0 && message?.changed && message.changesTopicOnly) {
      const front = this.#splice.front(
        view,
        topic,
        this.receiverMaxPacketBytes,
      );
      // Where it cannot be done, the way below says why.
      if (front) {
        this.splice(front, view.topicEnd);
        if (view.qos === 2) flow.forwarded(view.packetId);
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
      // The receiver was told something else by this alias, or nothing.
      if (!isNamed && !this.#aliases.isTold(alias, topic)) {
        (edit ??= {}).topic = topic;
      } else if (!isNamed && edit) delete edit.topic;
    }
    if (edit) {
      let edited: PublishView;
      try {
        edited = editPublish(view, edit);
      } catch (error) {
        return this.hookFailed(this.#terms.hook, error);
      }
      // [MQTT-3.1.2-25]: a message that is too large for the client counts as sent.
      if (edited.byteLength > this.receiverMaxPacketBytes) {
        return new Denial(
          ReasonCode.QUOTA_EXCEEDED,
          `too large for the ${this.#terms.receiver}`,
        );
      }
      this.put(edited.bytes());
    } else this.keep();
    if (alias !== 0) this.#aliases.tell(alias, topic);
    const { qos } = view;
    const sentQos: Qos = edit?.qos ?? qos;
    if (sentQos < qos) {
      flow.lowered(view.packetId, qos as 1 | 2, sentQos as 0 | 1);
    } else if (qos === 2) flow.forwarded(view.packetId);
    return undefined;
  }

  #resolve(view: PublishView): string {
    const { topicAlias } = view;
    return this.#aliases.resolve(topicAlias, view.topic) ?? view.fail(
      this.#terms.unknownAlias,
      `has topic alias ${topicAlias}, which stands for nothing`,
      "3.3.2.3.4",
    );
  }

  /** The topic that a PUBLISH names itself or by its alias. */
  protected topicOf(view: PublishView): string {
    return view.topicAlias === 0
      ? view.topic
      : this.#aliases.resolve(view.topicAlias, view.topic) ?? "";
  }

  /** Ends the session, and says that a packet was denied. */
  protected async finishDenied(packet: string, denial: Denial): Promise<void> {
    await this.flush();
    this.link.finishWithReason(
      "denied",
      denial.reasonCode,
      `${packet} was denied${denial.reason ? `: ${denial.reason}` : ""}`,
    );
  }
}
