/**
 * What the standard library does in the cases in which a stand-in could be more
 * lenient. Each expected value is the real package's (read from its source,
 * assert 1.0.19 and cli 1.0.28); after `deno task unlink` the same cases run
 * against the real one.
 */
import {
  assert,
  assertEquals,
  AssertionError,
  assertIsError,
  assertMatch,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { parseArgs } from "@std/cli/parse-args";

/** Assertions that fail, by name. */
const FAILING: Readonly<Record<string, () => unknown>> = {
  "assertRejects: the function throws before it returns a promise": () =>
    assertRejects(() => {
      throw new Error("at once");
    }),
  "assertRejects: the function returns no promise": () =>
    assertRejects(() => undefined as never),
  "assertRejects: the promise resolves": () =>
    assertRejects(() => Promise.resolve()),
  "assertRejects: another class": () =>
    assertRejects(() => Promise.reject(new Error("x")), TypeError),
  "assertRejects: a rejected text where a class is expected": () =>
    assertRejects(() => Promise.reject("x"), Error),
  "assertRejects: another message": () =>
    assertRejects(() => Promise.reject(new Error("x")), Error, "y"),
  "assertThrows: nothing thrown": () => assertThrows(() => {}),
  "assertThrows: another class": () =>
    assertThrows(() => {
      throw new Error("x");
    }, TypeError),
  "assertThrows: another message": () =>
    assertThrows(
      () => {
        throw new Error("x");
      },
      Error,
      "y",
    ),
  "assertEquals: a missing key": () =>
    assertEquals<object>({ a: undefined }, {}),
  "assertEquals: another class": () => assertEquals<object>(new Map(), {}),
  "assertEquals: number and text": () => assertEquals<unknown>(1, "1"),
  "assertEquals: order of an array": () => assertEquals([1, 2], [2, 1]),
  "assertEquals: another array type": () =>
    assertEquals<unknown>(new Uint8Array(1), new Int8Array(1)),
  "assertStrictEquals: equal objects": () => assertStrictEquals({}, {}),
  "assertMatch: no match": () => assertMatch("a", /b/),
  "assertStringIncludes: not included": () => assertStringIncludes("a", "b"),
  "assertIsError: a text": () => assertIsError("x"),
  "assert: zero": () => assert(0),
  "assert: an empty text": () => assert(""),
};

for (const [name, failing] of Object.entries(FAILING)) {
  Deno.test(`an assertion fails: ${name}`, async () => {
    let thrown: unknown;
    try {
      await failing();
    } catch (error) {
      thrown = error;
    }
    if (!(thrown instanceof AssertionError)) {
      throw new Error(`it passed, or threw ${thrown}`);
    }
  });
}

const TABLE = {
  string: ["name", "many"],
  collect: ["many"],
  boolean: ["yes"],
};

/** Arguments, and what the real parser makes of them by `TABLE`. */
const PARSED: readonly (readonly [readonly string[], unknown])[] = [
  [[], { _: [], many: [], yes: false }],
  [["--name=a"], { _: [], many: [], yes: false, name: "a" }],
  [["--name", "a"], { _: [], many: [], yes: false, name: "a" }],
  [["--name=a=b"], { _: [], many: [], yes: false, name: "a=b" }],
  // A value that starts with "-" is not taken as one.
  [["--name", "--yes"], { _: [], many: [], yes: true, name: "" }],
  [["--name"], { _: [], many: [], yes: false, name: "" }],
  [["--name=5"], { _: [], many: [], yes: false, name: "5" }],
  [["--many=a", "--many", "b"], { _: [], many: ["a", "b"], yes: false }],
  [["--yes=false"], { _: [], many: [], yes: false }],
  [["--yes", "false"], { _: [], many: [], yes: false }],
  [["--yes", "x"], { _: ["x"], many: [], yes: true }],
  [["5", "0x1f", "a5"], { _: [5, 31, "a5"], many: [], yes: false }],
  [["--", "--yes", "5"], { _: ["--yes", "5"], many: [], yes: false }],
  [["--other=5"], { _: [], many: [], yes: false, other: 5 }],
  [["--other"], { _: [], many: [], yes: false, other: true }],
];

for (const [args, expected] of PARSED) {
  Deno.test(`parseArgs: ${JSON.stringify(args)}`, () => {
    assertEquals<unknown>({ ...parseArgs([...args], TABLE) }, expected);
  });
}
