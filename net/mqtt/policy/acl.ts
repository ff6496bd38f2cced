/**
 * Access rules. They stand in order and the first that fits decides; a filter
 * is allowed only if everything that it could match is. Pure.
 */
import { filterCovers, isShare, topicMatches } from "../topic.ts";
import { fillUsername } from "./placeholders.ts";

/** What a rule is about. */
export type AclAction = "publish" | "subscribe";

/** A rule as it is written. */
export interface AclRule {
  /** What it does where it fits. */
  readonly effect: "allow" | "deny";
  /** What it is about. */
  readonly actions: readonly AclAction[];
  /** Filters, with `%u`, `%c` and `%cn` as whole levels or parts of them. */
  readonly topics: readonly string[];
  /** Usernames with `*` for any characters; all where it is left out. */
  readonly users?: readonly string[] | undefined;
  /** Client identifiers with `*` and `%u`. Default: all. */
  readonly clientIds?: readonly string[] | undefined;
  /** Common names of certificates with `*`. Default: all, and clients without a certificate. */
  readonly commonNames?: readonly string[] | undefined;
}

/** Whom rules are asked about. */
export interface AclSubject {
  readonly clientId: string;
  readonly username: string | undefined;
  readonly commonName: string | undefined;
}

interface SubjectRule {
  readonly allows: boolean;
  readonly filter: string;
}

/** The rules for one client, with its names in them. */
export class SubjectAcl {
  readonly #rules: Readonly<Record<AclAction, readonly SubjectRule[]>>;
  readonly #defaultAllows: boolean;

  constructor(
    rules: Readonly<Record<AclAction, readonly SubjectRule[]>>,
    defaultAllows: boolean,
  ) {
    this.#rules = rules;
    this.#defaultAllows = defaultAllows;
  }

  /** Whether it may send to a topic, or get what was sent to it. */
  allowsTopic(action: AclAction, topic: string): boolean {
    for (const { allows, filter } of this.#rules[action]) {
      if (topicMatches(filter, topic)) return allows;
    }
    return this.#byDefault(topic);
  }

  /**
   * Whether it may subscribe to a filter. A rule that allows only a part of it
   * is no help, and one that denies any part of it is enough: so nothing that
   * a rule denies can come in by a wider filter.
   */
  allowsFilter(filter: string): boolean {
    for (const rule of this.#rules.subscribe) {
      if (rule.allows) {
        if (filterCovers(rule.filter, filter)) return true;
      } else if (filtersOverlap(rule.filter, filter)) return false;
    }
    return this.#byDefault(filter);
  }

  /**
   * Some brokers take a prefix off: `$queue/secret` is `secret` to EMQX and
   * NanoMQ. No rule about `secret` fits that, so where there are rules, only
   * one that names the prefix allows it.
   */
  #byDefault(topic: string): boolean {
    const { publish, subscribe } = this.#rules;
    return this.#defaultAllows &&
      (publish.length + subscribe.length === 0 ||
        !BROKER_PREFIXES.some((prefix) => topic.startsWith(prefix)));
  }
}

/** What brokers take off a topic or a filter, beside `$share/NAME/`. */
const BROKER_PREFIXES = ["$queue/", "$exclusive/", "$delayed/"];

/** The rules for a client. */
export function subjectAcl(
  rules: readonly AclRule[],
  defaultAllows: boolean,
  subject: AclSubject,
): SubjectAcl {
  const own = rules.filter((rule) =>
    matchesAny(rule.users, subject.username) &&
    matchesAny(rule.clientIds, subject.clientId, {
      username: subject.username,
      // A rule that denies by a name denies those who have none as well.
      whenNameless: rule.effect === "deny",
    }) &&
    matchesAny(rule.commonNames, subject.commonName)
  );
  const rulesOf = (action: AclAction): SubjectRule[] =>
    own.filter(({ actions }) => actions.includes(action)).flatMap((rule) => {
      const allows = rule.effect === "allow";
      return rule.topics.flatMap((pattern) => {
        const filter = fillIn(pattern, subject, allows);
        return filter === undefined ? [] : [{ allows, filter }];
      });
    });
  return new SubjectAcl(
    { publish: rulesOf("publish"), subscribe: rulesOf("subscribe") },
    defaultAllows,
  );
}

/**
 * Puts a client's names into a pattern. A name that is missing, or that would
 * say more than one level of a topic (a client may call itself `+` or `a/#`),
 * fills nothing in: a rule that allows then says nothing, and one that denies
 * denies that place in everybody's name. A rule that allows says nothing either
 * if a name makes a topic of the broker's own of it: `%c/data/#` would be
 * `$share/data/#`, which is `#`, for a client that calls itself `$share`.
 */
function fillIn(
  pattern: string,
  subject: AclSubject,
  allows: boolean,
): string | undefined {
  let misfit = false;
  const levels = pattern.split("/").map((level) => {
    let bad = false;
    const filled = level.replace(/%(cn|c|u)/g, (_, name: string) => {
      const value = name === "u"
        ? subject.username
        : name === "c"
        ? subject.clientId
        : subject.commonName;
      if (!value || /[+#/\0]/.test(value)) {
        bad = true;
        return "";
      }
      return value;
    });
    if (!bad) return filled;
    misfit = true;
    return "+";
  });
  const filter = levels.join("/");
  const isReserved = isShare(filter) ||
    filter.startsWith("$") && !pattern.startsWith("$");
  return allows && (misfit || isReserved) ? undefined : filter;
}

/** Whether any topic is matched by both filters. */
export function filtersOverlap(a: string, b: string): boolean {
  const one = a.split("/");
  const two = b.split("/");
  // Neither # nor + in front stands for a level with a $ in front.
  const isHidden = (levels: string[]) => levels[0]!.startsWith("$");
  const isWild = (levels: string[]) => /^[+#]$/.test(levels[0]!);
  if (isHidden(one) && isWild(two) || isHidden(two) && isWild(one)) {
    return false;
  }
  for (let i = 0;; i++) {
    if (one[i] === "#" || two[i] === "#") return true;
    if (i === one.length || i === two.length) {
      if (one.length === two.length) return true;
      // `a/#` matches `a` too.
      const longer = one.length > two.length ? one : two;
      return longer.length === i + 1 && longer[i] === "#";
    }
    if (one[i] !== "+" && two[i] !== "+" && one[i] !== two[i]) return false;
  }
}

/** Whose name stands for `%u`. */
export interface PatternSubject {
  readonly username: string | undefined;
  /** Whether a pattern with `%u` matches where there is no name. */
  readonly whenNameless: boolean;
}

/**
 * Whether a text is matched by any pattern, in which `*` stands for any
 * characters, and `%u` for a username, whose own `*` stand for themselves.
 */
export function matchesAny(
  patterns: readonly string[] | undefined,
  text: string | undefined,
  subject?: PatternSubject,
): boolean {
  if (patterns === undefined) return true;
  if (text === undefined) return false;
  return patterns.some((pattern) => {
    const parts = pattern.split("*").map((part) =>
      subject ? fillUsername(part, subject.username) : part
    );
    return parts.every((part) => part !== undefined)
      ? matchesParts(parts, text)
      : subject!.whenNameless;
  });
}

/** Whether a text is these parts, with any characters between them. */
function matchesParts(parts: readonly string[], text: string): boolean {
  const first = parts[0]!;
  if (parts.length === 1) return first === text;
  const last = parts.at(-1)!;
  if (
    !text.startsWith(first) || !text.endsWith(last) ||
    text.length < first.length + last.length
  ) return false;
  let at = first.length;
  const end = text.length - last.length;
  for (const part of parts.slice(1, -1)) {
    const found = text.indexOf(part, at);
    if (found < 0 || found + part.length > end) return false;
    at = found + part.length;
  }
  return true;
}
