import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  type AclRule,
  filtersOverlap,
  matchesAny,
  subjectAcl,
} from "../../../../net/mqtt/policy/acl.ts";
import { topicMatches } from "../../../../net/mqtt/topic.ts";

const alice = { clientId: "c1", username: "alice", commonName: "device-7" };

function rule(
  effect: "allow" | "deny",
  topics: string[],
  more: Partial<AclRule> = {},
): AclRule {
  return { effect, topics, actions: ["publish", "subscribe"], ...more };
}

Deno.test("SubjectAcl.allowsTopic() goes by the first rule that fits", () => {
  const acl = subjectAcl(
    [
      rule("deny", ["a/secret/#"]),
      rule("allow", ["a/#"]),
      rule("allow", ["p/#"], { actions: ["publish"] }),
    ],
    false,
    alice,
  );
  assertEquals(acl.allowsTopic("publish", "a/b"), true);
  assertEquals(acl.allowsTopic("publish", "a/secret/b"), false);
  assertEquals(acl.allowsTopic("publish", "b"), false);
  assertEquals(acl.allowsTopic("publish", "p/x"), true);
  assertEquals(acl.allowsTopic("subscribe", "p/x"), false);
});

Deno.test("SubjectAcl.allowsFilter() allows a filter only where all that it could match is allowed", () => {
  const acl = subjectAcl(
    [rule("deny", ["a/secret/#"]), rule("allow", ["a/#", "b/+/c"])],
    false,
    alice,
  );
  const cases: [string, boolean][] = [
    ["a/b", true],
    ["a/b/#", true],
    ["a/#", false],
    ["a/+/x", false],
    ["a/+", false],
    ["a/open/+", true],
    ["#", false],
    ["+/b", false],
    ["b/+/c", true],
    ["b/x/c", true],
    ["b/#", false],
    ["b/+/+", false],
  ];
  for (const [filter, allowed] of cases) {
    assertEquals([filter, acl.allowsFilter(filter)], [filter, allowed]);
  }
});

Deno.test("SubjectAcl.allowsFilter() never allows a filter that matches a topic which is not allowed", () => {
  const level = fc.constantFrom("a", "b", "+", "$x", "");
  const filter = fc.tuple(
    fc.array(level, { minLength: 1, maxLength: 3 }),
    fc.boolean(),
  ).map(([levels, open]) => [...levels, ...open ? ["#"] : []].join("/"));
  const topic = fc.array(fc.constantFrom("a", "b", "$x", ""), {
    minLength: 1,
    maxLength: 4,
  }).map((levels) => levels.join("/")).filter((text) => text !== "");
  const rules = fc.array(
    fc.record({
      effect: fc.constantFrom("allow" as const, "deny" as const),
      topics: fc.array(filter, { minLength: 1, maxLength: 2 }),
      actions: fc.constant(["publish", "subscribe"] as const),
    }),
    { maxLength: 4 },
  );
  fc.assert(
    fc.property(
      rules,
      fc.boolean(),
      filter,
      topic,
      (list, open, asked, name) => {
        const acl = subjectAcl(list, open, alice);
        if (acl.allowsFilter(asked) && topicMatches(asked, name)) {
          assertEquals(acl.allowsTopic("subscribe", name), true);
        }
      },
    ),
    { numRuns: 3000 },
  );
});

Deno.test("filtersOverlap() is true just where a topic is matched by both", () => {
  const names = ["a", "b", "$x", ""];
  const topics: string[] = [];
  for (const one of names) {
    topics.push(one);
    for (const two of names) {
      topics.push(`${one}/${two}`);
      for (const three of names) topics.push(`${one}/${two}/${three}`);
    }
  }
  const filter = fc.tuple(
    fc.array(fc.constantFrom("a", "b", "+", "$x"), {
      minLength: 0,
      maxLength: 2,
    }),
    fc.boolean(),
  ).map(([levels, open]) => [...levels, ...open ? ["#"] : []].join("/"))
    .filter((text) => text !== "");
  fc.assert(
    fc.property(filter, filter, (a, b) => {
      const shared = topics.some((topic) =>
        topic !== "" && topicMatches(a, topic) && topicMatches(b, topic)
      );
      assertEquals(filtersOverlap(a, b), shared);
      assertEquals(filtersOverlap(b, a), shared);
    }),
    { numRuns: 3000 },
  );
});

Deno.test("subjectAcl() fills in the client's names", () => {
  const acl = subjectAcl(
    [rule("allow", ["u/%u/#", "c/%c", "cn/%cn/+", "x-%u-%c/y"])],
    false,
    alice,
  );
  for (const topic of ["u/alice/a", "c/c1", "cn/device-7/a", "x-alice-c1/y"]) {
    assertEquals([topic, acl.allowsTopic("publish", topic)], [topic, true]);
  }
  for (const topic of ["u/bob/a", "c/c2", "cn/x/a", "x-alice-c2/y"]) {
    assertEquals([topic, acl.allowsTopic("publish", topic)], [topic, false]);
  }
});

Deno.test("subjectAcl() gives nothing to a name that would say more than one level", () => {
  for (const clientId of ["+", "#", "a/#", "a/b", "", "x+y"]) {
    const subject = { ...alice, clientId };
    const open = subjectAcl([rule("allow", ["c/%c/#"])], false, subject);
    assertEquals(open.allowsTopic("publish", "c/other/x"), false);
    assertEquals(open.allowsFilter("c/+/#"), false);
    // What is denied in the name of one that cannot be is denied to all names.
    const closed = subjectAcl([rule("deny", ["c/%c/#"])], true, subject);
    assertEquals(closed.allowsTopic("publish", "c/other/x"), false);
    assertEquals(closed.allowsTopic("publish", "d"), true);
  }
});

Deno.test("subjectAcl() takes the rules of the client alone", () => {
  const rules = [
    rule("allow", ["ops/#"], { users: ["ops-*"] }),
    rule("allow", ["a/#"], { users: ["ali*"], clientIds: ["c?", "c1"] }),
    rule("allow", ["cn"], { commonNames: ["device-*"] }),
  ];
  const acl = subjectAcl(rules, false, alice);
  assertEquals(acl.allowsTopic("publish", "ops/x"), false);
  assertEquals(acl.allowsTopic("publish", "a/x"), true);
  assertEquals(acl.allowsTopic("publish", "cn"), true);
  const nobody = subjectAcl(rules, false, {
    ...alice,
    username: undefined,
    commonName: undefined,
  });
  assertEquals(nobody.allowsTopic("publish", "a/x"), false);
  assertEquals(nobody.allowsTopic("publish", "cn"), false);
});

Deno.test("matchesAny() lets * stand for any characters", () => {
  const cases: [string, string, boolean][] = [
    ["*", "", true],
    ["a*", "abc", true],
    ["*c", "abc", true],
    ["a*c", "ac", true],
    ["a*a", "a", false],
    ["a*b*c", "axxbyyc", true],
    ["a*b*c", "axxc", false],
    ["*b*", "abc", true],
    ["a.c", "abc", false],
  ];
  for (const [pattern, text, matches] of cases) {
    assertEquals([pattern, text, matchesAny([pattern], text)], [
      pattern,
      text,
      matches,
    ]);
  }
});

Deno.test("subjectAcl() puts the username into client identifiers, and denies those without one", () => {
  const own = { clientIds: ["%u", "%u-*"] };
  const acl = (effect: "allow" | "deny", who: Partial<typeof alice>) =>
    subjectAcl([rule(effect, ["a"], own)], effect === "deny", {
      ...alice,
      ...who,
    }).allowsTopic("publish", "a");
  assertEquals(acl("allow", { clientId: "alice-1" }), true);
  assertEquals(acl("allow", { clientId: "c1" }), false);
  assertEquals(acl("deny", { clientId: "alice" }), false);
  assertEquals(acl("deny", { clientId: "c1" }), true);
  const nameless = { ...alice, username: undefined };
  for (const effect of ["allow", "deny"] as const) {
    assertEquals(
      subjectAcl([rule(effect, ["a"], own)], effect === "deny", nameless)
        .allowsTopic("publish", "a"),
      false,
    );
  }
});

Deno.test("SubjectAcl lets nothing pass by a prefix that brokers take off, unless a rule names it", () => {
  const deny = rule("deny", ["secret/#"]);
  const hidden = [
    "$queue/secret/a",
    "$exclusive/secret/a",
    "$delayed/1/secret/a",
  ];
  const acl = subjectAcl([deny], true, alice);
  for (const topic of hidden) {
    assertEquals(acl.allowsTopic("publish", topic), false);
    assertEquals(acl.allowsFilter(topic), false);
  }
  assertEquals(acl.allowsTopic("publish", "$SYS/x"), true);
  const named = subjectAcl(
    [deny, rule("allow", ["$queue/open/#"])],
    true,
    alice,
  );
  assertEquals(named.allowsFilter("$queue/open/a"), true);
  assertEquals(named.allowsFilter("$queue/secret/a"), false);
  // Where there are no rules, there is nothing to pass by.
  assertEquals(subjectAcl([], true, alice).allowsFilter(hidden[0]!), true);
});

Deno.test("subjectAcl() lets no name put a $ in front of a topic", () => {
  // A client chooses its identifier. "$share/data/#" would be "#" without its
  // share, and "$SYS/#" is the broker's own (MQTT 5.0, 4.7.2 and 4.8.2).
  const cases: [pattern: string, subject: Partial<typeof alice>][] = [
    ["%c/data/#", { clientId: "$share" }],
    ["%c/#", { clientId: "$SYS" }],
    ["%u/%c/#", { clientId: "group", username: "$share" }],
    ["%cn/data/#", { commonName: "$share" }],
    ["%c%u/data/#", { clientId: "$", username: "share" }],
    ["$%c/data/#", { clientId: "share" }],
    ["%c/secret", { clientId: "$queue" }],
  ];
  const topics = ["secret/x", "$SYS/x", "$share/data/x", "$queue/secret"];
  const filters = ["#", "secret/x", "$SYS/#", "$share/data/#", "$queue/secret"];
  for (const [pattern, names] of cases) {
    const subject = { ...alice, ...names };
    const acl = subjectAcl([rule("allow", [pattern])], false, subject);
    for (const topic of topics) {
      assertEquals(
        [pattern, topic, acl.allowsTopic("publish", topic)],
        [pattern, topic, false],
      );
    }
    for (const filter of filters) {
      assertEquals(
        [pattern, filter, acl.allowsFilter(filter)],
        [pattern, filter, false],
      );
    }
  }
});

Deno.test("subjectAcl() denies a topic of a name with a $ in front", () => {
  const subject = { ...alice, clientId: "$SYS" };
  const acl = subjectAcl([rule("deny", ["%c/#"])], true, subject);
  assertEquals(acl.allowsFilter("$SYS/#"), false);
  assertEquals(acl.allowsTopic("publish", "$SYS/x"), false);
});

Deno.test("subjectAcl() fills a name with a $ into any other place", () => {
  const subject = { ...alice, clientId: "$7" };
  const acl = subjectAcl([rule("allow", ["devices/%c/#"])], false, subject);
  assertEquals(acl.allowsTopic("publish", "devices/$7/x"), true);
});
