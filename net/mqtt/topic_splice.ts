/**
 * The front of a PUBLISH with another topic: fixed header and topic. What
 * follows stays, so that the change of prefix that many gateways do to every
 * message costs two copies. Pure.
 */
import { MAX_REMAINING_LENGTH, type PublishView } from "./packet/mod.ts";

/** One byte, a length of four, and a topic with its length. */
const MAX_FRONT_BYTES = 5 + 2 + 65535;

const encoder = new TextEncoder();

/** Makes fronts in memory of its own. */
export class TopicSplice {
  #front = new Uint8Array(0);
  #lastTopic = "";
  #lastUtf8 = new Uint8Array(0);

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
    if (topic !== this.#lastTopic) {
      this.#lastUtf8 = encoder.encode(topic);
      this.#lastTopic = topic;
    }
    const utf8 = this.#lastUtf8;
    if (utf8.length > 65535) return undefined;
    const body = 2 + utf8.length + view.end - view.topicEnd;
    if (body > MAX_REMAINING_LENGTH) return undefined;
    if (this.#front.length < utf8.length + 7) {
      this.#front = new Uint8Array(
        Math.min(MAX_FRONT_BYTES, 2 * (utf8.length + 7)),
      );
    }
    const front = this.#front;
    front[0] = view.buffer[view.start]!;
    let at = 1;
    let rest = body;
    while (rest > 0x7f) {
      front[at++] = rest & 0x7f | 0x80;
      rest >>= 7;
    }
    front[at++] = rest;
    if (at + body > maxBytes) return undefined;
    front[at++] = utf8.length >> 8;
    front[at++] = utf8.length & 0xff;
    front.set(utf8, at);
    return front.subarray(0, at + utf8.length);
  }
}
