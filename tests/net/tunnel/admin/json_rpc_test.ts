// deno-lint-ignore-file camelcase -- names of the original's JSON-RPC
import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { formatAddress } from "../../../../net/address.ts";
import {
  answerRpc,
  MAX_ANSWER_BYTES,
  MAX_BATCH,
} from "../../../../net/tunnel/admin/json_rpc.ts";
import { ParameterError } from "../../../../net/tunnel/admin/parameters.ts";
import { readRpcOptions } from "../../../../net/tunnel/admin/rpc_options.ts";
import { UsageError } from "../../../../net/errors.ts";
import {
  formatOptions,
  type GivenTunnelOptions,
  parseTunnel,
  STRATEGIES,
  TUNNEL_OPTIONS,
  type TunnelOptions,
} from "../../../../net/tunnel/spec.ts";
import {
  checkTunnels,
  MAX_REMOTES,
  MAX_TOTAL_REMOTES,
  MAX_TUNNELS,
  TunnelLimitError,
} from "../../../../net/tunnel/limits.ts";
import { Tunnels } from "../../../../net/tunnel/tunnels.ts";
import { LogWatch } from "../../../support/log_watch.ts";

interface Answer {
  // deno-lint-ignore no-explicit-any
  result?: any;
  error?: { code: number; message: string; data?: string };
}

async function withRpc(
  test: (
    call: (method: string, params?: unknown) => Promise<Answer>,
    tunnels: Tunnels,
  ) => Promise<void>,
): Promise<void> {
  const watch = new LogWatch();
  await using tunnels = await Tunnels.start({ log: watch.log });
  await test(async (method, params) => {
    const request = { jsonrpc: "2.0", id: 7, method, params };
    return JSON.parse((await answerRpc(tunnels, JSON.stringify(request)))!);
  }, tunnels);
}

/** What each key of README and `--help-tunnel` means, as JSON and in the library. */
const DOCUMENTED: readonly [
  key: string,
  json: unknown,
  field: keyof TunnelOptions,
  value: unknown,
][] = [
  ["strategy", "round-robin", "strategy", "round-robin"],
  ["retries", 5, "attempts", 5],
  ["timeout", 2.5, "connectTimeoutMs", 2500],
  ["errors", 2, "errorsTillDead", 2],
  ["check-interval", 3, "checkIntervalMs", 3000],
  ["remote-tls", true, "remoteTls", true],
  ["idle-timeout", 60, "idleTimeoutMs", 60_000],
  ["half-close-timeout", 0, "halfCloseTimeoutMs", 0],
  ["max-connections", 7, "maxConnections", 7],
  ["max-connections-per-source", 3, "maxConnectionsPerSource", 3],
  ["drain-timeout", 5, "drainTimeoutMs", 5000],
];

function spellings(key: string): string[] {
  const camel = key.replace(/-./g, (part) => part[1]!.toUpperCase());
  return [...new Set([key, key.replaceAll("-", "_"), camel])];
}

Deno.test("openTunnel takes every documented option in each of its spellings", async () => {
  await withRpc(async (call, tunnels) => {
    for (const [key, json, field, value] of DOCUMENTED) {
      for (const name of spellings(key)) {
        const answer = await call("openTunnel", ["0", ["1"], { [name]: json }]);
        assertEquals(answer.error, undefined, name);
        const tunnel = tunnels.list().at(-1)!;
        assertEquals<unknown>(tunnel.spec.options, { [field]: value }, name);
      }
    }
  });
});

const seconds = fc.integer({ min: 1, max: 2_147_483_647 });
const file = fc.stringMatching(/^[^,\]\n]{1,20}$/);
const tunnelOptions: fc.Arbitrary<GivenTunnelOptions> = fc.record({
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

Deno.test("options in JSON mean what they mean in brackets", () => {
  fc.assert(fc.property(tunnelOptions, (options) => {
    const json = Object.fromEntries(
      TUNNEL_OPTIONS.flatMap(({ key, field }) => {
        const value = options[field];
        if (value === undefined) return [];
        return [[key, field.endsWith("Ms") ? Number(value) / 1000 : value]];
      }),
    );
    const text = formatOptions(options);
    const brackets = text === "" ? "1=2" : `1=2[${text}]`;
    assertEquals(readRpcOptions(json), parseTunnel(brackets).options);
    assertEquals(readRpcOptions(json), options);
  }));
});

Deno.test("every JSON object of options is read whole or refused", () => {
  const name = fc.oneof(
    fc.constantFrom(
      ...TUNNEL_OPTIONS.flatMap(({ key }) => spellings(key)),
      "lb_strategy",
      "options",
    ),
    fc.string(),
  );
  const object = fc.dictionary(name, fc.jsonValue(), { maxKeys: 4 });
  fc.assert(
    fc.property(object, (given) => {
      let read: GivenTunnelOptions;
      try {
        read = readRpcOptions(given);
      } catch (error) {
        assert(error instanceof ParameterError, String(error));
        assert(!error.message.includes("\n"), error.message);
        return;
      }
      // What was read is as much as was given: null alone is left out.
      const count = Object.values(given).filter((value) =>
        value !== null
      ).length;
      assert(
        "options" in given || Object.keys(read).length === count,
        JSON.stringify(given),
      );
    }),
    { numRuns: 1000 },
  );
});

Deno.test("openTunnel reads files of certificates under their documented names", async () => {
  await withRpc(async (call) => {
    for (const name of ["remote-ca", "remote_ca", "remoteCa"]) {
      const options = { "remote-tls": true, [name]: "/nowhere/ca.pem" };
      const { error } = await call("openTunnel", ["0", ["1"], options]);
      assertEquals(error?.code, 1014, name);
      assert(error!.message.includes("/nowhere/ca.pem"), error!.message);
    }
    for (
      const [cert, key] of [["tls-cert", "tls-key"], ["tlsCert", "tlsKey"]]
    ) {
      const options = { [cert!]: "/nowhere/c.pem", [key!]: "/nowhere/k.pem" };
      const { error } = await call("openTunnel", ["0", ["1"], options]);
      assertEquals(error?.code, 1014, cert);
    }
    const { error } = await call("openTunnel", ["0", ["1"], {
      "tls-cert": "c.pem",
    }]);
    assert(error!.message.includes("tls-key"), error!.message);
  });
});

Deno.test("openTunnel refuses every option that it does not know, and opens nothing", async () => {
  await withRpc(async (call, tunnels) => {
    const inner = {
      errors_till_dead: 1,
      connect_timeout: 1,
      dead_retry: 1,
      tls: false,
    };
    for (
      const options of [
        { "remote-tsl": true },
        { tls: true },
        { remotetls: true },
        { connectTimeoutMs: 5 },
        { "": 1 },
        { constructor: 1 },
        { toString: 1 },
        { Options: inner },
        { options: { ...inner, secure: true } },
        JSON.parse('{"__proto__": {"remote-tls": true}}'),
      ]
    ) {
      const { error } = await call("openTunnel", ["0", ["1"], options]);
      assertEquals(error?.code, -32602, JSON.stringify(options));
      assert(error!.data!.startsWith("unknown field `"), error!.data);
    }
    assertEquals(tunnels.list(), []);
  });
});

Deno.test("openTunnel refuses options of the wrong type, and opens nothing", async () => {
  await withRpc(async (call, tunnels) => {
    const wrong: Record<string, readonly unknown[]> = {
      strategy: [5, true, null, [], {}, "best", ""],
      retries: ["3", true, null, [3], -1, 1.5, 65536],
      timeout: ["2", false, null, {}, 0, -1, 1e30],
      errors: ["1", true, null, [], -1, 0.5],
      "check-interval": ["1", null, 0],
      "remote-tls": ["true", "false", 1, 0, null, [], {}],
      "remote-ca": [5, true, [], ""],
      "tls-cert": [5, true, {}, ""],
      "tls-key": [5, false, {}, ""],
      "idle-timeout": ["0", null, -1],
      "half-close-timeout": ["0", null, -1],
    };
    for (const { key } of TUNNEL_OPTIONS) {
      for (const value of wrong[key] ?? [[], {}]) {
        const { error } = await call("openTunnel", ["0", ["1"], {
          [key]: value,
        }]);
        assertEquals(error?.code, -32602, `${key} ${JSON.stringify(value)}`);
      }
    }
    for (const options of [5, "remote-tls=true", true, []]) {
      const { error } = await call("openTunnel", ["0", ["1"], options]);
      assertEquals(error?.code, -32602);
    }
    assertEquals(tunnels.list(), []);
  });
});

Deno.test("openTunnel refuses an option that is given twice", async () => {
  await withRpc(async (call, tunnels) => {
    for (
      const options of [
        { "remote-tls": true, remoteTls: false },
        { retries: 1, remote_connect_retries: 2 },
        { strategy: "random", lb_strategy: "Random" },
        {
          "remote-tls": true,
          options: {
            errors_till_dead: 1,
            connect_timeout: 1,
            dead_retry: 1,
            tls: false,
          },
        },
      ]
    ) {
      const { error } = await call("openTunnel", ["0", ["1"], options]);
      assertEquals(error?.code, -32602, JSON.stringify(options));
      assert(error!.data!.startsWith("duplicate field"), error!.data);
    }
    assertEquals(tunnels.list(), []);
  });
});

Deno.test("openTunnel takes back the options that status shows", async () => {
  await withRpc(async (call) => {
    await call("openTunnel", ["0", ["1"], { retries: 9, timeout: 0.5 }]);
    const [{ options }] = (await call("status")).result.tunnels;
    assertEquals(
      (await call("openTunnel", ["0", ["1"], options])).error,
      undefined,
    );
    const { tunnels } = (await call("status")).result;
    assertEquals(tunnels[1].options, options);
  });
});

Deno.test("every method refuses parameters that it does not have", async () => {
  await withRpc(async (call, tunnels) => {
    const { label } = await tunnels.open("0=1");
    const calls: [string, Record<string, unknown>][] = [
      ["openTunnel", { tunnel_socket: "0", remotes: ["1"] }],
      ["closeTunnel", { tunnel_socket: label }],
      ["drainTunnel", { tunnel_socket: label }],
      ["addRemote", { tunnel: label, remote: "2" }],
      ["removeRemote", { tunnel: label, remote: "1" }],
      ["tunnelInfo", { tunnel_socket: label }],
      ["remotes", { tunnel_socket: label }],
      ["listConnections", { tunnel_socket: label }],
      ["killConnection", { id: "1-1" }],
      ["numberOfTunnels", {}],
      ["listTunnels", {}],
      ["status", {}],
      ["reload", {}],
      ["quit", {}],
    ];
    for (const [method, params] of calls) {
      const more = await call(method, { ...params, force: true });
      assertEquals(more.error?.code, -32602, method);
      assert(more.error!.data!.startsWith("unknown field `force`"));
      const list = [...Object.values(params), null, null, null, null];
      assertEquals((await call(method, list)).error?.code, -32602, method);
    }
    const { error } = await call("tunnelInfo", {
      tunnel_socket: label,
      tunnelSocket: "1",
    });
    assertEquals(error?.data, "duplicate field `tunnelSocket`");
    const info = await call("tunnelInfo", { "tunnel-socket": label });
    assertEquals(info.result.num_remotes, 1);
    assertEquals(tunnels.list().map((tunnel) => tunnel.label), [label]);
  });
});

Deno.test("closeTunnel refuses a deadline for an end without one", async () => {
  await withRpc(async (call, tunnels) => {
    const { label } = await tunnels.open("0=1");
    for (const params of [{ deadline: 5 }, { mode: "now", deadline: 5 }]) {
      const { error } = await call("closeTunnel", {
        tunnelSocket: label,
        ...params,
      });
      assertEquals(error?.code, -32602);
    }
    assertEquals(tunnels.list().length, 1);
  });
});

Deno.test("killConnection says what an id looks like", async () => {
  await withRpc(async (call) => {
    const { error } = await call("killConnection", ["abc"]);
    assertEquals(error?.code, -32602);
    assert(error!.data!.includes("TUNNEL-CONNECTION"), error!.data);
    assertEquals((await call("killConnection", ["1-1"])).error?.code, 1015);
  });
});

Deno.test("an error of a specification says its column in data", async () => {
  await withRpc(async (call) => {
    const { error } = await call("openTunnel", ["0", ["1", "db:x"]]);
    assertEquals(error?.code, 1002);
    assert(error!.data!.includes("column 4"), error!.data);
  });
});

Deno.test("Tunnels.close refuses an address that is undefined", async () => {
  const watch = new LogWatch();
  await using tunnels = await Tunnels.start({
    log: watch.log,
    tunnels: ["0=1", "0=2"],
  });
  const close = tunnels.close.bind(tunnels) as (
    given: unknown,
  ) => Promise<void>;
  for (const lost of [undefined, null, {}, "3000"]) {
    await assertRejects(() => close(lost), UsageError, "invalid address");
  }
  assertEquals(tunnels.list().length, 2);
  await tunnels.close();
  assertEquals(tunnels.list(), []);
});

// ---- limits

function remotes(count: number): string[] {
  return Array.from(
    { length: count },
    (_, i) => `127.1.${i >> 8}.${i & 255}:9`,
  );
}

Deno.test("checkTunnels holds each limit and their sum", () => {
  const tunnel = (count: number) => ({
    local: { hostname: "127.0.0.1", port: 0 },
    remotes: new Array(count),
  });
  const allowed = (counts: number[]) => {
    try {
      checkTunnels(counts.map(tunnel));
      return true;
    } catch (error) {
      assert(error instanceof TunnelLimitError);
      return false;
    }
  };
  assertEquals([MAX_TUNNELS, MAX_REMOTES, MAX_TOTAL_REMOTES], [
    1024,
    1024,
    4096,
  ]);
  assert(allowed(new Array(1024).fill(1)));
  assert(!allowed(new Array(1025).fill(1)));
  assert(allowed([1024]));
  assert(!allowed([1025]));
  assert(allowed([1024, 1024, 1024, 1024]));
  assert(!allowed([1024, 1024, 1024, 1024, 1]));
});

Deno.test("openTunnel and addRemote refuse more remotes than a tunnel may have", async () => {
  await withRpc(async (call, tunnels) => {
    const many = await call("openTunnel", ["0", remotes(20_000)]);
    assertEquals(many.error?.code, 1016);
    assertEquals(tunnels.list(), []);
    assertEquals(
      (await call("openTunnel", ["0", remotes(1024)])).error,
      undefined,
    );
    const { label } = tunnels.list()[0]!;
    const more = await call("addRemote", [label, "4444"]);
    assertEquals(more.error?.code, 1016);
    assert(more.error!.message.includes("1024"), more.error!.message);
    assertEquals(tunnels.list()[0]!.remotes.length, 1024);
  });
});

Deno.test("a batch stops where its answers have reached their limit", async () => {
  const watch = new LogWatch();
  await using tunnels = await Tunnels.start({ log: watch.log });
  for (let i = 0; i < 3; i++) {
    await tunnels.open({
      local: { hostname: "127.0.0.1", port: 0 },
      remotes: remotes(1024).map((text) => {
        const [hostname, port] = text.split(":");
        return { hostname: hostname!, port: Number(port) };
      }),
      options: {},
    });
  }
  const [tunnel] = tunnels.list();
  const status = (id: number) => ({ jsonrpc: "2.0", id, method: "status" });
  const batch: unknown[] = Array.from(
    { length: MAX_BATCH - 1 },
    (_, i) => status(i),
  );
  batch.push({
    jsonrpc: "2.0",
    id: "close",
    method: "closeTunnel",
    params: [formatAddress(tunnel!.address)],
  });
  const text = (await answerRpc(tunnels, JSON.stringify(batch)))!;
  assert(text.length < MAX_ANSWER_BYTES + 100_000, `${text.length} bytes`);
  // deno-lint-ignore no-explicit-any
  const answers: any[] = JSON.parse(text);
  assertEquals(answers.length, MAX_BATCH);
  assertEquals(answers[0].result.tunnels.length, 3);
  assertEquals(answers[98].error.code, -32011);
  assertEquals(answers[99].id, "close");
  assertEquals(answers[99].error.code, -32011);
  assertEquals(tunnels.list().length, 3, "what was not answered was not done");
});
