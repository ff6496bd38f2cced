/**
 * Lets only readings through that are what they should be: JSON with a
 * temperature within reason below `sensors/`, and nothing else there. MQTT 5
 * clients are told what is wrong.
 *
 * deno run -A jsr:@mproxy/mqtt --listen mqtt://:1884 --target mqtt://127.0.0.1:1883 --hooks examples/mqtt/payload_schema.ts
 */
import { deny, type MqttHooks, topicMatches } from "@mproxy/mproxy/mqtt";
import * as v from "valibot";

const reading = v.strictObject({
  celsius: v.pipe(v.number(), v.minValue(-90), v.maxValue(60)),
  at: v.pipe(v.string(), v.isoTimestamp()),
  unit: v.optional(v.literal("C")),
});

const PAYLOAD_FORMAT_INVALID = 0x99;

const hooks: MqttHooks = {
  authPublish(_session, { topic, payload }) {
    if (!topicMatches("sensors/#", topic)) return;
    let document: unknown;
    try {
      document = JSON.parse(
        new TextDecoder("utf-8", { fatal: true }).decode(payload),
      );
    } catch {
      return deny(PAYLOAD_FORMAT_INVALID, "JSON is wanted");
    }
    const { success, issues } = v.safeParse(reading, document);
    if (success) return;
    const [issue] = issues;
    return deny(
      PAYLOAD_FORMAT_INVALID,
      `${v.getDotPath(issue) ?? "it"}: ${issue.message}`,
    );
  },
};

export default hooks;
