// deno-lint-ignore-file camelcase -- names of the original's JSON-RPC
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import fc from "fast-check";
import { formatAddress } from "../../../../net/address.ts";
import {
  type HttpDoorOptions,
  openHttpDoor,
} from "../../../../net/tunnel/admin/http_server.ts";
import {
  answerRpc,
  MAX_BATCH,
  MAX_REQUEST_BYTES,
} from "../../../../net/tunnel/admin/json_rpc.ts";
import { readToken } from "../../../../net/tunnel/admin/token.ts";
import { UsageError } from "../../../../net/errors.ts";
import { Tunnels } from "../../../../net/tunnel/tunnels.ts";
import { LogWatch } from "../../../support/log_watch.ts";
import {
  connectTo,
  echoServer,
  readToEnd,
  refusingAddress,
  writeAll,
} from "../../../support/tcp.ts";

function free(): string {
  return formatAddress(refusingAddress());
}

interface Answer {
  // deno-lint-ignore no-explicit-any
  result?: any;
  error?: { code: number; message: string; data?: string };
  id?: unknown;
}

/** Calls without a socket. */
async function withRpc(
  test: (
    call: (method: string, params?: unknown) => Promise<Answer>,
    tunnels: Tunnels,
  ) => Promise<void>,
): Promise<void> {
  const watch = new LogWatch();
  await using tunnels = await Tunnels.start({ log: watch.log });
  await test(async (method, params) => {
    const request = {
      jsonrpc: "2.0",
      id: 7,
      method,
      ...params === undefined ? {} : { params },
    };
    const answer = JSON.parse(
      (await answerRpc(tunnels, JSON.stringify(request)))!,
    );
    assertEquals(answer.jsonrpc, "2.0");
    assertEquals(answer.id, 7);
    return answer;
  }, tunnels);
}

Deno.test("answerRpc has the eight methods with the original's results", async () => {
  await using echo = echoServer();
  await withRpc(async (call) => {
    const local = free();
    const remote = formatAddress(echo.address);
    assertEquals((await call("numberOfTunnels")).result, 0);
    assertEquals((await call("openTunnel", [local, [remote]])).result, null);
    assertEquals((await call("numberOfTunnels", [])).result, 1);
    assertEquals((await call("listTunnels")).result, [local]);
    assertEquals(
      (await call("addRemote", { tunnel: local, remote: "4444" })).result,
      null,
    );
    assertEquals((await call("tunnelInfo", { tunnel_socket: local })).result, {
      stats: {
        bytes_sent: 0,
        streams_open: 0,
        bytes_received: 0,
        total_connections: 0,
        errors: 0,
      },
      num_remotes: 2,
      num_dead_remotes: 0,
      options: {
        lb_strategy: "Random",
        remote_connect_retries: 3,
        options: {
          errors_till_dead: 1,
          connect_timeout: 10,
          dead_retry: 10,
          tls: false,
        },
      },
    });
    const stats = {
      bytes_sent: 0,
      streams_open: 0,
      streams_pending: 0,
      bytes_received: 0,
      total_connections: 0,
      last_error_time: null,
      num_errors: 0,
      total_errors: 0,
    };
    assertEquals((await call("remotes", { tunnelSocket: local })).result, {
      [remote]: stats,
      "127.0.0.1:4444": stats,
    });
    assertEquals((await call("removeRemote", [local, "4444"])).result, stats);
    assertEquals((await call("closeTunnel", [local])).result, null);
    assertEquals((await call("listTunnels")).result, []);
  });
});

Deno.test("answerRpc writes floats as floats and members in the original's order", async () => {
  const watch = new LogWatch();
  await using tunnels = await Tunnels.start({ log: watch.log });
  const { label } = await tunnels.open(
    "0=1[timeout=2.5,strategy=minopenconnections]",
  );
  const text = await answerRpc(
    tunnels,
    `{"jsonrpc":"2.0","method":"tunnelInfo","params":["${label}"],"id":"a"}`,
  );
  assertEquals(
    text,
    '{"jsonrpc":"2.0","result":{"stats":{"bytes_sent":0,"streams_open":0,"bytes_received":0,' +
      '"total_connections":0,"errors":0},"num_remotes":1,"num_dead_remotes":0,"options":' +
      '{"lb_strategy":"MinimumOpenConnections","remote_connect_retries":3,"options":' +
      '{"errors_till_dead":1,"connect_timeout":2.5,"dead_retry":10.0,"tls":false}}},"id":"a"}',
  );
});

Deno.test("answerRpc openTunnel takes the original's options, the inner four together", async () => {
  await withRpc(async (call, tunnels) => {
    const options = {
      lb_strategy: "RoundRobin",
      remote_connect_retries: 5,
      options: {
        errors_till_dead: 2,
        connect_timeout: 1.5,
        dead_retry: 3,
        tls: false,
        idle_timeout: 60,
      },
    };
    const local = free();
    assertEquals(
      (await call("openTunnel", { tunnelSocket: local, remotes: [], options }))
        .result,
      null,
    );
    const [tunnel] = tunnels.list();
    assertEquals(tunnel!.remotes, []);
    assertEquals(tunnel!.spec.options, {
      strategy: "round-robin",
      attempts: 5,
      errorsTillDead: 2,
      connectTimeoutMs: 1500,
      checkIntervalMs: 3000,
      remoteTls: false,
      idleTimeoutMs: 60_000,
    });
    const open = async (options: unknown) => {
      const { error } = await call("openTunnel", [free(), ["1"], options]);
      assertEquals([error?.code, error?.message], [-32602, "Invalid params"]);
      return error!.data!;
    };
    assertEquals(
      await open({ options: { tls: true } }),
      "missing field `errors_till_dead`",
    );
    assert(
      (await open({ lb_strategy: "Best" })).startsWith(
        "unknown variant `Best`, expected one of `Random`",
      ),
    );
    assertEquals(
      await open({ remote_connect_retries: 65536 }),
      "invalid value: integer `65536`, expected u16",
    );
    assertEquals(
      await open({ remote_connect_retries: "3" }),
      'invalid type: string "3", expected u16',
    );
    assert(
      (await open({ options: { ...options.options, connect_timeout: -1 } }))
        .includes("`-1`"),
    );
    assert(
      (await open({ options: { ...options.options, dead_retry: 0 } })).includes(
        "`0`",
      ),
    );
    assertEquals(
      (await call("openTunnel", [free(), ["1"], null])).result,
      null,
    );
  });
});

Deno.test("answerRpc says what is wrong with the original's codes and texts", async () => {
  await using taken = echoServer();
  await withRpc(async (call, tunnels) => {
    const { label } = await tunnels.open("0=4444");
    const error = async (method: string, params?: unknown) => {
      const { error } = await call(method, params);
      const isOurs = error!.code < 0 && error!.data !== undefined;
      return [error?.code, isOurs ? error?.data : error?.message];
    };
    const socket = "Socket spec parse error:";
    assertEquals(await error("openTunnel", ["x", []]), [
      1002,
      `${socket} Failed parser: Digit, unparsed: x`,
    ]);
    assertEquals(await error("openTunnel", ["0", ["1 x"]]), [
      1002,
      `${socket} Extra characters after spec:  x`,
    ]);
    assertEquals(
      await error("openTunnel", [formatAddress(taken.address), ["1"]]),
      [1004, "IO error: Address already in use (os error 98)"],
    );
    assertEquals(await error("openTunnel", [label, ["1"]]), [
      1005,
      "Tunnel already exists",
    ]);
    assertEquals(await error("tunnelInfo", ["1"]), [
      1006,
      "Tunnel doesn't exist",
    ]);
    assertEquals(await error("remotes", ["1"]), [1006, "Tunnel doesn't exist"]);
    assertEquals(await error("closeTunnel", ["1"]), [
      1006,
      "Tunnel doesn't exist",
    ]);
    assertEquals(await error("addRemote", [label, "4444"]), [
      1007,
      "Remote already exists",
    ]);
    assertEquals(await error("removeRemote", [label, "1"]), [
      1008,
      "Remote does not exists",
    ]);
    assertEquals(
      (await error("openTunnel", ["0", ["1"], {
        options: {
          errors_till_dead: 1,
          connect_timeout: 1,
          dead_retry: 1,
          tls: true,
          remote_ca: "/nowhere",
        },
      }]))[0],
      1014,
    );
    assertEquals(await error("tunnelInfo"), [-32602, "No more params"]);
    assertEquals(await error("tunnelInfo", []), [-32602, "No more params"]);
    assertEquals(await error("tunnelInfo", {}), [
      -32602,
      "missing field `tunnel_socket`",
    ]);
    assertEquals(await error("tunnelInfo", [5]), [
      -32602,
      "invalid type: integer `5`, expected a string",
    ]);
    assertEquals(await error("tunnelInfo", "x"), [
      -32602,
      "expected a list or an object of parameters",
    ]);
    assertEquals(await error("nope"), [-32601, "Method not found"]);
  });
});

Deno.test("answerRpc has our own methods too", async () => {
  await using echo = echoServer();
  await withRpc(async (call, tunnels) => {
    const remote = formatAddress(echo.address);
    const tunnel = await tunnels.open(`0=${remote}`);
    using conn = await connectTo(tunnel.address);
    await writeAll(conn, new Uint8Array(3));
    const read = new Uint8Array(3);
    await conn.read(read);
    const [connection] = (await call("listConnections", [tunnel.label])).result;
    assertEquals([connection.remote, connection.bytes_sent], [remote, 3]);
    assertEquals(
      (await call("killConnection", { id: connection.id })).result,
      null,
    );
    assertEquals(
      (await call("killConnection", [connection.id])).error!.code,
      1015,
    );
    const status = (await call("status")).result;
    assertEquals(status.tunnels[0].remotes[0].opened, 1);
    assertEquals(
      (await call("drainTunnel", [tunnel.label, 0.01])).result,
      null,
    );
    await tunnel.finished;
    assertEquals(
      (await call("closeTunnel", [tunnel.label, "drain", 5])).error!.code,
      1006,
    );
    assertEquals(
      (await call("closeTunnel", [tunnel.label, "soon"])).error!.code,
      -32602,
    );
    assertEquals((await call("reload")).result.failed, []);
    assertEquals((await call("quit", ["now"])).result, null);
    await tunnels.finished;
  });
});

Deno.test("answerRpc does notifications without an answer, and batches in order", async () => {
  const watch = new LogWatch();
  await using tunnels = await Tunnels.start({ log: watch.log });
  const local = free();
  const request = (method: string, params: unknown[], id?: number) => ({
    jsonrpc: "2.0",
    method,
    params,
    ...(id === undefined ? {} : { id }),
  });
  const ask = (message: unknown) => answerRpc(tunnels, JSON.stringify(message));
  assertEquals(await ask(request("openTunnel", [local, ["1"]])), undefined);
  assertEquals(tunnels.list().length, 1);
  assertEquals(
    await ask([request("closeTunnel", [local]), request("nope", [])]),
    undefined,
  );
  assertEquals(tunnels.list().length, 0);
  const answers = JSON.parse(
    (await ask([
      request("openTunnel", [local, ["1"]], 1),
      request("addRemote", [local, "2"]),
      request("remotes", [local], 2),
      5,
      { jsonrpc: "2.0", method: 5, id: 3 },
    ]))!,
  ) as Answer[];
  assertEquals(answers.map(({ id, error }) => [id, error?.code]), [
    [1, undefined],
    [2, undefined],
    [null, -32600],
    [3, -32600],
  ]);
  assertEquals(Object.keys(answers[1]!.result).length, 2);
});

Deno.test("answerRpc refuses what is no JSON-RPC, and batches that are too long", async () => {
  const watch = new LogWatch();
  await using tunnels = await Tunnels.start({ log: watch.log });
  const code = async (text: string) => {
    const { error, id } = JSON.parse((await answerRpc(tunnels, text))!);
    return [error.code, id];
  };
  assertEquals(await code("{"), [-32700, null]);
  assertEquals(await code("[]"), [-32600, null]);
  assertEquals(await code("null"), [-32600, null]);
  assertEquals(await code('{"jsonrpc":"1.0","method":"x","id":1}'), [
    -32600,
    1,
  ]);
  assertEquals(await code('{"jsonrpc":"2.0","method":"x","id":[1]}'), [
    -32600,
    null,
  ]);
  const call = { jsonrpc: "2.0", method: "numberOfTunnels", id: 1 };
  const batch = (count: number) => JSON.stringify(new Array(count).fill(call));
  assertEquals(await code(batch(MAX_BATCH + 1)), [-32010, null]);
  assertEquals(
    JSON.parse((await answerRpc(tunnels, batch(MAX_BATCH)))!).length,
    MAX_BATCH,
  );
});

Deno.test("answerRpc answers every text with JSON-RPC or nothing", async () => {
  const watch = new LogWatch();
  await using tunnels = await Tunnels.start({ log: watch.log });
  const request = fc.record({
    jsonrpc: fc.constantFrom("2.0", "1.0"),
    method: fc.oneof(
      fc.constantFrom(
        "openTunnel",
        "closeTunnel",
        "tunnelInfo",
        "remotes",
        "addRemote",
        "removeRemote",
        "listTunnels",
        "drainTunnel",
      ),
      fc.string(),
    ),
    params: fc.oneof(
      fc.jsonValue(),
      fc.array(fc.oneof(fc.constantFrom("x", "1", "nope:1"), fc.jsonValue())),
    ),
    id: fc.jsonValue(),
  }, { requiredKeys: [], noNullPrototype: true });
  const text = fc.oneof(
    fc.string(),
    request.map((one) => JSON.stringify(one)),
    fc.array(request, { maxLength: 5 }).map((many) => JSON.stringify(many)),
  );
  await fc.assert(
    fc.asyncProperty(text, async (text) => {
      const answer = await answerRpc(tunnels, text);
      if (answer !== undefined) {
        for (const one of [JSON.parse(answer)].flat()) {
          assertEquals(one.jsonrpc, "2.0");
          assertEquals("result" in one !== "error" in one, true);
          assert(one.error?.code !== -32603, text);
        }
      }
      for (const tunnel of tunnels.list()) await tunnels.close(tunnel.address);
    }),
  );
});

// ---- over HTTP and WebSocket

async function withDoor(
  test: (url: string, tunnels: Tunnels) => Promise<void>,
  options: Partial<HttpDoorOptions> = {},
): Promise<void> {
  const watch = new LogWatch();
  await using tunnels = await Tunnels.start({ log: watch.log });
  await using door = await openHttpDoor({
    address: { hostname: "127.0.0.1", port: 0 },
    tunnels,
    ...options,
  });
  await test(`127.0.0.1:${door.address.port}`, tunnels);
}

const COUNT = '{"jsonrpc":"2.0","method":"numberOfTunnels","id":1}';
const COUNTED = '{"jsonrpc":"2.0","result":0,"id":1}';

/** Sends a request by hand, with any headers; gives status and body. */
async function send(
  host: string,
  headers: Record<string, string>,
  body: string | Uint8Array = COUNT,
  method = "POST",
): Promise<[number, string]> {
  const [hostname, port] = host.split(":");
  using conn = await Deno.connect({ hostname: hostname!, port: Number(port) });
  const all: Record<string, string> = {
    host,
    "content-type": "application/json",
    connection: "close",
    "content-length": String(body.length),
    ...headers,
  };
  const head = Object.entries(all).map(([name, value]) =>
    `${name}: ${value}\r\n`
  );
  await writeAll(
    conn,
    new TextEncoder().encode(
      `${method} /any/path HTTP/1.1\r\n${head.join("")}\r\n`,
    ),
  );
  const bytes = typeof body === "string"
    ? new TextEncoder().encode(body)
    : body;
  // A server that refuses does not read to the end.
  await writeAll(conn, bytes).catch(() => {});
  const answer = new TextDecoder().decode(await readToEnd(conn));
  const [first, ...rest] = answer.split("\r\n\r\n");
  return [Number(first!.split(" ")[1]), rest.join("\r\n\r\n")];
}

Deno.test("openHttpDoor answers POST on any path, an empty body to notifications", async () => {
  await withDoor(async (host) => {
    assertEquals(await send(host, {}), [200, COUNTED]);
    assertEquals(
      await send(host, { "content-type": "application/json; charset=utf-8" }),
      [200, COUNTED],
    );
    const notification = '{"jsonrpc":"2.0","method":"numberOfTunnels"}';
    assertEquals(await send(host, {}, notification), [200, ""]);
    const response = await fetch(`http://${host}/`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: COUNT,
    });
    assertEquals(
      response.headers.get("content-type"),
      "application/json; charset=utf-8",
    );
    assertEquals(await response.text(), COUNTED);
  });
});

Deno.test("openHttpDoor answers other methods with 405, other types with 415, long ones with 413", async () => {
  await withDoor(async (host) => {
    assertEquals((await send(host, {}, "", "GET"))[0], 405);
    assertEquals((await send(host, {}, "", "OPTIONS"))[0], 405);
    assertEquals((await send(host, { "content-type": "text/plain" }))[0], 415);
    const long = new Uint8Array(MAX_REQUEST_BYTES + 1).fill(32);
    assertEquals((await send(host, {}, long))[0], 413);
    // And where the length is not told before.
    const chunk = "x".repeat(65536);
    const stream = new ReadableStream<Uint8Array>({
      start(controller) {
        for (let i = 0; i < 20; i++) {
          controller.enqueue(new TextEncoder().encode(chunk));
        }
        controller.close();
      },
    });
    const response = await fetch(`http://${host}/`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: stream,
    }).catch(() => undefined);
    if (response) assertEquals(response.status, 413);
    await response?.body?.cancel();
    assertEquals(await send(host, {}), [200, COUNTED]);
  });
});

Deno.test("openHttpDoor lets no web page in, by Origin nor by a name of its own", async () => {
  await withDoor(async (host, tunnels) => {
    const { port } = new URL(`http://${host}`);
    const open =
      '{"jsonrpc":"2.0","method":"openTunnel","params":["0",["1"]],"id":1}';
    for (const origin of ["http://evil.example", `http://${host}`, "null"]) {
      assertEquals((await send(host, { origin }, open))[0], 403);
    }
    for (
      const name of [
        "evil.example",
        `evil.example:${port}`,
        "localhost.evil.example",
        "",
      ]
    ) {
      assertEquals((await send(host, { host: name }, open))[0], 403);
    }
    for (
      const name of [
        "127.0.0.1",
        `localhost:${port}`,
        `[::1]:${port}`,
        "LOCALHOST",
      ]
    ) {
      assertEquals(await send(host, { host: name }), [200, COUNTED]);
    }
    for (
      const headers of [{ origin: "http://evil.example" }, {
        host: "evil.example",
      }]
    ) {
      const [status] = await send(
        host,
        {
          upgrade: "websocket",
          connection: "upgrade",
          "sec-websocket-version": "13",
          "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
          ...headers,
        },
        "",
        "GET",
      );
      assertEquals(status, 403);
    }
    assertEquals(tunnels.list(), []);
  });
});

Deno.test("openHttpDoor wants a token elsewhere than on loopback, and where one is set", async () => {
  const watch = new LogWatch();
  await using tunnels = await Tunnels.start({ log: watch.log });
  await assertRejects(
    () => openHttpDoor({ address: { hostname: "0.0.0.0", port: 0 }, tunnels }),
    UsageError,
    "`controlToken`",
  );
  const token = "correct horse battery";
  await withDoor(async (host) => {
    assertEquals((await send(host, {}))[0], 401);
    assertEquals((await send(host, { authorization: "Bearer wrong" }))[0], 401);
    assertEquals(
      (await send(host, { authorization: `Basic ${token}` }))[0],
      401,
    );
    const right = { authorization: `Bearer ${token}` };
    assertEquals(await send(host, right), [200, COUNTED]);
    // Who knows the token is no web page, whatever name it came by.
    assertEquals(await send(host, { ...right, host: "proxy.example" }), [
      200,
      COUNTED,
    ]);
    assertEquals((await send(host, { ...right, origin: "http://a" }))[0], 403);
  }, { token });
});

/** A WebSocket whose messages and end are awaited. */
async function openSocket(url: string) {
  const socket = new WebSocket(url);
  const messages: string[] = [];
  let wake = () => {};
  const closed = new Promise<CloseEvent>((resolve) => socket.onclose = resolve);
  socket.onmessage = ({ data }) => {
    messages.push(data);
    wake();
  };
  await new Promise((resolve) => socket.onopen = resolve);
  return {
    socket,
    closed,
    next: async () => {
      while (messages.length === 0) {
        await new Promise<void>((resolve) => wake = resolve);
      }
      return messages.shift()!;
    },
  };
}

Deno.test("openHttpDoor answers WebSocket messages in order, and none to notifications", async () => {
  await withDoor(async (host, tunnels) => {
    const { socket, closed, next } = await openSocket(`ws://${host}/`);
    const local = free();
    socket.send(
      `{"jsonrpc":"2.0","method":"openTunnel","params":["${local}",["1"]]}`,
    );
    for (let id = 0; id < 50; id++) {
      socket.send(`{"jsonrpc":"2.0","method":"listTunnels","id":${id}}`);
    }
    for (let id = 0; id < 50; id++) {
      assertEquals(JSON.parse(await next()), {
        jsonrpc: "2.0",
        result: [local],
        id,
      });
    }
    socket.send("{");
    assertEquals(JSON.parse(await next()).error.code, -32700);
    socket.close();
    await closed;
    assertEquals(tunnels.list().length, 1);
  });
});

Deno.test("openHttpDoor ends a WebSocket whose message is too long", async () => {
  await withDoor(async (host) => {
    const { socket, closed } = await openSocket(`ws://${host}/`);
    socket.send("x".repeat(MAX_REQUEST_BYTES + 1));
    assertEquals((await closed).code, 1009);
  });
});

Deno.test("openHttpDoor closes the WebSocket that is idle longest where there is no room", async () => {
  await withDoor(async (host) => {
    const first = await openSocket(`ws://${host}/`);
    const sockets = await Promise.all(
      Array.from({ length: 511 }, () => openSocket(`ws://${host}/`)),
    );
    assertEquals(await send(host, {}), [200, COUNTED]);
    await first.closed;
    for (const { socket, closed } of sockets) {
      socket.close();
      await closed;
    }
  });
});

Deno.test("openHttpDoor serves one request a connection, whatever follows it", async () => {
  await withDoor(async (host) => {
    const body = '{"jsonrpc":"2.0","id":1,"method":"numberOfTunnels"}';
    const head = "POST / HTTP/1.1\r\nHost: localhost\r\n" +
      `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`;
    const twice = await exchange(host, `\r\n${(head + body).repeat(2)}`);
    assertEquals(twice.match(/HTTP\/1.1/g), ["HTTP/1.1"]);
    assert(twice.startsWith("HTTP/1.1 200 "), twice);
    const chunked = head.replace(
      /Content-Length: \d+/,
      "Transfer-Encoding: chunked",
    ) + `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
    const once = await exchange(host, chunked.repeat(2));
    assertEquals(once.match(/HTTP\/1.1 200/g), ["HTTP/1.1 200"]);
  });
});

/** What comes back for some bytes, to the end. */
async function exchange(host: string, text: string): Promise<string> {
  const [hostname, port] = host.split(":");
  using conn = await Deno.connect({ hostname: hostname!, port: Number(port) });
  await writeAll(conn, new TextEncoder().encode(text));
  return new TextDecoder().decode(await readToEnd(conn));
}

Deno.test("openHttpDoor ends its WebSockets when it is closed", async () => {
  const watch = new LogWatch();
  await using tunnels = await Tunnels.start({ log: watch.log });
  const door = await openHttpDoor({
    address: { hostname: "127.0.0.1", port: 0 },
    tunnels,
  });
  const { closed } = await openSocket(`ws://${formatAddress(door.address)}/`);
  await door[Symbol.asyncDispose]();
  await closed;
});

Deno.test("readToken takes the first line of a file, if it is long enough", async () => {
  const file = await Deno.makeTempFile();
  await Deno.writeTextFile(file, "  0123456789abcdef \r\nmore\n");
  assertEquals(readToken(file), "0123456789abcdef");
  await Deno.writeTextFile(file, "short\n");
  assertThrows(() => readToken(file), UsageError, "5 characters");
  await Deno.remove(file);
  assertThrows(() => readToken(file), UsageError, "Cannot read");
});
