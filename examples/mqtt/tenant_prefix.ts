/**
 * Gives every tenant a broker of its own on one broker: all topics of a client
 * get its tenant's prefix on the way to the broker and lose it on the way
 * back, also in wills, response topics and shared subscriptions. Aliases are
 * the gateway's care. The tenant is what stands before the first `:` of the
 * username: `acme:sensor-7`.
 *
 * deno run -A jsr:@mproxy/mqtt --listen mqtt://:1884 --target mqtt://127.0.0.1:1883 --hooks examples/mqtt/tenant_prefix.ts
 */
import {
  deny,
  type MessageChange,
  type MessageRequest,
  type MqttHooks,
  type MqttSession,
} from "@mproxy/mproxy/mqtt";

/** Where a tenant's topics lie. */
function prefixOf(session: MqttSession): string {
  return `tenants/${session.state.get("tenant")}/`;
}

function withPrefix(
  session: MqttSession,
  { topic, responseTopic }: MessageRequest,
): MessageChange {
  const prefix = prefixOf(session);
  return {
    topic: prefix + topic,
    ...(responseTopic === undefined
      ? {}
      : { responseTopic: prefix + responseTopic }),
  };
}

const hooks: MqttHooks = {
  authConnect(session, { username, clientId }) {
    const [tenant, name] = username?.split(":", 2) ?? [];
    if (!tenant || !name || /[+#/]/.test(tenant)) {
      return deny(0x86, "TENANT:NAME is wanted as the user name");
    }
    session.state.set("tenant", tenant);
    // Two tenants may have a client of the same name. One that has none gets
    // it from the broker.
    return clientId === "" ? undefined : { clientId: `${tenant}:${clientId}` };
  },
  authWill: withPrefix,
  authPublish: withPrefix,
  authSubscribe: (session, { filters }) =>
    // `#` and `+` do not match topics with a $ in front: those of the broker
    // itself stay out of reach behind the prefix.
    filters.map(({ filter }) => ({ filter: prefixOf(session) + filter })),
  authUnsubscribe: (session, { filters }) =>
    filters.map(({ filter }) => ({ filter: prefixOf(session) + filter })),
  deliver(session, { topic, responseTopic }) {
    const prefix = prefixOf(session);
    if (!topic.startsWith(prefix)) return deny();
    return {
      topic: topic.slice(prefix.length),
      ...(responseTopic?.startsWith(prefix)
        ? { responseTopic: responseTopic.slice(prefix.length) }
        : {}),
    };
  },
};

export default hooks;
