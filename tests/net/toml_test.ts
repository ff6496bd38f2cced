import { assertEquals, assertThrows } from "@std/assert";
import {
  parseTomlTree,
  placeAt,
  plainValue,
  type TomlNode,
  TomlSyntaxError,
  type TomlTable,
} from "../../net/toml.ts";

const SOURCE = `top = "x"
many = [1, [true]]
[a.b]
c = 2.5
d.e = 3
[[list]]
n = 1
[list.sub]
m = { o = "p" }
[[list]]
n = 2
`;

function place(root: TomlTable, ...keys: (string | number)[]): number[] {
  let node: TomlNode = root;
  for (const key of keys) {
    node = typeof key === "number"
      ? (node as Extract<TomlNode, { kind: "array" }>).items[key]!
      : (node as TomlTable).entries.get(key)!.node;
  }
  return [node.line, node.column];
}

Deno.test("parseTomlTree builds tables, arrays of tables and dotted keys", () => {
  assertEquals(plainValue(parseTomlTree(SOURCE)), {
    top: "x",
    many: [1, [true]],
    a: { b: { c: 2.5, d: { e: 3 } } },
    list: [{ n: 1, sub: { m: { o: "p" } } }, { n: 2 }],
  });
});

Deno.test("placeAt tells where a key stands, or what is nearest around it", () => {
  const root = parseTomlTree(SOURCE);
  for (
    const [path, line, column] of [
      [["top"], 1, 1],
      [["many", 1, 0], 2, 13],
      [["a", "b", "d", "e"], 5, 3],
      [["list", 1, "n"], 11, 1],
      [["list", 1, "missing"], 10, 3],
      [["missing"], 1, 1],
      [["top", "deeper"], 1, 1],
    ] as const
  ) {
    assertEquals(placeAt(root, path), { line, column }, path.join("."));
  }
});

Deno.test("parseTomlTree knows the line and column of every value", () => {
  const root = parseTomlTree(SOURCE);
  assertEquals(place(root, "top"), [1, 7]);
  assertEquals(place(root, "many", 1, 0), [2, 13]);
  assertEquals(place(root, "a", "b", "d", "e"), [5, 7]);
  assertEquals(place(root, "list", 1, "n"), [11, 5]);
  assertEquals(place(root, "list", 0, "sub", "m", "o"), [9, 11]);
  const entry = root.entries.get("list")!.node as { items: TomlNode[] };
  assertEquals([entry.items[1]!.line, entry.items[1]!.column], [10, 3]);
});

for (
  const [source, line, column] of [
    ["a = ", 1, 5],
    ["a = 1\na = 2", 2, 1],
    ["[a]\n[a]", 2, 2],
    ['b = "x\ny"', 1, 7],
  ] as const
) {
  Deno.test(`parseTomlTree says where ${JSON.stringify(source)} is no TOML`, () => {
    const error = assertThrows(() => parseTomlTree(source), TomlSyntaxError);
    assertEquals([error.line, error.column], [line, column]);
  });
}

Deno.test("parseTomlTree refuses what is nested too deep, with its place", () => {
  const many = 20_000;
  for (
    const [source, line, column] of [
      [`a = ${"[".repeat(many)}${"]".repeat(many)}`, 1, 69],
      [`b = 1\na = ${"{a=".repeat(many)}1${"}".repeat(many)}`, 2, 197],
      [`${"a.".repeat(many)}a = 1`, 1, 128],
      [`[${"a.".repeat(many)}a]\n`, 1, 129],
    ] as const
  ) {
    const error = assertThrows(() => parseTomlTree(source), TomlSyntaxError);
    assertEquals(error.message, "nested deeper than 64 levels");
    assertEquals([error.line, error.column], [line, column]);
  }
});

Deno.test("parseTomlTree takes brackets and dots that nest nothing", () => {
  const brackets = "[{.".repeat(100);
  const source = `a = "\\"${brackets}" # ${brackets}
b = '${brackets}'
c = """
"${brackets}"
"""
d = '''
'${brackets}
'''
e = [${"1.5, ".repeat(100)}]
${Array.from({ length: 100 }, (_, i) => `[t.t${i}]`).join("\n")}
`;
  const { a, b, c, d, e } = plainValue(parseTomlTree(source)) as Record<
    string,
    unknown
  >;
  assertEquals(
    [a, b, c, d, e],
    [
      `"${brackets}`,
      brackets,
      `"${brackets}"\n`,
      `'${brackets}\n`,
      Array(100).fill(1.5),
    ],
  );
});
