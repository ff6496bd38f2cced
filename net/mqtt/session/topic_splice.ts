/**
 * The front of a PUBLISH with another topic: fixed header and topic. What
 * follows stays, so that the change of prefix that many gateways do to every
 * message costs two copies. Pure.
 */
import { MAX_REMAINING_LENGTH, type PublishView } from "../packet/mod.ts";
import { writeUtf8 } from "../packet/utf8.ts";
import { varintBytes, writeVarint } from "../packet/writer.ts";

/** One byte, a length of four and the topic's length. */
const MAX_HEADER_BYTES = 7;
const MAX_TOPIC_BYTES = 65535;
const MAX_KEPT_BYTES = 4096;

/** Makes fronts in memory of its own. */
export class TopicSplice {
  #front = new Uint8Array(0);

  /**
   * The front, valid until the next call; the packet goes on at its
   * `topicEnd`. Undefined where the packet would be beyond `maxBytes` or the
   * topic longer than one can be.
   */
  front(
    view: PublishView,
    topic: string,
    maxBytes: number,
  ): Uint8Array | undefined {
    if (topic.length > MAX_TOPIC_BYTES) return undefined;
    const room = MAX_HEADER_BYTES + 3 * topic.length;
    const front = this.#memory(room);
    const end = writeUtf8(topic, front, MAX_HEADER_BYTES);
    const topicBytes = end - MAX_HEADER_BYTES;
    if (topicBytes > MAX_TOPIC_BYTES) return undefined;
    const body = 2 + topicBytes + view.end - view.topicEnd;
    if (body > MAX_REMAINING_LENGTH) return undefined;
    const start = MAX_HEADER_BYTES - 3 - varintBytes(body);
    if (end - start + view.end - view.topicEnd > maxBytes) return undefined;
    front[start] = view.buffer[view.start]!;
    writeVarint(front, start + 1, body);
    front[MAX_HEADER_BYTES - 2] = topicBytes >> 8;
    front[MAX_HEADER_BYTES - 1] = topicBytes & 0xff;
    return front.subarray(start, end);
  }

  /** Kept for the next topic, but for what few topics need. */
  #memory(bytes: number): Uint8Array {
    if (this.#front.length >= bytes) return this.#front;
    if (bytes > MAX_KEPT_BYTES) return new Uint8Array(bytes);
    return this.#front = new Uint8Array(Math.min(2 * bytes, MAX_KEPT_BYTES));
  }
}
