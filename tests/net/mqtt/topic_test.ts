/** Topic names and filters: their form, what matches, what covers what. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { PacketError, PacketReader } from "../../../net/mqtt/packet/mod.ts";
import {
  filterCovers,
  isTopicFilter,
  isTopicName,
  sharedFilter,
  topicMatches,
  withoutShare,
} from "../../../net/mqtt/topic.ts";
import { encodeModel } from "../../support/mqtt_models.ts";

// Few levels of few names, so that filters and topics do meet; x is in no filter.
const names = ["", "a", "b", "$s"] as const;
const levels = fc.constantFrom(...names, "+");
const filters = fc.tuple(
  fc.array(levels, { minLength: 0, maxLength: 3 }),
  fc.boolean(),
).map(([list, hash]) => [...list, ...(hash ? ["#"] : [])].join("/"))
  .filter((filter) => filter !== "");

/** Every topic of up to five levels. */
const TOPICS = allTopics(5);

function allTopics(most: number): string[] {
  let longest: string[] = [...names, "x"];
  const topics = [...longest];
  for (let i = 1; i < most; i++) {
    longest = longest.flatMap((topic) =>
      [...names, "x"].map((name) => `${topic}/${name}`)
    );
    topics.push(...longest);
  }
  return topics.filter((topic) => topic !== "");
}

/** Matching by the words of 4.7, level by level. */
function matchesByLevels(filter: string, topic: string): boolean {
  const wanted = filter.split("/");
  const given = topic.split("/");
  if (topic.startsWith("$") && (wanted[0] === "#" || wanted[0] === "+")) {
    return false;
  }
  if (wanted.at(-1) === "#") {
    const parent = wanted.slice(0, -1);
    return given.length >= parent.length &&
      parent.every((level, i) => level === "+" || level === given[i]);
  }
  return wanted.length === given.length &&
    wanted.every((level, i) => level === "+" || level === given[i]);
}

Deno.test("topicMatches() takes the examples of the specification", () => {
  const cases: [string, string, boolean][] = [
    ["sport/tennis/player1/#", "sport/tennis/player1", true],
    ["sport/tennis/player1/#", "sport/tennis/player1/ranking", true],
    ["sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true],
    ["sport/tennis/player1/#", "sport/tennis/player12", false],
    ["sport/#", "sport", true],
    ["#", "anything/at/all", true],
    ["sport/tennis/+", "sport/tennis/player1", true],
    ["sport/tennis/+", "sport/tennis/player1/ranking", false],
    ["sport/+", "sport", false],
    ["sport/+", "sport/", true],
    ["+/+", "/finance", true],
    ["/+", "/finance", true],
    ["+", "/finance", false],
    ["#", "$SYS/monitor/Clients", false],
    ["+/monitor/Clients", "$SYS/monitor/Clients", false],
    ["$SYS/#", "$SYS/monitor/Clients", true],
    ["$SYS/#", "$SYS", true],
    ["$SYS/monitor/+", "$SYS/monitor/Clients", true],
    ["ACCOUNTS", "Accounts", false],
    ["$share/consumer1/sport/tennis/+", "sport/tennis/player1", true],
    ["$share/consumer1//finance", "/finance", true],
    ["$share/consumer1/#", "$SYS/x", false],
    ["a/#", "a/", true],
    ["a/#", "ab", false],
    ["é/+", "é/😀", true],
  ];
  for (const [filter, topic, matches] of cases) {
    assertEquals(topicMatches(filter, topic), matches, `${filter} ${topic}`);
  }
});

Deno.test("topicMatches() matches as the words of 4.7 do", () => {
  fc.assert(
    fc.property(filters, fc.constantFrom(...TOPICS), (filter, topic) => {
      assertEquals(
        topicMatches(filter, topic),
        matchesByLevels(filter, topic),
        `${filter} ${topic}`,
      );
    }),
    { numRuns: 20_000 },
  );
});

Deno.test("filterCovers() is true just where every topic of the one is one of the other", () => {
  fc.assert(
    fc.property(filters, filters, (allowed, requested) => {
      const covered = TOPICS.every((topic) =>
        !matchesByLevels(requested, topic) || matchesByLevels(allowed, topic)
      );
      assertEquals(
        filterCovers(allowed, requested),
        covered,
        `${allowed} ${requested}`,
      );
    }),
    { numRuns: 1000 },
  );
});

Deno.test("filterCovers() takes cases that rules are made of", () => {
  const cases: [string, string, boolean][] = [
    ["tenant/1/#", "tenant/1/a/+/b", true],
    ["tenant/1/#", "tenant/1/#", true],
    ["tenant/1/#", "tenant/1", true],
    ["tenant/1/#", "tenant/+/a", false],
    ["tenant/1/#", "#", false],
    ["tenant/1/#", "+/1/#", false],
    ["tenant/1/#", "tenant/12/a", false],
    ["tenant/+/state", "tenant/1/state", true],
    ["tenant/+/state", "tenant/+/state", true],
    ["tenant/+/state", "tenant/#", false],
    ["#", "$SYS/#", false],
    ["#", "+/a", true],
    ["+/#", "#", true],
    ["+/+", "#", false],
    ["/+/#", "/#", true],
    ["+/+/#", "/#", true],
    ["+/+/#", "#", false],
    ["$SYS/#", "$SYS/broker/+", true],
    ["+/a", "$SYS/a", false],
    ["tenant/1/#", "$share/group/tenant/1/#", true],
    ["tenant/1/#", "$share/tenant/1/#", false],
    ["$share/group/a/#", "a/b", true],
    ["a", "a", true],
    ["a", "b", false],
    ["a/+", "a/#", false],
    ["a/#", "a/+/#", true],
    ["a/+/#", "a/#", false],
  ];
  for (const [allowed, requested, covers] of cases) {
    assertEquals(
      filterCovers(allowed, requested),
      covers,
      `${allowed} ${requested}`,
    );
  }
});

Deno.test("isTopicName() and isTopicFilter() take what a PacketReader takes", () => {
  const pieces = fc.constantFrom(
    ...["a", "/", "+", "#", "$share", "$share/", "g", "é", "\0"],
  );
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 6 }), (list) => {
      const text = list.join("");
      const bytes = encodeModel(
        {
          type: "SUBSCRIBE",
          ...{ id: 1, filters: [[text, 0]], properties: [] },
        },
        5,
      );
      assertEquals(isTopicFilter(text), isTaken(bytes), `filter ${text}`);
      const publish = encodeModel(
        {
          type: "PUBLISH",
          ...{ topic: text, payload: "", qos: 0, id: 0, properties: [] },
        },
        5,
      );
      assertEquals(isTopicName(text), isTaken(publish), `topic ${text}`);
    }),
    { numRuns: 5000 },
  );
  assertEquals(isTopicName("\ud800"), false);
  assertEquals(isTopicFilter("a/\udc00"), false);
});

function isTaken(bytes: Uint8Array): boolean {
  const reader = new PacketReader({ direction: "upstream", version: 5 });
  reader.framer.established = true;
  reader.push(bytes);
  try {
    return reader.next();
  } catch (error) {
    assert(error instanceof PacketError);
    return false;
  }
}

Deno.test("sharedFilter() takes a shared filter apart", () => {
  assertEquals(sharedFilter("$share/g/a/#"), { group: "g", filter: "a/#" });
  assertEquals(sharedFilter("$share/g//a"), { group: "g", filter: "/a" });
  for (
    const none of [
      "a/b",
      "$share",
      "$share/",
      "$share/g",
      "$share/g/",
      "$share//a",
    ]
  ) {
    assertEquals(sharedFilter(none), undefined, none);
  }
  assertEquals(withoutShare("$share/g/a/#"), "a/#");
  assertEquals(withoutShare("$shared/g/a"), "$shared/g/a");
});
