/**
 * Topic names and topic filters as they lie in a packet (4.7 and, in 5.0,
 * 4.8.2), checked together with their UTF-8.
 */
import { checkUtf8, UTF8_GOOD } from "./utf8.ts";
import { failText, type PropertyOwner } from "./properties.ts";
import { ReasonCode } from "./protocol.ts";

const SLASH = 0x2f;
const PLUS = 0x2b;
const HASH = 0x23;

/** Checks a topic name of one byte or more; the clauses are those of wildcards in it. */
export function checkTopicName(
  owner: PropertyOwner,
  start: number,
  end: number,
  clause4: string,
  clause5: string,
): void {
  const { buffer } = owner;
  let ascii = true;
  for (let at = start; at < end; at++) {
    const byte = buffer[at]!;
    if (byte === HASH || byte === PLUS) {
      owner.fail(
        ReasonCode.TOPIC_NAME_INVALID,
        "has a wildcard in a topic name",
        clause4,
        clause5,
      );
    }
    if (((byte - 1) >>> 0) >= 0x7f) ascii = false;
  }
  if (!ascii) {
    const verdict = checkUtf8(buffer, start, end);
    if (verdict !== UTF8_GOOD) failText(owner, verdict);
  }
}

/**
 * Checks a topic filter; in 5.0 also the form of a shared one, in older
 * versions `$share` means nothing. Returns whether it is a shared one.
 */
export function checkTopicFilter(
  owner: PropertyOwner,
  start: number,
  end: number,
  five: boolean,
): boolean {
  const { buffer } = owner;
  if (start === end) {
    owner.fail(
      ReasonCode.TOPIC_FILTER_INVALID,
      "has an empty topic filter",
      "MQTT-4.7.3-1",
    );
  }
  const verdict = checkUtf8(buffer, start, end);
  if (verdict !== UTF8_GOOD) failText(owner, verdict);
  const shared = five && startsWithShare(buffer, start, end);
  let filterStart = start;
  if (shared) {
    let at = start + SHARE.length;
    const nameStart = at;
    while (at < end && buffer[at] !== SLASH) {
      if (buffer[at] === HASH || buffer[at] === PLUS) failShare(owner, 2);
      at++;
    }
    if (at === nameStart) failShare(owner, 1);
    if (at + 1 >= end) failShare(owner, 2);
    filterStart = at + 1;
  }
  for (let at = filterStart; at < end; at++) {
    const byte = buffer[at]!;
    if (byte !== HASH && byte !== PLUS) continue;
    const aloneBefore = at === filterStart || buffer[at - 1] === SLASH;
    if (byte === HASH && (!aloneBefore || at + 1 < end)) {
      owner.fail(
        ReasonCode.TOPIC_FILTER_INVALID,
        "has a # that is not the last level of its topic filter",
        "MQTT-4.7.1-2",
        "MQTT-4.7.1-1",
      );
    }
    if (!aloneBefore || at + 1 < end && buffer[at + 1] !== SLASH) {
      owner.fail(
        ReasonCode.TOPIC_FILTER_INVALID,
        "has a + that is not a whole level of its topic filter",
        "MQTT-4.7.1-3",
        "MQTT-4.7.1-2",
      );
    }
  }
  return shared;
}

/** `$share/` */
const SHARE: readonly number[] = [0x24, 0x73, 0x68, 0x61, 0x72, 0x65, SLASH];

// `$share` alone, without a slash, is a filter like any other by its form, but
// MQTT-4.8.2-1 wants what starts so to be a whole one.
function startsWithShare(
  buffer: Uint8Array,
  start: number,
  end: number,
): boolean {
  if (end - start < SHARE.length) return false;
  for (let i = 0; i < SHARE.length; i++) {
    if (buffer[start + i] !== SHARE[i]) return false;
  }
  return true;
}

function failShare(owner: PropertyOwner, clause: 1 | 2): never {
  return owner.fail(
    ReasonCode.TOPIC_FILTER_INVALID,
    clause === 1
      ? "has a shared topic filter without a share name"
      : "has a shared topic filter whose name is not followed by a filter",
    `MQTT-4.8.2-${clause}`,
  );
}
