import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  canonicalIp,
  formatAddress,
  formatIpv6,
  parseAddress,
} from "../../../net/address.ts";
import { UsageError } from "../../../net/errors.ts";
import {
  completeOptions,
  DEFAULT_TUNNEL_OPTIONS,
  formatTunnel,
  type GivenTunnelOptions,
  optionKeys,
  parseSocket,
  parseTunnel,
  SpecError,
  STRATEGIES,
} from "../../../net/tunnel/spec.ts";

function tunnelError(text: string): SpecError {
  return assertThrows(() => parseTunnel(text), SpecError);
}

const label = fc.stringMatching(
  /^[A-Za-z0-9_]([A-Za-z0-9_-]{0,9}[A-Za-z0-9_])?$/,
);
const name = fc.tuple(
  fc.array(label, { minLength: 1, maxLength: 4 }),
  fc.constantFrom("", "."),
).map(([labels, root]) => labels.join(".") + root)
  .filter((text) => !/^[\d.]+$/.test(text));
const v4 = fc.ipV4();
const v6 = fc.uint8Array({ minLength: 16, maxLength: 16 }).map(formatIpv6);
const address = fc.record({
  hostname: fc.oneof(name, v4, v6),
  port: fc.integer({ min: 0, max: 65535 }),
}, { noNullPrototype: true });
const seconds = fc.integer({ min: 1, max: 2_147_483_647 });
const file = fc.stringMatching(/^[^,\]\n]{1,20}$/);
const options: fc.Arbitrary<GivenTunnelOptions> = fc.record({
  strategy: fc.constantFrom(...STRATEGIES),
  attempts: fc.integer({ min: 0, max: 65535 }),
  connectTimeoutMs: seconds,
  errorsTillDead: fc.nat(),
  checkIntervalMs: seconds,
  remoteTls: fc.boolean(),
  remoteCa: file,
  tlsCert: file,
  tlsKey: file,
  idleTimeoutMs: fc.oneof(fc.constant(0), seconds),
  halfCloseTimeoutMs: fc.oneof(fc.constant(0), seconds),
}, { requiredKeys: [], noNullPrototype: true });

Deno.test("parseTunnel reads back what formatTunnel writes", () => {
  fc.assert(fc.property(
    fc.record({
      local: address,
      remotes: fc.uniqueArray(address, {
        minLength: 1,
        maxLength: 5,
        selector: (remote) => formatAddress(remote).toLowerCase(),
      }),
      options,
    }, { noNullPrototype: true }),
    (spec) => {
      assertEquals(parseTunnel(formatTunnel(spec)), spec);
    },
  ));
});

Deno.test("parseTunnel ends every text with a tunnel or a SpecError inside it", () => {
  const text = fc.string({
    unit: fc.constantFrom(..."0123456789=,:[].-ab_ é\t".split("")),
    maxLength: 40,
  });
  fc.assert(fc.property(fc.oneof(text, fc.string()), (text) => {
    try {
      parseTunnel(text);
    } catch (error) {
      if (!(error instanceof SpecError)) throw error;
      const { offset, original } = error;
      assertEquals(offset >= 0 && offset <= text.length, true);
      assertEquals(text.includes(original.unparsed), true);
    }
  }));
});

Deno.test("parseTunnel takes a bare port as a port of 127.0.0.1", () => {
  assertEquals(parseTunnel("3000=4000").local, parseSocket("127.0.0.1:3000"));
});

Deno.test("parseTunnel drops a remote that is named twice, in any spelling", () => {
  const { remotes } = parseTunnel("1=2,127.0.0.1:2,[::1]:2,[0:0::1]:2,A:2,a:2");
  assertEquals(remotes.map(formatAddress), ["127.0.0.1:2", "[::1]:2", "A:2"]);
});

Deno.test("parseTunnel reads every option, in any case and with _ for -", () => {
  const spec = parseTunnel(
    "1=2[STRATEGY=Round-Robin,retries=+5,Timeout=.5,errors=7,check_interval=1e1," +
      "remote-tls=true,remote-ca=ca.pem,tls-cert=c.pem,tls-key=k=1.pem,idle-timeout=0,half_close-TIMEOUT=2.5]",
  );
  assertEquals(spec.options, {
    strategy: "round-robin",
    attempts: 5,
    connectTimeoutMs: 500,
    errorsTillDead: 7,
    checkIntervalMs: 10_000,
    remoteTls: true,
    remoteCa: "ca.pem",
    tlsCert: "c.pem",
    tlsKey: "k=1.pem",
    idleTimeoutMs: 0,
    halfCloseTimeoutMs: 2500,
  });
});

Deno.test("parseTunnel reads every spelling of a strategy", () => {
  const spellings = {
    "random": "random",
    "round-robin": "round-robin",
    "roundrobin": "round-robin",
    "round_robin": "round-robin",
    "minimum-open-connections": "minimum-open-connections",
    "min-open-connections": "minimum-open-connections",
    "min_open_connections": "minimum-open-connections",
    "minopenconnections": "minimum-open-connections",
    "minimum_open_connections": "minimum-open-connections",
    "minimumopenconnections": "minimum-open-connections",
  };
  for (const [text, strategy] of Object.entries(spellings)) {
    for (const written of [text, text.toUpperCase()]) {
      const { options } = parseTunnel(`1=2[strategy=${written}]`);
      assertEquals<string | undefined>(options.strategy, strategy);
    }
  }
  tunnelError("1=2[strategy=constructor]");
});

// What nom's combinators say of each, read off the original's grammar.
const FAILURES: [
  text: string,
  column: number,
  kind: string,
  unparsed: string,
][] = [
  ["", 1, "Digit", ""],
  ["3000", 5, "Char", ""],
  ["localhost", 10, "Digit", "localhost"],
  ["127.0.0.1=3000", 10, "Char", ".0.0.1=3000"],
  ["localhost:99999=1", 11, "Digit", "localhost:99999=1"],
  ["abc-:3=4", 4, "Digit", "abc-:3=4"],
  ["a.-b:3=4", 3, "Digit", "a.-b:3=4"],
  ["a..b:3=4", 3, "Digit", "a..b:3=4"],
  [".a:3=4", 1, "Digit", ".a:3=4"],
  ["a!b:3=4", 2, "Digit", "a!b:3=4"],
  ["31801:31802", 6, "Char", ":31802"],
  ["31801:31802=4", 6, "Char", ":31802=4"],
  ["*:31801=4", 1, "Digit", "*:31801=4"],
  [":8080=4", 1, "Digit", ":8080=4"],
  ["1=:8080", 3, "Digit", ":8080"],
  ["1.2.3.400:3=4", 1, "Char", ".2.3.400:3=4"],
  ["::1:3=4", 1, "Digit", "::1:3=4"],
  ["[::1]=4", 6, "Digit", "[::1]=4"],
  ["[::1:3=4", 1, "Digit", "[::1:3=4"],
  ["3000=", 6, "Digit", ""],
  ["3000= 4000", 6, "Digit", " 4000"],
  ["3000=70000", 6, "Digit", "70000"],
  ["3000=4000 ", 10, "Eof", " "],
  ["3000=127.0.0.1", 15, "Eof", ".0.0.1"],
  ["3000=4000,bad", 14, "Eof", ",bad"],
  ["3000=4000[]", 11, "Eof", "[]"],
  ["3000=4000[=5]", 11, "Verify", ""],
  ["3000=4000[foo=1]", 11, "Verify", "foo"],
  ["3000=4000[timeout=abc]", 19, "Verify", "abc"],
  ["3000=4000[timeout=abc", 19, "Verify", "abc"],
  ["3000=4000[timeout=5", 20, "Eof", "[timeout=5"],
  ["3000=4000[timeout=5,]", 21, "Eof", "[timeout=5,]"],
  ["3000=4000[timeout=5]x", 21, "Eof", "x"],
  ["3000=4000]", 10, "Eof", "]"],
];

for (const [text, column, kind, unparsed] of FAILURES) {
  Deno.test(`parseTunnel points at column ${column} of "${text}"`, () => {
    const error = tunnelError(text);
    assertEquals(error.offset + 1, column);
    assertEquals(error.original, { kind, unparsed });
    assertEquals(error.message.includes(`column ${column}: `), true);
    assertEquals(error.message.includes("\n"), text.includes("\n"));
  });
}

Deno.test("parseTunnel hints at what is meant by a text of another program", () => {
  for (
    const [text, hint] of [
      ["31801:31802", "such as 31801=31802"],
      ["*:31801=4000", "use 0.0.0.0 or [::]"],
      ["3000=*:31801", "use 0.0.0.0 or [::]"],
      [":8080=4000", "use 8080 for 127.0.0.1, or 0.0.0.0:8080"],
      ["3000=:8080", "use 8080 for 127.0.0.1, or 0.0.0.0:8080"],
      ["::1:3=4", "such as [::1]:3000"],
      ["3000:db:5432", "such as [::1]:3000"],
    ] as const
  ) {
    const { wanted } = tunnelError(text);
    assertEquals(wanted.includes(hint), true, `${text}: ${wanted}`);
  }
});

Deno.test("parseTunnel refuses times that no timer holds, which stopped the original", () => {
  for (
    const key of [
      "timeout",
      "check-interval",
      "idle-timeout",
      "half-close-timeout",
    ]
  ) {
    for (const value of ["-1", "NaN", "inf", "-0.5", "1e30", ""]) {
      assertEquals(tunnelError(`1=2[${key}=${value}]`).original.kind, "Verify");
    }
  }
  tunnelError("1=2[timeout=0]");
  tunnelError("1=2[check-interval=0]");
});

Deno.test("parseTunnel refuses numbers that do not fit their option", () => {
  for (
    const option of [
      "retries=65536",
      "retries=-1",
      "retries=1.5",
      "errors=-1",
      "remote-tls=yes",
      "remote-tls=True",
      "tls-cert=",
    ]
  ) {
    assertEquals(tunnelError(`1=2[${option}]`).original.kind, "Verify");
  }
});

Deno.test("parseTunnel lists all options where one is unknown", () => {
  const { wanted } = tunnelError("1=2[weight=3]");
  for (const key of optionKeys()) assertEquals(wanted.includes(key), true);
});

Deno.test("parseSocket passes over spaces behind a socket and over nothing else", () => {
  assertEquals(parseSocket("3000 \t "), { hostname: "127.0.0.1", port: 3000 });
  assertEquals(parseSocket("[::1%lo]:5"), {
    hostname: "::1",
    port: 5,
    zone: "lo",
  });
  const failure = (text: string) =>
    assertThrows(() => parseSocket(text), SpecError).original;
  assertEquals(failure(" 3000"), { kind: "Digit", unparsed: " 3000" });
  assertEquals(failure("localhost:1 x"), { kind: "", unparsed: " x" });
  assertEquals(failure("127.0.0.1:99999"), {
    kind: "",
    unparsed: ".0.0.1:99999",
  });
});

/** Names that resolvers take (RFC 2181, 11, and what is found in pools and clusters). */
const NAMES = [
  "0.pool.ntp.org",
  "3com.com",
  "my_app_db_1",
  "_sip._tcp.example.com",
  "db.ns.svc.cluster.local.",
  "localhost",
  "localhost.",
  "a",
  "1a",
  "xn--bcher-kva.example",
  "1.2.3.4.in-addr.arpa",
  "1.2.3.4a",
  `${"a".repeat(63)}.com`,
];

const NO_NAMES = [
  "",
  ".",
  "a..b",
  ".a",
  "-a",
  "a-",
  "a.-b",
  "a-.b",
  "a b",
  "bücher.example",
  "3000",
  "1.2.3",
  "1.2.3.400",
  "01.2.3.4",
  "*",
  `${"a".repeat(64)}.com`,
  `${"a.".repeat(126)}ab`,
];

Deno.test("host names are the same for tunnels and all other roles", () => {
  for (const hostname of NAMES) {
    const address = { hostname, port: 5 };
    assertEquals(parseSocket(`${hostname}:5`), address);
    assertEquals(parseAddress(`${hostname}:5`), address);
    const { local, remotes } = parseTunnel(`${hostname}:5=${hostname}:5`);
    assertEquals([local, ...remotes], [address, address]);
  }
  for (const hostname of NO_NAMES) {
    assertThrows(() => parseSocket(`${hostname}:5`), UsageError);
    assertThrows(() => parseAddress(`${hostname}:5`), UsageError);
  }
});

Deno.test("parseSocket and parseAddress take the same hosts", () => {
  const host = fc.string({
    unit: fc.constantFrom(..."019.-_aZ:[]é".split("")),
    maxLength: 12,
  });
  const taken = (read: () => unknown) => {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
    }
  };
  fc.assert(
    fc.property(host, (host) => {
      const text = `${host}:5`;
      assertEquals(
        taken(() => parseSocket(text)),
        taken(() => parseAddress(text)),
        text,
      );
    }),
    { numRuns: 2000 },
  );
});

Deno.test("parseSocket gives one spelling to each IP literal", () => {
  fc.assert(fc.property(v6, (host) => {
    const long = host.includes(".") ? host : host.toUpperCase();
    assertEquals(parseSocket(`[${long}]:1`).hostname, canonicalIp(host)!);
  }));
});

Deno.test("completeOptions wants certificate and key together, and remote-ca with remote-tls", () => {
  const complete = (given: GivenTunnelOptions) =>
    completeOptions(given, DEFAULT_TUNNEL_OPTIONS);
  assertThrows(() => complete({ tlsCert: "c" }), UsageError, "tls-key");
  assertThrows(() => complete({ tlsKey: "k" }), UsageError, "tls-cert");
  assertThrows(() => complete({ remoteCa: "r" }), UsageError, "remote-tls");
  assertEquals(complete({ attempts: 9 }).attempts, 9);
});
