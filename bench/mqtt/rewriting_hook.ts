/** A hook that changes every message. */
import type { MqttHooks } from "@mproxy/mproxy/mqtt";

const hooks: MqttHooks = {
  authPublish: (_session, { topic }) => ({ topic: `site/${topic}` }),
};

export default hooks;
