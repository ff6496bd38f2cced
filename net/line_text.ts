/** Lines of bounded length, whatever was put in them. */

const encoder = new TextEncoder();

/** Room for the mark: `...[4294967296 bytes cut]`. */
const MARK_BYTES = 32;

/** A text of at most so many bytes of UTF-8; what is cut off is counted in a mark at its end. */
export function capText(text: string, maxBytes: number): string {
  if (text.length * 3 <= maxBytes) return text;
  const bytes = new Uint8Array(maxBytes);
  const { read } = encoder.encodeInto(text, bytes);
  if (read === text.length) return text;
  const keptBytes = Math.max(0, maxBytes - MARK_BYTES);
  const kept = encoder.encodeInto(text, bytes.subarray(0, keptBytes));
  const total = encoder.encode(text).length;
  return `${text.slice(0, kept.read)}...[${total - kept.written} bytes cut]`;
}

/** Where the shortening of a JSON line begins and ends, in characters of a text. */
const FIRST_TEXT_LENGTH = 2048;
const LAST_TEXT_LENGTH = 8;

/** Texts and lists that are kept whole in proportion: a list of names says more by fewer. */
const CHARACTERS_PER_ITEM = 32;

/**
 * JSON of at most so many bytes: long texts and lists in it are shortened, with
 * a mark, until it fits, so that it stays JSON. Only many short fields can be
 * too long after that.
 */
export function jsonLine(
  record: Readonly<Record<string, unknown>>,
  maxBytes: number,
): string {
  let json = JSON.stringify(record);
  for (
    let length = FIRST_TEXT_LENGTH;
    !fits(json, maxBytes) && length >= LAST_TEXT_LENGTH;
    length /= 2
  ) {
    json = JSON.stringify(record, (_key, value) => shorten(value, length));
  }
  return json;
}

function fits(json: string, maxBytes: number): boolean {
  return json.length * 3 <= maxBytes || encoder.encode(json).length <= maxBytes;
}

function shorten(value: unknown, length: number): unknown {
  if (typeof value === "string" && value.length > length) {
    const cut = value.length - length;
    return `${value.slice(0, length)}...[${cut} characters cut]`;
  }
  const items = Math.ceil(length / CHARACTERS_PER_ITEM);
  if (Array.isArray(value) && value.length > items) {
    const cut = value.length - items;
    return [...value.slice(0, items), `...[${cut} items cut]`];
  }
  return value;
}
