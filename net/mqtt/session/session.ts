/**
 * One client's session, from its connection to its end.
 *
 * 1. The connection is opened (a WebSocket is upgraded), and its first packet
 *    is a CONNECT, all within the connect timeout.
 * 2. `intercept`, `authConnect` and `authWill` decide about it.
 * 3. Only then a broker is dialled: the client's own, by its identifier.
 * 4. The CONNECT goes out, and both directions run: `upstream_path.ts`,
 *    `downstream_path.ts`. The broker's CONNACK lets the client's packets go.
 * 5. The first reason to end counts. Both connections are told what is still
 *    to be said, ended behind it, and closed when the other end has closed too.
 */
import type { Address } from "../../address.ts";
import { BrokerWatch } from "./broker_watch.ts";
import { ConnectDraft } from "../hooks/connect_request.ts";
import { DownstreamPath } from "./downstream_path.ts";
import type { Decision, HookName } from "../hooks/hook_chain.ts";
import {
  type Denial,
  deny,
  type EndReason,
  type EndSessionOptions,
  type MqttSession,
  type PeerCertificate,
  type UserProperty,
} from "../hooks/hooks.ts";
import { InterceptDraft } from "../hooks/intercept_request.ts";
import { keepAliveAction } from "./keep_alive.ts";
import type { Agreement, Link, SessionContext, SessionEnd } from "./link.ts";
import { WillMessage } from "./message.ts";
import {
  type ConnectEdit,
  type ConnectView,
  editConnect,
  encodeAnswer,
  encodeConnack,
  encodeDisconnect,
  encodePingreq,
  limitsOfClient,
  MAX_PACKET_BYTES,
  PacketError,
  type PacketLimits,
  PacketReader,
  PacketType,
  PropertyId,
  type ProtocolVersion,
  ReasonCode,
} from "../packet/mod.ts";
import { PendingTable } from "./pending_filters.ts";
import { PublishFlow, reasonFor } from "./publish_flow.ts";
import { ReadAhead } from "./read_ahead.ts";
import { logEnd, logFailure, logHandshake } from "./log.ts";
import { endStream } from "./stream_end.ts";
import { StreamWriter } from "./stream_writer.ts";
import type { ByteStream } from "../transport/byte_stream.ts";
import type { DialClient } from "../transport/dial.ts";
import type { AcceptedConnection } from "../transport/listen.ts";
import { UpstreamPath } from "./upstream_path.ts";

const PINGREQ = encodePingreq();

/** A CONNACK of MQTT 5 with an empty property list (3.2). */
const MIN_CONNACK_BYTES_5 = 5;

/** What a client gets while the audit log is required and cannot be written. */
const AUDIT_FAILED = deny(
  ReasonCode.SERVER_UNAVAILABLE,
  "the audit log cannot be written",
);

/** A login that takes longer than this is watched, to notice a client that gives up. */
const WATCH_AFTER_MS = 20;

/** A connected broker. */
export interface ConnectedBroker {
  readonly stream: ByteStream;
  /** Its URL. */
  readonly target: string;
}

/** Where clients come in, and where they go to: one for all of a listener's sessions. */
export interface SessionPlace {
  /** `mqtts://127.0.0.1:8883`. */
  readonly listener: string;
  /** Whether it is TLS. */
  readonly secure: boolean;
  /** Connects to the broker of a client. */
  dial(
    clientId: string,
    client: DialClient,
    signal: AbortSignal,
  ): Promise<ConnectedBroker>;
}

/** A client's session; see the module's flow. */
export class Session implements MqttSession, Link {
  readonly id: number;
  readonly context: SessionContext;
  readonly agreement: Agreement = {
    clientMaxPacketBytes: Infinity,
    problemInformation: true,
    brokerMaxPacketBytes: Infinity,
    maximumQos: 2,
    retainAvailable: true,
    authenticationMethod: undefined,
    keepAliveSeconds: 0,
    assignedClientId: undefined,
  };
  readonly subscribing: PendingTable = new PendingTable();
  readonly unsubscribing: PendingTable = new PendingTable();
  clientId = "";
  username: string | undefined;
  version: ProtocolVersion = 4;
  cleanStart = true;
  userProperties: readonly UserProperty[] = [];
  target = "";
  ownPings = 0;
  isAccepted = false;
  isOver = false;
  /** Called once, when hooks and policy have allowed its CONNECT. */
  onProved: (() => void) | undefined;

  readonly #place: SessionPlace;
  #connection: AcceptedConnection | undefined;
  #dialling: AbortController | undefined;
  #client: ReadAhead;
  #broker: ByteStream | undefined;
  #up: UpstreamPath | undefined;
  #down: DownstreamPath | undefined;
  #toClient: StreamWriter | undefined;
  #toBroker: StreamWriter | undefined;
  #upFlow: PublishFlow | undefined;
  #downFlow: PublishFlow | undefined;
  #accepted = Promise.withResolvers<void>();
  /** Whether a CONNECT was read: then the session is counted and its end told. */
  #isKnown = false;
  #state: Map<unknown, unknown> | undefined;
  /** When it must have ended, where the gateway goes down. */
  #drainByMs: number | undefined;
  /** When the broker must have sent its CONNACK. */
  #answerByMs = Infinity;
  /** As the broker will know it, which decides which broker it is. */
  #brokerClientId = "";
  #pingedMs: number | undefined;
  readonly #brokerWatch = new BrokerWatch();
  /** How it ends once the client's DISCONNECT was forwarded, and when at the latest. */
  #leaving: SessionEnd | undefined;
  #leaveByMs = Infinity;
  #endings: Promise<void>[] = [];
  #runs: Promise<void>[] = [];

  /** Takes a connection, which belongs to the session from then on. */
  constructor(
    id: number,
    context: SessionContext,
    place: SessionPlace,
    connection: AcceptedConnection,
  ) {
    this.id = id;
    this.context = context;
    this.#place = place;
    this.#connection = connection;
    this.#client = new ReadAhead(connection.stream);
  }

  // What hooks and directions see.

  get state(): Map<unknown, unknown> {
    return this.#state ??= new Map();
  }

  get listener(): string {
    return this.#place.listener;
  }

  get isLeaving(): boolean {
    return this.#leaving !== undefined;
  }

  get isDraining(): boolean {
    return this.#drainByMs !== undefined;
  }

  get remote(): Address {
    return this.#client.remote;
  }

  get certificate(): PeerCertificate | undefined {
    return this.#client.certificate;
  }

  get hasUntrustedCertificate(): boolean {
    return this.#client.hasUntrustedCertificate ?? false;
  }

  get keepAliveSeconds(): number {
    return this.agreement.keepAliveSeconds;
  }

  get session(): MqttSession {
    return this;
  }

  get toClient(): StreamWriter {
    return this.#toClient!;
  }

  get toBroker(): StreamWriter {
    return this.#toBroker!;
  }

  get upFlow(): PublishFlow {
    return this.#upFlow!;
  }

  get downFlow(): PublishFlow {
    return this.#downFlow!;
  }

  // The flow.

  /** Runs the session to its end; never rejects. */
  async run(): Promise<void> {
    try {
      const connect = await this.#readConnect();
      const packet = connect && await this.#authorize(connect);
      if (packet && await this.#connectBroker()) await this.#relay(packet);
    } catch (error) {
      this.fail(error);
    }
    await Promise.allSettled(this.#endings);
    this.#client.close();
    this.#broker?.close();
  }

  async #readConnect(): Promise<ConnectView | undefined> {
    const { connectTimeoutMs } = this.context.settings;
    const deadline = setTimeout(
      () =>
        this.#finishUnknown(
          "connect_timeout",
          `no CONNECT within ${connectTimeoutMs} ms`,
        ),
      Math.max(0, connectTimeoutMs - this.#connection!.handshakeMs),
    );
    try {
      try {
        this.#client = new ReadAhead(await this.#connection!.open());
        this.#connection = undefined;
      } catch (error) {
        if (!this.isOver) this.#handshakeFailed(error as Error);
        this.#finishUnknown("client_lost", (error as Error).message);
        return undefined;
      }
      this.#toClient = new StreamWriter(this.#client, this.context.now);
      this.#up = new UpstreamPath(this, this.#client);
      const arrived = await this.#up.first();
      if (arrived && !this.isOver) return this.#up.reader.connect;
      this.#finishUnknown("client_lost", "the client sent no CONNECT");
    } catch (error) {
      if (error instanceof PacketError) {
        this.finish({
          reason: "client_protocol_error",
          reasonCode: error.reasonCode,
          detail: error.message,
          toClient: encodeAnswer(error, {
            connackSent: false,
            reasonString: error.message,
          }),
        });
      } else this.#finishUnknown("client_lost", (error as Error).message);
    } finally {
      clearTimeout(deadline);
    }
    return undefined;
  }

  #handshakeFailed(error: Error): void {
    this.context.metrics.turnedAway("websocket_handshake");
    logHandshake(this.context.log, this, error);
  }

  /** Asks the hooks about a CONNECT; returns the one to send, or undefined where the session ended. */
  async #authorize(arrived: ConnectView): Promise<ConnectView | undefined> {
    const { hooks, metrics, audit } = this.context;
    this.#learn(arrived);
    this.#isKnown = true;
    metrics.connected(this.listener, this.version);
    if (this.#takesNoConnack()) return undefined;

    let connect = arrived;
    if (hooks.has("intercept")) {
      const draft = new InterceptDraft(
        PacketType.CONNECT,
        arrived.bytes() as Uint8Array<ArrayBuffer>,
      );
      const answer = hooks.intercept(this, draft, "upstream");
      let denial = await this.#decided("intercept", answer);
      if (!denial && draft.changed) {
        try {
          connect = readConnect(draft.bytes, this.version);
          this.#learn(connect);
        } catch (error) {
          denial = hooks.failed("intercept", this, error);
        }
      }
      if (this.isOver) return undefined;
      if (denial) return this.#refuse(denial);
    }

    const draft = new ConnectDraft(connect);
    const answer = hooks.authConnect(this, draft);
    const watch = answer instanceof Promise ? this.#watchClient() : undefined;
    const denial = await this.#decided(
      "authConnect",
      answer,
      hooks.extraConnectMs,
    );
    watch?.[Symbol.dispose]();
    if (this.isOver) return undefined;
    this.username = denial ? undefined : draft.identity;
    audit?.event(denial ? "connect_denied" : "connect_allowed", this, {
      version: this.version,
      claimedUsername: denial && connect.username,
      reasonCode: denial?.reasonCode,
      reason: denial?.reason,
    });
    if (denial) return this.#refuse(denial);
    if (audit?.blocksSessions) return this.#refuse(AUDIT_FAILED);
    this.agreement.maximumQos = draft.maximumQos;
    this.agreement.retainAvailable = draft.retainAvailable;
    const edit: ConnectEdit = draft.edit();
    const { clientId } = edit;
    if (clientId !== undefined && this.clientId === "") {
      // [MQTT-3.2.2-16]: a client that gave no identifier is told which it got.
      this.agreement.assignedClientId = this.clientId = clientId;
    }
    this.#brokerClientId = draft.clientId;

    if (connect.hasWill && hooks.has("authWill")) {
      const will = new WillMessage(connect);
      const denial = await this.#decided(
        "authWill",
        hooks.authWill(this, will),
      );
      if (this.isOver) return undefined;
      if (denial) {
        audit?.event("will_denied", this, {
          topic: will.originalTopic,
          reasonCode: denial.reasonCode,
          reason: denial.reason,
        });
        return this.#refuse(denial);
      }
      if (will.changed) edit.will = will.edit();
    }
    this.onProved?.();
    return this.#edited(connect, edit);
  }

  /** Ends a session whose client cannot be sent any CONNACK [MQTT-3.1.2-24]. */
  #takesNoConnack(): boolean {
    const { clientMaxPacketBytes } = this.agreement;
    if (clientMaxPacketBytes >= MIN_CONNACK_BYTES_5) return false;
    this.finish({
      reason: "client_protocol_error",
      reasonCode: ReasonCode.PACKET_TOO_LARGE,
      detail:
        `CONNECT has a Maximum Packet Size of ${clientMaxPacketBytes}, and a CONNACK has ${MIN_CONNACK_BYTES_5} bytes`,
    });
    return true;
  }

  /** A client that gives up while its login is decided must not keep its place in a queue. */
  #watchClient(): Disposable {
    let isDeciding = true;
    const timer = setTimeout(() => {
      this.#client.watch(() => {
        if (!isDeciding) return;
        this.finish({
          reason: "client_lost",
          reasonCode: 0,
          detail: "the client closed before its CONNECT was decided",
        });
      });
    }, WATCH_AFTER_MS);
    return {
      [Symbol.dispose]() {
        isDeciding = false;
        clearTimeout(timer);
      },
    };
  }

  /** Remembers what a CONNECT says. Who sent it is for `authConnect` to say. */
  #learn(connect: ConnectView): void {
    const { agreement } = this;
    const { properties } = connect;
    this.version = connect.version;
    this.clientId = connect.clientId;
    this.cleanStart = connect.cleanStart;
    this.userProperties = properties.userProperties();
    agreement.keepAliveSeconds = connect.keepAliveSeconds;
    agreement.clientMaxPacketBytes =
      properties.number(PropertyId.MAXIMUM_PACKET_SIZE) ?? Infinity;
    agreement.problemInformation =
      properties.number(PropertyId.REQUEST_PROBLEM_INFORMATION) !== 0;
    agreement.authenticationMethod = properties.text(
      PropertyId.AUTHENTICATION_METHOD,
    );
  }

  /** The CONNECT with what hooks changed and the gateway's own limit in it. */
  #edited(connect: ConnectView, edit: ConnectEdit): ConnectView | undefined {
    const { maxPacketBytes } = this.context.settings;
    // The protocol's own maximum need not be stated.
    if (
      this.version === 5 && maxPacketBytes < MAX_PACKET_BYTES &&
      this.agreement.clientMaxPacketBytes > maxPacketBytes
    ) {
      const { properties = {} } = edit;
      edit.properties = {
        ...properties,
        set: [
          ...properties.set ?? [],
          { id: PropertyId.MAXIMUM_PACKET_SIZE, value: maxPacketBytes },
        ],
      };
    }
    if (Object.keys(edit).length === 0) return connect;
    try {
      return editConnect(connect, edit);
    } catch (error) {
      return this.#refuse(
        this.context.hooks.failed("authConnect", this, error),
      );
    }
  }

  #refuse(denial: Denial): undefined {
    const { version, agreement } = this;
    const reasonCode = reasonFor(
      PacketType.CONNACK,
      denial.reasonCode,
      "downstream",
    );
    this.finish({
      reason: "connect_denied",
      reasonCode,
      detail: denial.reason ?? "the CONNECT was denied",
      toClient: encodeConnack({
        version,
        reasonCode,
        maxPacketBytes: agreement.clientMaxPacketBytes,
        ...(version === 5 && denial.reason
          ? { reasonString: denial.reason }
          : {}),
      }),
    });
  }

  async #connectBroker(): Promise<boolean> {
    const dialling = this.#dialling = new AbortController();
    try {
      const { stream, target } = await this.#place.dial(this.#brokerClientId, {
        remote: this.remote,
        local: this.#client.local,
        secure: this.#place.secure,
        commonName: this.certificate?.commonName,
      }, dialling.signal);
      this.#broker = stream;
      this.target = target;
      return !this.isOver;
    } catch (error) {
      const { version } = this;
      this.finish({
        reason: "broker_unreachable",
        reasonCode: ReasonCode.SERVER_UNAVAILABLE,
        detail: (error as Error).message,
        toClient: encodeConnack({
          version,
          reasonCode: ReasonCode.SERVER_UNAVAILABLE,
        }),
      });
      return false;
    } finally {
      this.#dialling = undefined;
    }
  }

  async #relay(connect: ConnectView): Promise<void> {
    const { settings, now } = this.context;
    const { version, agreement } = this;
    const broker = this.#broker!;
    const toBroker = this.#toBroker = new StreamWriter(broker, now);
    this.#upFlow = new PublishFlow({
      version,
      writer: this.toClient,
      direction: "downstream",
      problemInformation: agreement.problemInformation,
      maxPacketBytes: agreement.clientMaxPacketBytes,
    });
    this.#downFlow = new PublishFlow({
      version,
      writer: toBroker,
      direction: "upstream",
      problemInformation: false,
      maxPacketBytes: Infinity,
    });
    this.#answerByMs = now() + settings.brokerTimeoutMs;
    // The packet is copied: what came behind it may move before it is sent.
    toBroker.add(connect.bytes());
    const up = this.#up!;
    const down = this.#down = new DownstreamPath(this, broker);
    if (version === 5) down.reader.limits = limitsOfClient(connect);
    this.#runs = [up.run(), down.run()];
    await Promise.all(this.#runs);
  }

  // What the directions say.

  untilAccepted(): Promise<void> {
    return this.#accepted.promise;
  }

  assignClientId(clientId: string): void {
    this.clientId = clientId;
  }

  accept(limits: PacketLimits | undefined): void {
    this.isAccepted = true;
    this.#up!.reader.limits = limits;
    const { maxPacketBytes } = this.context.settings;
    this.#up!.reader.maxPacketBytes = maxPacketBytes;
    this.#accepted.resolve();
  }

  leave(end: SessionEnd): void {
    if (this.version !== 5) return this.finish(end);
    this.#leaving = end;
    this.#leaveByMs = this.context.now() + this.context.settings.lingerMs;
  }

  finishWithReason(
    reason: EndReason,
    reasonCode: number,
    detail: string,
    toBroker?: Uint8Array,
  ): void {
    const { version, agreement, isAccepted } = this;
    const code = reasonFor(
      isAccepted ? PacketType.DISCONNECT : PacketType.CONNACK,
      reasonCode,
      "downstream",
    );
    const explained = {
      reasonCode: code,
      reasonString: detail,
      maxPacketBytes: agreement.clientMaxPacketBytes,
    };
    this.finish({
      reason,
      reasonCode: code,
      detail,
      toBroker,
      toClient: !this.#isKnown
        ? undefined
        : !isAccepted
        ? encodeConnack({ version, ...explained })
        : version === 5
        ? encodeDisconnect({ version, direction: "downstream", ...explained })
        : undefined,
    });
  }

  /** Ends the session by an error of the gateway or of a hook; never throws. */
  fail(error: unknown): void {
    try {
      logFailure(this.context.log, this, error);
      this.finishWithReason(
        "gateway_error",
        ReasonCode.UNSPECIFIED_ERROR,
        "the gateway failed",
      );
    } catch {
      // Nothing more can be said about it, but nothing may stay open.
      this.isOver = true;
      this.#dialling?.abort(error);
      this.#accepted.resolve();
      this.#client.close();
      this.#broker?.close();
    }
  }

  // What hooks, the clock and the gateway say.

  end(options: EndSessionOptions = {}): void {
    const {
      reasonCode = ReasonCode.ADMINISTRATIVE_ACTION,
      will = "publish",
      reason = "ended by the gateway",
    } = options;
    this.finishWithReason(
      "ended",
      reasonCode,
      reason,
      will === "discard" ? this.#goodbye() : undefined,
    );
  }

  /** Ends at once: another connection needs its place. */
  displace(): void {
    this.finish({
      reason: "displaced",
      reasonCode: 0,
      detail: "closed to make room for another connection",
    });
    this.#client.close();
  }

  /**
   * The gateway goes down: what was read goes on, nothing more is read. The
   * will is published, as the client is lost to the broker.
   */
  drain(): void {
    if (this.#drainByMs === undefined) {
      const { settings, now } = this.context;
      this.#drainByMs = now() + settings.lingerMs;
    }
    if (this.#down && (this.#up!.isBusy || this.#down.isBusy)) return;
    this.#finishDrained();
  }

  #finishDrained(): void {
    this.finishWithReason(
      "drained",
      // A CONNACK has no code for it.
      this.isAccepted
        ? ReasonCode.SERVER_SHUTTING_DOWN
        : ReasonCode.SERVER_UNAVAILABLE,
      "the gateway shuts down",
    );
  }

  /** Looks after the keep-alive; called a few times a second. */
  tick(nowMs: number): void {
    const up = this.#up;
    const down = this.#down;
    if (this.isOver || !up || !down) return;
    if (this.#drainByMs !== undefined && nowMs > this.#drainByMs) {
      return this.#finishDrained();
    }
    if (this.#leaving && nowMs > this.#leaveByMs) {
      return this.finish(this.#leaving);
    }
    if (!this.isAccepted) {
      if (nowMs > this.#answerByMs) this.#missConnack();
      return;
    }
    if (this.ownPings === 0) this.#pingedMs = undefined;
    const action = keepAliveAction({
      keepAliveSeconds: this.agreement.keepAliveSeconds,
      heardMs: up.heardMs,
      isReading: up.isReading,
      toldBrokerMs: this.toBroker.wroteAtMs,
      pingedMs: this.#pingedMs,
      isReadingBroker: down.isReading,
      ...this.#brokerWatch.look(down, this.toBroker, nowMs),
      answerTimeoutMs: this.context.settings.brokerTimeoutMs,
      clientStalledMs: this.toClient.stalledSinceMs,
      clientTimeoutMs: this.context.settings.clientTimeoutMs,
    }, nowMs);
    switch (action) {
      case "client_is_silent":
        this.finishWithReason(
          "client_keep_alive",
          ReasonCode.KEEP_ALIVE_TIMEOUT,
          `nothing came for 1.5 times ${this.keepAliveSeconds} s`,
        );
        break;
      case "client_is_stuck":
        this.finish({
          reason: "client_lost",
          reasonCode: 0,
          detail: `the client took nothing for ${
            this.context.settings.clientTimeoutMs / 1000
          } s`,
        });
        break;
      case "broker_is_silent":
        this.finishWithReason(
          "broker_timeout",
          ReasonCode.SERVER_BUSY,
          "the broker does not answer",
        );
        break;
      case "ping_broker":
        // A broker that takes no bytes needs no more of them.
        if (this.toBroker.addedBytes > 0) break;
        this.toBroker.add(PINGREQ);
        this.ownPings++;
        this.#pingedMs ??= nowMs;
    }
  }

  #missConnack(): void {
    const { brokerTimeoutMs } = this.context.settings;
    this.finishWithReason(
      "broker_timeout",
      ReasonCode.SERVER_UNAVAILABLE,
      `no CONNACK within ${brokerTimeoutMs} ms`,
    );
  }

  // The end.

  finish(cause: SessionEnd): void {
    if (this.isOver) return;
    this.isOver = true;
    // After its DISCONNECT, whatever ends the session is that DISCONNECT.
    const end = this.#leaving ?? cause;
    this.#dialling?.abort(new Error(end.detail));
    this.#accepted.resolve();
    this.#up?.interrupt();
    this.#down?.interrupt();
    this.#endings.push(this.#endStream("client", end.toClient));
    if (this.#broker) {
      this.#endings.push(this.#endStream("broker", end.toBroker));
    }
    const { metrics, log } = this.context;
    metrics.ended(end.reason);
    const { reason, detail } = end;
    log.debug("session ended", {
      session: this.id,
      clientId: this.clientId,
      reason,
      detail,
    });
    logEnd(log, this, this.target, end, this.context.settings.maxPacketBytes);
    if (this.#isKnown) {
      this.#endings.push(
        this.#tellEnd(end).catch((error) => this.fail(error)),
      );
    }
  }

  #finishUnknown(reason: EndReason, detail: string): void {
    this.finish({ reason, reasonCode: 0, detail });
  }

  /** Ends a connection, with a last packet where there is something to say. */
  async #endStream(
    side: "client" | "broker",
    last: Uint8Array | undefined,
  ): Promise<void> {
    const stream = side === "client" ? this.#client : this.#broker!;
    const writer = side === "client" ? this.#toClient : this.#toBroker;
    // Nothing to say, and somebody may be reading: a second read cannot be.
    if (!this.#isKnown && last === undefined) return stream.close();
    const reading = () => side === "client" ? this.#runs[0] : this.#runs[1];
    const { lingerMs } = this.context.settings;
    await endStream({ stream, writer, reading }, last, lingerMs);
  }

  async #tellEnd(end: SessionEnd): Promise<void> {
    const { hooks, metrics, audit, settings } = this.context;
    const { reason, reasonCode, detail } = end;
    metrics.disconnected(this.listener, this.version);
    audit?.event("disconnect", this, { reason, reasonCode, detail });
    const notified = hooks.disconnect(this, { reason, reasonCode, detail });
    if (notified) await within(notified, settings.hookTimeoutMs);
  }

  /** A DISCONNECT to the broker, which then forgets the will [MQTT-3.14.4-3]. */
  #goodbye(): Uint8Array | undefined {
    if (!this.isAccepted) return undefined;
    return encodeDisconnect({ version: this.version, direction: "upstream" });
  }

  async #decided(
    name: HookName,
    answer: Decision | Promise<Decision>,
    extraMs = 0,
  ): Promise<Decision> {
    if (!(answer instanceof Promise)) return answer;
    const limitMs = this.context.settings.hookTimeoutMs + extraMs;
    const decided = await within(
      answer.then((decision) => ({ decision })),
      limitMs,
    );
    if (decided) return decided.decision;
    return this.context.hooks.timedOut(name, this, limitMs);
  }
}

/** What a promise comes to within a time, or undefined. */
async function within<Value>(
  promise: Promise<Value>,
  timeoutMs: number,
): Promise<Value | undefined> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), timeoutMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Reads a CONNECT that a hook gave. */
function readConnect(
  bytes: Uint8Array,
  version: ProtocolVersion,
): ConnectView {
  const reader = new PacketReader({
    direction: "upstream",
    maxPacketBytes: Infinity,
  });
  reader.push(bytes);
  if (!reader.next() || reader.framer.end < bytes.length) {
    throw new TypeError("A CONNECT can only become another one");
  }
  if (reader.connect.version !== version) {
    throw new TypeError("The version of a CONNECT cannot be changed");
  }
  return reader.connect;
}
