/**
 * Topics that a connection named lately: most clients name a few again and
 * again, and to compare is faster than to decode, and allocates nothing.
 */
import { decodeUtf8, isAsciiText } from "./utf8.ts";

/** Places for topics; each topic has two of them. */
const PLACE_BITS = 6;

/** Longer topics are decoded each time: what a client makes us keep is bounded. */
const MAX_KEPT_BYTES = 256;

/** Decodes topics. */
export class RecentTopics {
  #last = "";
  /** Made for the second topic: many connections have but one. */
  #places: string[] | undefined;

  /** The text of bytes that were found to be good UTF-8. */
  text(buffer: Uint8Array, start: number, end: number): string {
    if (isAsciiText(buffer, start, end, this.#last)) return this.#last;
    if (end - start > MAX_KEPT_BYTES) return decodeUtf8(buffer, start, end);
    if (this.#last === "") return this.#last = decodeUtf8(buffer, start, end);
    const places = this.#places ??= new Array<string>(1 << PLACE_BITS).fill("");
    const place = placeOf(buffer, start, end);
    const first = places[place]!;
    if (isAsciiText(buffer, start, end, first)) return this.#last = first;
    const second = places[place ^ 1]!;
    if (isAsciiText(buffer, start, end, second)) return this.#last = second;
    places[place ^ 1] = first;
    return this.#last = places[place] = decodeUtf8(buffer, start, end);
  }
}

/** FNV-1a, from the top where its bits are mixed best. */
function placeOf(buffer: Uint8Array, start: number, end: number): number {
  let hash = 0x811c9dc5;
  for (let at = start; at < end; at++) {
    hash = Math.imul(hash ^ buffer[at]!, 0x01000193);
  }
  return Math.imul(hash, 0x9e3779b1) >>> 32 - PLACE_BITS;
}
