/**
 * Topic names and topic filters as texts (4.7 and, in 5.0, 4.8.2): their form,
 * what a filter matches, and whether one filter covers another. Pure.
 */

/** What stands before the filter of a shared subscription. */
const SHARE = "$share/";

/** Whether a text is a topic name: one character or more, no wildcard, no U+0000. */
export function isTopicName(topic: string): boolean {
  return topic !== "" && !/[#+\0]/.test(topic) && topic.isWellFormed();
}

/**
 * Whether a text is a topic filter: `#` only as the last level, `+` only as a
 * whole one. A shared one must have its name and its filter.
 */
export function isTopicFilter(filter: string): boolean {
  if (filter.includes("\0") || !filter.isWellFormed()) return false;
  if (filter.startsWith(SHARE) && sharedFilter(filter) === undefined) {
    return false;
  }
  const plain = withoutShare(filter);
  if (plain === "") return false;
  const levels = plain.split("/");
  return levels.every((level, index) =>
    level === "+" || level === "#" && index === levels.length - 1 ||
    !/[#+]/.test(level)
  );
}

/** A shared subscription: `$share/NAME/FILTER`. */
export interface SharedFilter {
  /** The name of the group. */
  readonly group: string;
  /** What its members are subscribed to. */
  readonly filter: string;
}

/** Whether a filter is meant as a shared one, well-formed or not. */
export function isShare(filter: string): boolean {
  return filter.startsWith(SHARE) || filter === "$share";
}

/** The two parts of a shared filter, or undefined where it is none. */
export function sharedFilter(filter: string): SharedFilter | undefined {
  const parts = /^\$share\/([^/+#]+)\/(.+)$/s.exec(filter);
  return parts ? { group: parts[1]!, filter: parts[2]! } : undefined;
}

/** The filter that decides what a subscription matches: without `$share/NAME/`. */
export function withoutShare(filter: string): string {
  return filter.startsWith(SHARE)
    ? sharedFilter(filter)?.filter ?? filter
    : filter;
}

/**
 * Whether a filter matches a topic name. A wildcard at the front does not
 * match a topic that begins with `$` (MQTT-4.7.2-1); `#` matches the parent
 * level too. Of a shared filter, the part behind the group's name counts.
 * MQTT 5.0, 4.7.
 */
export function topicMatches(filter: string, topic: string): boolean {
  const pattern = withoutShare(filter);
  if (topic.startsWith("$") && /^[#+]/.test(pattern)) return false;
  let at = 0;
  let from = 0;
  for (;;) {
    const level = levelAt(pattern, at);
    if (level === "#") return true;
    const name = levelAt(topic, from);
    if (level !== "+" && level !== name) return false;
    at += level.length + 1;
    from += name.length + 1;
    const filterEnds = at > pattern.length;
    if (from > topic.length) {
      return filterEnds || pattern.length === at + 1 && pattern[at] === "#";
    }
    if (filterEnds) return false;
  }
}

/**
 * Whether everything that `requested` could match is also matched by
 * `allowed`: what an access rule asks before it lets a subscription pass.
 * `$share/NAME/` counts for neither.
 * MQTT 5.0, 4.7 and 4.8.2.
 */
export function filterCovers(allowed: string, requested: string): boolean {
  const wide = withoutShare(allowed).split("/");
  const narrow = withoutShare(requested).split("/");
  // Topics with a $ in front are matched by neither # nor + there.
  if (narrow[0]!.startsWith("$") && /^[#+]$/.test(wide[0]!)) return false;
  for (let i = 0;; i++) {
    if (wide[i] === "#") return true;
    if (i === wide.length || i === narrow.length) {
      return wide.length === narrow.length;
    }
    if (narrow[i] === "#") {
      // "#" matches the parent level too, which "+/#" does not; but there is
      // no parent of the first level, and none of "/#": the empty topic.
      const hasParent = i > 1 || i === 1 && narrow[0] !== "";
      return !hasParent && wide[i] === "+" && wide[i + 1] === "#";
    }
    if (wide[i] !== "+" && wide[i] !== narrow[i]) return false;
  }
}

function levelAt(text: string, start: number): string {
  const slash = text.indexOf("/", start);
  return slash < 0 ? text.slice(start) : text.slice(start, slash);
}
