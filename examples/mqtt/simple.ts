/**
 * Writes down what every client does and lets everything pass.
 *
 * deno run -A jsr:@mproxy/mqtt --listen mqtt://:1884 --target mqtt://127.0.0.1:1883 --hooks examples/mqtt/simple.ts
 */
import type { MqttHooks, MqttSession } from "@mproxy/mproxy/mqtt";

function say(session: MqttSession, what: string): void {
  const who = session.username === undefined
    ? session.clientId
    : `${session.username} as ${session.clientId}`;
  // deno-lint-ignore no-console
  console.error(`${session.id} ${who}: ${what}`);
}

const hooks: MqttHooks = {
  authConnect: (session) => say(session, "wants to connect"),
  connect: (session, { sessionPresent }) =>
    say(session, `connected${sessionPresent ? " to its session" : ""}`),
  authPublish: (session, { topic, payload }) =>
    say(session, `wants to publish ${payload.length} bytes to ${topic}`),
  publish: (session, { topic }) => say(session, `published to ${topic}`),
  authSubscribe: (session, { filters }) =>
    say(
      session,
      `wants to subscribe to ${filters.map(({ filter }) => filter).join(", ")}`,
    ),
  subscribe: (session, { filters, reasonCodes }) =>
    say(session, `subscribed to ${filters.join(", ")}: ${reasonCodes}`),
  unsubscribe: (session, { filters }) =>
    say(session, `unsubscribed from ${filters.join(", ")}`),
  disconnect: (session, { reason, detail }) =>
    say(session, `is gone: ${reason}, ${detail}`),
};

export default hooks;
