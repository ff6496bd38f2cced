import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  absent,
  address,
  choice,
  flag,
  integer,
  list,
  type OptionTable,
  scaled,
  seconds,
  text,
  toggle,
  value,
} from "../../cli/command.ts";
import {
  configTexts,
  flagName,
  readValues,
  splitArguments,
} from "../../cli/parse.ts";
import { parseTomlTree, plainValue } from "../../net/toml.ts";
import { UsageError } from "../../net/errors.ts";

const table = {
  config: value("A file of options", "FILE", text),
  path: value("A file", "FILE", text, { required: true }),
  serverAddr: list("Where to send", "HOST:PORT", address(), {
    aliases: ["downstream-addr"],
  }),
  tee: flag("Copy", { short: "t" }),
  loop: toggle("Hear oneself"),
  rate: value("Bits per second", "BITS", scaled(1000, 1e12)),
  ttl: value("Hops", "N", integer(0, 255), { fallback: 1 }),
  engine: choice("Which", ["auto", "linux"], "auto"),
  old: flag("Older spelling", { hidden: true }),
} satisfies OptionTable;

/** Texts of a command line, as a plain object. */
function texts(...args: string[]): Record<string, string[]> {
  return Object.fromEntries(splitArguments(args, table).texts);
}

function refusal(...args: string[]): string {
  const { message } = assertThrows(
    () => readValues(table, splitArguments(args, table).texts),
    UsageError,
  );
  assert(!message.includes("\n"), message);
  return message;
}

Deno.test("splitArguments reads - and _ between words, and both --a b and --a=b", () => {
  const wanted = { serverAddr: ["127.0.0.1:9"] };
  for (
    const args of [
      ["--server-addr", "127.0.0.1:9"],
      ["--server_addr", "127.0.0.1:9"],
      ["--server-addr=127.0.0.1:9"],
      ["--server_addr=127.0.0.1:9"],
      ["--downstream-addr", "127.0.0.1:9"],
      ["--downstream_addr=127.0.0.1:9"],
    ]
  ) assertEquals(texts(...args), wanted);
});

Deno.test("splitArguments gathers a repeated option's texts in order, by all of its names", () => {
  assertEquals(
    texts("--server-addr", "a:1", "--downstream_addr=b:2", "--server_addr=c:3"),
    { serverAddr: ["a:1", "b:2", "c:3"] },
  );
});

Deno.test("splitArguments keeps any text of a value as it is", () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1, unit: "binary" }), (given) => {
      assertEquals(texts(`--path=${given}`), { path: [given] });
      if (given === "-" || !given.startsWith("-")) {
        assertEquals(texts("--path", given), { path: [given] });
      }
    }),
  );
});

Deno.test("splitArguments reads switches in all their forms", () => {
  assertEquals(texts("--tee"), { tee: ["true"] });
  assertEquals(texts("-t"), { tee: ["true"] });
  assertEquals(texts("--tee=false"), { tee: ["false"] });
  assertEquals(texts("--loop"), { loop: ["true"] });
  assertEquals(texts("--no-loop"), { loop: ["false"] });
  assertEquals(texts("--no_loop"), { loop: ["false"] });
});

Deno.test("splitArguments leaves the rest as positional arguments, all of it after --", () => {
  const { texts, positionals } = splitArguments(
    ["one", "--tee", "-", "--", "--tee", "-x"],
    table,
  );
  assertEquals(Object.fromEntries(texts), { tee: ["true"] });
  assertEquals(positionals, ["one", "-", "--tee", "-x"]);
});

Deno.test("splitArguments takes - as a value", () => {
  assertEquals(texts("--path", "-"), { path: ["-"] });
});

Deno.test("splitArguments says of what it refuses what was meant, or what is wanted", () => {
  const cases: readonly [string[], string][] = [
    [["--sever-addr", "a:1"], "did you mean --server-addr?"],
    [["--pth", "x"], "did you mean --path?"],
    [["--nothing-like-it"], "--help lists the options"],
    [["-x"], "Unknown option -x"],
    [["--path"], "--path wants a value: --path FILE"],
    [["--path="], "--path wants a value"],
    [
      ["--path", "--tee"],
      'a value that starts with "-" is written --path=VALUE',
    ],
    [
      ["--path", "a", "--path=b"],
      '--path can be given once, but got "a" and "b"',
    ],
    [["--tee=yes"], '--tee takes no value, but got "yes"'],
    [["--no-loop=true"], "--no-loop takes no value"],
    [["--no-tee"], "Unknown option --no-tee"],
  ];
  for (const [args, wanted] of cases) {
    const { message } = assertThrows(
      () => splitArguments(args, table),
      UsageError,
    );
    assert(message.includes(wanted), message);
    assert(!message.includes("\n"));
  }
});

Deno.test("splitArguments proposes only what is one slip in four letters away", () => {
  const table = {
    tls: flag("TLS"),
    ttl: flag("TTL"),
    lines: flag("Lines"),
    path: flag("Path"),
    listen: flag("Listen"),
    maxConnections: flag("Connections"),
  };
  for (
    const [written, hint] of [
      ["--tos", undefined],
      ["--bind", undefined],
      ["--baud", undefined],
      ["--file", undefined],
      ["--pth", "--path"],
      ["--lisetn", "--listen"],
      ["--line", "--lines"],
      ["--max-connection", "--max-connections"],
      ["--max-conections", "--max-connections"],
      ["--min-connections", "--max-connections"],
    ] as const
  ) {
    const { message } = assertThrows(
      () => splitArguments([written], table),
      UsageError,
    );
    assertEquals(/did you mean (.*)\?/.exec(message)?.[1], hint, message);
  }
});

Deno.test("an absent option is an error with its hint", () => {
  const table = { listen: absent("write LISTEN=REMOTE") };
  const read = (...args: string[]) =>
    readValues(table, splitArguments(args, table).texts);
  assertEquals(read(), { listen: undefined });
  assertThrows(
    () => read("--listen", "3000"),
    UsageError,
    "--listen: write LISTEN=REMOTE",
  );
});

Deno.test("splitArguments does not propose a hidden option", () => {
  const { message } = assertThrows(
    () => splitArguments(["--od"], table),
    UsageError,
  );
  assert(!message.includes("--old"), message);
  assertEquals(texts("--old"), { old: ["true"] });
});

Deno.test("readValues gives typed values and defaults", () => {
  const given = splitArguments(
    ["--path", "x", "--server-addr", "[::1]:9", "--rate=1.5M", "--no-loop"],
    table,
  ).texts;
  assertEquals(readValues(table, given), {
    config: undefined,
    path: "x",
    serverAddr: [{ hostname: "::1", port: 9 }],
    tee: false,
    loop: false,
    rate: 1_500_000,
    ttl: 1,
    engine: "auto",
    old: false,
  });
});

Deno.test("readValues names the option whose text is wrong, and what is wanted", () => {
  const cases: readonly [string[], string][] = [
    [[], "--path FILE is missing"],
    [["--path=x", "--server-addr=a"], "--server-addr: "],
    [["--path=x", "--ttl=256"], '"256" is not a whole number from 0 to 255'],
    [["--path=x", "--ttl=-1"], '--ttl: "-1"'],
    [["--path=x", "--ttl=1.5"], '--ttl: "1.5"'],
    [["--path=x", "--rate=fast"], '--rate: "fast" is not a number with a unit'],
    [["--path=x", "--rate=1"], "not between 1000 and"],
    [["--path=x", "--engine=win"], '"win" is none of auto, linux'],
  ];
  for (const [args, wanted] of cases) {
    const message = refusal(...args);
    assert(message.includes(wanted), message);
  }
});

Deno.test("seconds reads decimals, and refuses what a timer cannot wait", () => {
  assertEquals([seconds("0"), seconds("0.25"), seconds("86400")], [
    0,
    0.25,
    86400,
  ]);
  // A timer's 32-bit milliseconds end after 24.8 days; more would fire at once.
  assertEquals(seconds("2147483"), 2_147_483);
  for (
    const given of [
      "-1",
      "1s",
      "",
      "1e3",
      "Infinity",
      "2147484",
      "9".repeat(400),
    ]
  ) {
    assertThrows(() => seconds(given), UsageError, `"${given}"`);
  }
});

Deno.test("flagName and splitArguments agree on every name", () => {
  for (const key of Object.keys(table)) {
    assert(/^[a-z]+(-[a-z]+)*$/.test(flagName(key)));
  }
});

function fromToml(source: string): Record<string, string[]> {
  return Object.fromEntries(
    configTexts(
      plainValue(parseTomlTree(source)) as Record<string, unknown>,
      table,
      "a.toml",
    ),
  );
}

Deno.test("configTexts reads the flags' names in either spelling, arrays where a flag repeats", () => {
  assertEquals(
    fromToml(`
      path = "x"
      server_addr = ["a:1", "b:2"]
      tee = true
      loop = false
      rate = 500_000_000
      ttl = 4
    `),
    {
      path: ["x"],
      serverAddr: ["a:1", "b:2"],
      tee: ["true"],
      loop: ["false"],
      rate: ["500000000"],
      ttl: ["4"],
    },
  );
  assertEquals(fromToml('downstream-addr = "a:1"'), { serverAddr: ["a:1"] });
});

Deno.test("configTexts gives what the command line gives for the same options", () => {
  fc.assert(fc.property(
    fc.record({
      path: fc.stringMatching(/^[a-z/]{1,20}$/),
      ttl: fc.integer({ min: 0, max: 255 }),
      rate: fc.integer({ min: 1000, max: 10 ** 12 }),
      tee: fc.boolean(),
      servers: fc.array(fc.domain().map((name) => `${name}:1`), {
        minLength: 1,
      }),
    }),
    ({ path, ttl, rate, tee, servers }) => {
      const config = fromToml(
        `path = "${path}"\nttl = ${ttl}\nrate = ${rate}\ntee = ${tee}\n` +
          `server-addr = ${JSON.stringify(servers)}`,
      );
      const line = texts(
        `--path=${path}`,
        `--ttl=${ttl}`,
        `--rate=${rate}`,
        `--tee=${tee}`,
        ...servers.map((server) => `--server-addr=${server}`),
      );
      assertEquals(config, line);
    },
  ));
});

Deno.test("configTexts names the file and the key that is wrong", () => {
  const cases: readonly [string, string][] = [
    ['pth = "x"', 'the key "pth" is unknown'],
    ["no-loop = true", 'the key "no-loop" is unknown'],
    ['config = "b.toml"', '"config" is for the command line only'],
    ["t = true", 'the key "t" is unknown'],
    ['tee = "yes"', '"tee" wants true or false'],
    ["tee = 1", '"tee" wants true or false'],
    ["path = true", '"path" wants a value'],
    ["path = 1979-05-27", '"path" wants a value'],
    ['[path]\na = "x"', '"path" wants a value'],
    ['path = ["a", "b"]', '"path" takes one value'],
    ['server-addr = [["a:1"]]', '"server-addr" wants a value'],
    [
      'server-addr = "a:1"\nserver_addr = "b:1"',
      '"server_addr" is given twice',
    ],
    [
      'server-addr = "a:1"\ndownstream-addr = "b:1"',
      '"downstream-addr" is given twice',
    ],
  ];
  for (const [source, wanted] of cases) {
    const { message } = assertThrows(() => fromToml(source), UsageError);
    assert(message.includes(wanted) && message.includes("a.toml"), message);
  }
});
