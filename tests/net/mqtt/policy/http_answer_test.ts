/** What a web service's answers mean: the right value is that of the product whose format it is. */
import { assertEquals } from "@std/assert";
import { AnswerError } from "../../../../net/mqtt/hooks/decision.ts";
import { Denial } from "../../../../net/mqtt/hooks/hooks.ts";
import {
  HTTP_AUTH_FORMATS,
  type HttpAuthFormat,
  readHttpAnswer,
} from "../../../../net/mqtt/policy/http_answer.ts";
import { authenticateByHttp } from "../../../../net/mqtt/policy/http_auth.ts";
import type { Credentials } from "../../../../net/mqtt/policy/verdict.ts";
import { VerdictCache } from "../../../../net/mqtt/policy/verdict.ts";

const NOW = 1_000_000;

/** `allow`, `allow NAME until MS`, the code of a denial, or `?` for what is not understood. */
function read(
  format: HttpAuthFormat,
  status: number,
  body: string,
  contentType = "application/json",
): string {
  try {
    const answer = readHttpAnswer(format, { status, contentType, body }, NOW);
    if (answer instanceof Denial) return answer.reasonCode.toString(16);
    const { username, expiresMs } = answer ?? {};
    return [
      "allow",
      ...username === undefined ? [] : [username],
      ...expiresMs === undefined ? [] : [`until ${expiresMs}`],
    ].join(" ");
  } catch (error) {
    if (error instanceof AnswerError) return "?";
    throw error;
  }
}

type Row = [
  status: number,
  body: string,
  expected: { [format in HttpAuthFormat]: string },
];

const row = (
  status: number,
  body: string,
  [status_, mproxy, emqx, vernemq]: string[],
): Row => [status, body, {
  status: status_!,
  mproxy: mproxy!,
  emqx: emqx!,
  vernemq: vernemq!,
}];

const ROWS: Row[] = [
  //               status   mproxy   emqx     vernemq
  row(200, "", ["allow", "allow", "?", "?"]),
  row(204, "", ["allow", "allow", "allow", "?"]),
  row(200, '{"allow": true}', ["allow", "allow", "?", "?"]),
  row(200, '{"allow": false}', ["allow", "86", "?", "?"]),
  row(200, '{"allow": "true"}', ["allow", "?", "?", "?"]),
  row(200, '{"allow": 1}', ["allow", "?", "?", "?"]),
  row(200, '{"allow": null}', ["allow", "?", "?", "?"]),
  row(200, "{}", ["allow", "?", "?", "?"]),
  row(200, '{"username": "admin"}', ["allow", "?", "?", "?"]),
  row(200, '{"expiresMs": 1}', ["allow", "?", "?", "?"]),
  row(200, "true", ["allow", "?", "?", "?"]),
  row(200, "false", ["allow", "?", "?", "?"]),
  row(200, "null", ["allow", "?", "?", "?"]),
  row(200, "[]", ["allow", "?", "?", "?"]),
  row(200, "ok", ["allow", "?", "?", "?"]),
  row(200, "<html>Log in</html>", ["allow", "?", "?", "?"]),
  row(200, '{"ok": true}', ["allow", "?", "?", "?"]),
  row(200, '{"ok": false}', ["allow", "?", "?", "?"]),
  row(200, '{"result": "allow"}', ["allow", "?", "allow", "?"]),
  row(200, '{"result": "deny"}', ["allow", "?", "86", "?"]),
  row(200, '{"result": "ignore"}', ["allow", "?", "86", "?"]),
  row(200, '{"result": "ok"}', ["allow", "?", "?", "allow"]),
  row(200, '{"result": "next"}', ["allow", "?", "?", "86"]),
  row(200, '{"result": {"error": "not_allowed"}}', [
    ...["allow", "?", "?", "86"],
  ]),
  row(200, '{"result": true}', ["allow", "?", "?", "?"]),
  row(401, "", ["86", "86", "86", "86"]),
  row(403, '{"allow": true, "result": "allow"}', ["86", "86", "86", "86"]),
  row(500, '{"allow": true}', ["88", "88", "88", "88"]),
  row(302, "", ["88", "88", "88", "88"]),
  row(404, '{"result": "ok"}', ["88", "88", "88", "88"]),
  row(201, '{"allow": true}', ["allow", "88", "88", "88"]),
];

for (const format of HTTP_AUTH_FORMATS) {
  Deno.test(`readHttpAnswer() takes an explicit yes alone, in the format ${format}`, () => {
    for (const [status, body, expected] of ROWS) {
      assertEquals([status, body, read(format, status, body)], [
        status,
        body,
        expected[format],
      ]);
    }
  });
}

Deno.test("readHttpAnswer() takes names and ends that can be right alone", () => {
  const own: [body: string, expected: string][] = [
    ['{"allow": true, "username": "a"}', "allow a"],
    ['{"allow": true, "username": null, "expires_in": null}', "allow"],
    ['{"allow": true, "expires_in": 2.5}', "allow until 1002500"],
    ['{"allow": true, "expires_in": 0}', "allow until 1000000"],
    ['{"allow": true, "more": [1]}', "allow"],
    ['{"allow": true, "username": ""}', "?"],
    ['{"allow": true, "username": 7}', "?"],
    ['{"allow": true, "username": "a\\u0000"}', "?"],
    ['{"allow": true, "username": "\\ud800"}', "?"],
    ['{"allow": true, "expires_in": "60"}', "?"],
    ['{"allow": true, "expires_in": -1}', "?"],
    ['{"allow": true, "expires_in": 1e999}', "?"],
  ];
  for (const [body, expected] of own) {
    assertEquals([body, read("mproxy", 200, body)], [body, expected]);
  }
  const emqx: [body: string, expected: string][] = [
    ['{"result": "allow", "is_superuser": true}', "allow"],
    [
      '{"result": "allow", "expire_at": 1654254601}',
      "allow until 1654254601000",
    ],
    ['{"result": "allow", "expire_at": "soon"}', "?"],
    ['{"result": "allow", "client_attrs": {"role": "x"}}', "allow"],
    // Rules that would not be applied.
    ['{"result": "allow", "acl": [{"permission": "deny"}]}', "?"],
  ];
  for (const [body, expected] of emqx) {
    assertEquals([body, read("emqx", 200, body)], [body, expected]);
  }
  assertEquals(read("emqx", 200, '{"result": "allow"}', "text/html"), "?");
  const verneMq: [body: string, expected: string][] = [
    ['{"result": "ok", "modifiers": {}}', "allow"],
    ['{"result": "ok", "modifiers": {"subscriber_id": {}}}', "?"],
    ['{"result": "ok", "modifiers": []}', "?"],
  ];
  for (const [body, expected] of verneMq) {
    assertEquals([body, read("vernemq", 200, body)], [body, expected]);
  }
});

// The question

const credentials: Credentials = {
  clientId: "c",
  username: "u",
  password: new TextEncoder().encode("p"),
  commonName: undefined,
  remote: "192.0.2.1:1234",
  listener: "mqtt://192.0.2.2:1883",
  version: 4,
};

async function ask(
  format: HttpAuthFormat,
  answer: (request: Request) => Response | Promise<Response>,
  who: Credentials = credentials,
  timeoutMs = 5000,
) {
  await using server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    answer,
  );
  const url = `http://127.0.0.1:${server.addr.port}/auth`;
  return await authenticateByHttp(
    { url, timeoutMs, headers: {}, format },
    who,
    NOW,
  );
}

Deno.test("authenticateByHttp() asks in the format's own words", async () => {
  const questions: Record<string, unknown> = {};
  for (const format of HTTP_AUTH_FORMATS) {
    await ask(format, async (request) => {
      questions[format] = [
        request.headers.get("vernemq-hook"),
        await request.json(),
      ];
      return new Response(null, { status: 204 });
    });
  }
  const own = {
    "client_id": "c",
    username: "u",
    password: "p",
    remote: "192.0.2.1:1234",
    listener: "mqtt://192.0.2.2:1883",
    version: 4,
  };
  assertEquals(questions, {
    status: [null, own],
    mproxy: [null, own],
    emqx: [null, {
      clientid: "c",
      username: "u",
      password: "p",
      peerhost: "192.0.2.1",
      "proto_ver": 4,
    }],
    vernemq: ["auth_on_register", {
      "peer_addr": "192.0.2.1",
      "peer_port": 1234,
      username: "u",
      password: "p",
      mountpoint: "",
      "client_id": "c",
      "clean_session": true,
    }],
  });
});

Deno.test("authenticateByHttp() follows no redirect, reads no endless answer and waits no longer than it may", async () => {
  let followed = 0;
  const redirect = await ask("mproxy", (request) => {
    if (new URL(request.url).pathname === "/next") followed++;
    return new Response(null, { status: 307, headers: { location: "/next" } });
  });
  assertEquals([redirect.kind, followed], ["deny", 0]);

  const endless = await ask("mproxy", () =>
    new Response(
      new ReadableStream({
        pull: (controller) => controller.enqueue(new Uint8Array(16384)),
      }),
    ));
  assertEquals([endless.kind, "reasonCode" in endless && endless.reasonCode], [
    "deny",
    0x88,
  ]);

  const { promise: never, resolve } = Promise.withResolvers<Response>();
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    () => never,
  );
  const silent = await authenticateByHttp(
    {
      url: `http://127.0.0.1:${server.addr.port}/`,
      timeoutMs: 50,
      headers: {},
    },
    credentials,
    NOW,
  );
  assertEquals([silent.kind, "reasonCode" in silent && silent.reasonCode], [
    "deny",
    0x88,
  ]);
  resolve(new Response());
  await server.shutdown();
});

Deno.test("authenticateByHttp() sends no password that JSON would change", async () => {
  let asked = 0;
  const verdict = await ask(
    "mproxy",
    () => {
      asked++;
      return new Response(null, { status: 204 });
    },
    { ...credentials, password: Uint8Array.of(0xff, 0xfe) },
  );
  assertEquals([verdict.kind, asked], ["deny", 0]);
});

Deno.test("VerdictCache tells questions apart by everything that is asked but the port", async () => {
  const others: [what: string, change: Partial<Credentials>, same: boolean][] =
    [
      ["nothing", {}, true],
      ["the port", { remote: "192.0.2.1:9" }, true],
      ["the address", { remote: "192.0.2.9:1234" }, false],
      ["the client identifier", { clientId: "d" }, false],
      ["the username", { username: "v" }, false],
      ["no username", { username: undefined }, false],
      ["the password", { password: new TextEncoder().encode("q") }, false],
      ["no password", { password: undefined }, false],
      ["an empty password", { password: new Uint8Array(0) }, false],
      ["the certificate", { commonName: "n" }, false],
      ["the listener", { listener: "mqtts://192.0.2.2:8883" }, false],
      ["the version", { version: 5 }, false],
      ["the session's age", { cleanStart: false }, false],
    ];
  for (const [what, change, same] of others) {
    const cache = new VerdictCache({ allowMs: 9, denyMs: 9, maxEntries: 9 });
    let asked = 0;
    const count = () => {
      asked++;
      return Promise.resolve({ kind: "allow" } as const);
    };
    await cache.get(credentials, 0, count);
    await cache.get({ ...credentials, ...change }, 0, count);
    assertEquals([what, asked], [what, same ? 1 : 2]);
  }
  const cache = new VerdictCache({ allowMs: 9, denyMs: 9, maxEntries: 9 });
  let asked = 0;
  for (const password of [undefined, new Uint8Array(0)]) {
    await cache.get({ ...credentials, password }, 0, () => {
      asked++;
      return Promise.resolve({ kind: "allow" });
    });
  }
  assertEquals(asked, 2);
});
