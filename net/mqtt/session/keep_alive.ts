/**
 * When a session's keep-alive requires an action (3.1.2.10), and whether its
 * broker still answers. Pure: all times are arguments, in milliseconds of one
 * clock.
 */

/** What is known of one session. */
export interface KeepAliveState {
  /** What client and broker agreed on; 0 for none. */
  keepAliveSeconds: number;
  /** When the last whole packet of the client came, or reading it was resumed. */
  heardMs: number;
  /** Whether the client is being read: what waits in a paused connection is not its silence. */
  isReading: boolean;
  /** When the broker was last sent anything. */
  toldBrokerMs: number;
  /** When the first of the gateway's own PINGREQs went out that are not answered, or undefined. */
  pingedMs: number | undefined;
  /** Whether the broker is being read. */
  isReadingBroker: boolean;
  /**
   * Since when the broker has been sent bytes and nothing has come back, or
   * undefined. Default: undefined.
   */
  unansweredMs?: number | undefined;
  /** Bytes that the broker was sent since it was last heard. Default: 0. */
  unansweredBytes?: number | undefined;
  /** Since when the broker has taken nothing of a write, or undefined. */
  brokerStalledMs?: number | undefined;
  /** How long a broker that was sent bytes may be silent. Default: no limit. */
  answerTimeoutMs?: number | undefined;
  /** Since when the client has taken nothing of a write, or undefined. */
  clientStalledMs?: number | undefined;
  /** How long a client may take nothing. Default: no limit. */
  clientTimeoutMs?: number | undefined;
}

/** What is to be done. */
export type KeepAliveAction =
  | "nothing"
  | "client_is_silent"
  | "client_is_stuck"
  | "ping_broker"
  | "broker_is_silent";

/**
 * A client that pings at its interval needs no help: the gateway speaks up a
 * little later, and before the 1.5 intervals after which the broker gives up.
 */
const PING_AFTER = 1.2;
/** [MQTT-3.1.2-24] in 3.1.1, [MQTT-3.1.2-22] in 5.0. */
const SILENT_AFTER = 1.5;
/** Share of the answer timeout after which the broker is asked for an answer. */
const PROBE_AFTER = 0.5;
/** The slowest link to a broker that is not taken for a silent one: 64 KB/s. */
const MIN_BYTES_PER_MS = 64;
/** What the buffers of both sockets hold at most: net.ipv4.tcp_wmem and tcp_rmem. */
const MAX_SOCKET_BYTES = 10 << 20;
/** A broker that is this late to answer is gone. */
const LEAST_ANSWER_MS = 10_000;

/**
 * A client that keeps sending would hide a broker that is stopped: not every
 * packet has an answer, but a PINGREQ does.
 */
function brokerAction(state: KeepAliveState, nowMs: number): KeepAliveAction {
  const { unansweredMs, unansweredBytes = 0, answerTimeoutMs = Infinity } =
    state;
  if (unansweredMs === undefined || !state.isReadingBroker) return "nothing";
  if (nowMs - (state.brokerStalledMs ?? nowMs) > answerTimeoutMs) {
    return "broker_is_silent";
  }
  // What the sockets hold comes first: a slow link needs its time for it.
  const limitMs = answerTimeoutMs +
    Math.min(unansweredBytes, MAX_SOCKET_BYTES) / MIN_BYTES_PER_MS;
  const silentMs = nowMs - unansweredMs;
  if (silentMs > limitMs) return "broker_is_silent";
  return silentMs > PROBE_AFTER * answerTimeoutMs &&
      state.pingedMs === undefined
    ? "ping_broker"
    : "nothing";
}

/** What a session's keep-alive asks for now. */
export function keepAliveAction(
  state: KeepAliveState,
  nowMs: number,
): KeepAliveAction {
  const { clientStalledMs = nowMs, clientTimeoutMs = Infinity } = state;
  if (nowMs - clientStalledMs > clientTimeoutMs) return "client_is_stuck";
  const action = brokerAction(state, nowMs);
  if (action !== "nothing") return action;
  const intervalMs = state.keepAliveSeconds * 1000;
  if (intervalMs === 0) return "nothing";
  if (state.isReading && nowMs - state.heardMs > SILENT_AFTER * intervalMs) {
    return "client_is_silent";
  }
  if (state.pingedMs !== undefined && state.isReadingBroker) {
    const patienceMs = Math.max(LEAST_ANSWER_MS, SILENT_AFTER * intervalMs);
    if (nowMs - state.pingedMs > patienceMs) return "broker_is_silent";
  }
  return nowMs - state.toldBrokerMs >= PING_AFTER * intervalMs
    ? "ping_broker"
    : "nothing";
}
