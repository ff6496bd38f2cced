/**
 * Placeholders in patterns. Those of other products are refused: taken
 * literally, a rule that denies would never fit. Pure.
 */

/** What a placeholder of ours stands for. */
const MEANINGS = {
  u: "username",
  c: "client identifier",
  cn: "common name of the certificate",
} as const;

/** The name of a placeholder, after its `%`. */
export type Placeholder = keyof typeof MEANINGS;

/**
 * Everything that some product fills in: `%x`, `${x}`, `{x}`, `{{x}}`, `%{x}`,
 * `%(x)`, `$(x)`, `$username`.
 */
const ANY = new RegExp(
  [
    /[%$]?\{+[^{}]*\}+/,
    /[%$]\([^()]*\)/,
    /%[A-Za-z]+/,
    /\$(?:client|user|device|thing)[-_]?(?:username|name|id)(?![A-Za-z])/i,
  ].map(({ source }) => source).join("|"),
  "gi",
);

/** Says which placeholder of a text is not among the known ones; undefined where all are. */
export function unknownPlaceholder(
  text: string,
  known: readonly Placeholder[],
): string | undefined {
  for (const [found] of text.matchAll(ANY)) {
    if (known.some((name) => found === `%${name}`)) continue;
    const expected = known.length === 0
      ? "there are none here"
      : `expected ${
        known.map((name) => `%${name} (${MEANINGS[name]})`).join(", ")
      }`;
    return `unknown placeholder "${found}"; ${expected}`;
  }
  return undefined;
}

/** The text with a username in its `%u`; undefined where it has one and there is no name. */
export function fillUsername(
  text: string,
  username: string | undefined,
): string | undefined {
  if (!text.includes("%u")) return text;
  return username ? text.replaceAll("%u", () => username) : undefined;
}
