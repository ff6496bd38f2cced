/**
 * Lets each client publish ten messages a second, a hundred at once. Messages
 * of QoS 1 and 2 beyond that wait, and with them everything behind them, so
 * that nothing is lost and the client slows down; those of QoS 0, which may be
 * lost, are dropped. (`--policy` has a limit without code that lets all wait.)
 *
 * deno run -A jsr:@mproxy/mqtt --listen mqtt://:1884 --target mqtt://127.0.0.1:1883 --hooks examples/mqtt/rate_limit.ts
 */
import { deny, type MqttHooks, TokenBucket } from "@mproxy/mproxy/mqtt";

const PER_SECOND = 10;
const AT_ONCE = 100;
const MESSAGE_RATE_TOO_HIGH = 0x96;

const hooks: MqttHooks = {
  authConnect(session) {
    session.state.set(
      "bucket",
      new TokenBucket(PER_SECOND, AT_ONCE, performance.now()),
    );
  },
  authPublish(session, { qos }) {
    const bucket = session.state.get("bucket") as TokenBucket;
    const now = performance.now();
    if (qos === 0) {
      return bucket.tryTake(1, now) ? undefined : deny(MESSAGE_RATE_TOO_HIGH);
    }
    const waitMs = bucket.take(1, now);
    if (waitMs === 0) return;
    return new Promise<undefined>((resolve) => {
      setTimeout(() => resolve(undefined), waitMs);
    });
  },
};

export default hooks;
