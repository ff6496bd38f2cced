import { assertEquals } from "@std/assert";
import {
  answerUpgrade,
  checkUpgradeAnswer,
  headEnd,
  type UpgradeOptions,
  upgradeRequest,
} from "../../../../net/mqtt/transport/websocket_handshake.ts";

// The example of RFC 6455, 1.3.
const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/** A request with some of its lines changed, or left out with an empty value. */
function request(
  changes: Record<string, string> = {},
  startLine = "GET /mqtt HTTP/1.1",
): string {
  const lines: Record<string, string> = {
    Host: "broker",
    Upgrade: "websocket",
    Connection: "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Protocol": "mqtt",
    ...changes,
  };
  return [
    startLine,
    ...Object.entries(lines).filter(([, value]) => value !== "").map((
      [name, value],
    ) => `${name}: ${value}`),
    "",
    "",
  ].join("\r\n");
}

function status(
  head: string,
  options: UpgradeOptions = { path: "/mqtt" },
): string {
  return /^HTTP\/1\.1 (\d+)/.exec(answerUpgrade(head, options).text)![1]!;
}

function protocolOf(head: string): string | undefined {
  const { text } = answerUpgrade(head, { path: "/mqtt" });
  return /Sec-WebSocket-Protocol: (.*)\r\n/.exec(text)?.[1];
}

Deno.test("answerUpgrade() answers as RFC 6455 and MQTT 5.0, section 6, say", () => {
  assertEquals(
    answerUpgrade(request(), { path: "/mqtt" }).text,
    [
      "HTTP/1.1 101 Switching Protocols",
      "Upgrade: websocket",
      "Connection: Upgrade",
      `Sec-WebSocket-Accept: ${ACCEPT}`,
      "Sec-WebSocket-Protocol: mqtt",
      "",
      "",
    ].join("\r\n"),
  );
});

Deno.test("answerUpgrade() prefers `mqtt`, takes `mqttv3.1` and a client that names none", () => {
  const protocol = "Sec-WebSocket-Protocol";
  assertEquals(protocolOf(request({ [protocol]: "mqttv3.1, mqtt" })), "mqtt");
  assertEquals(protocolOf(request({ [protocol]: "a, mqttv3.1" })), "mqttv3.1");
  assertEquals(protocolOf(request({ [protocol]: "" })), undefined);
  assertEquals(status(request({ [protocol]: "" })), "101");
  assertEquals(status(request({ [protocol]: "MQTT" })), "400");
  assertEquals(status(request({ [protocol]: "amqp" })), "400");
});

Deno.test("answerUpgrade() takes tokens in any case and among others", () => {
  assertEquals(
    status(
      request({ Upgrade: "h2c, WebSocket", Connection: "keep-alive, Upgrade" }),
    ),
    "101",
  );
});

Deno.test("answerUpgrade() refuses what is no such request, with the status that says why", () => {
  const cases: [string, string][] = [
    ["no HTTP at all\r\n\r\n", "400"],
    [request({}, "POST /mqtt HTTP/1.1"), "405"],
    [request({}, "GET /mqtt HTTP/1.0"), "426"],
    [request({}, "GET /other HTTP/1.1"), "404"],
    [request({}, "GET /mqttx HTTP/1.1"), "404"],
    [request({ Host: "" }), "400"],
    [request({ Upgrade: "" }), "426"],
    [request({ Connection: "close" }), "426"],
    [request({ "Sec-WebSocket-Version": "8" }), "426"],
    [request({ "Sec-WebSocket-Key": "short" }), "400"],
    [request({ "Bad Name": "x" }), "400"],
    // A body would be read as frames here, and as a body by a proxy.
    [request({ "Transfer-Encoding": "chunked" }), "400"],
    [request({ "Content-Length": "5" }), "400"],
    [request({ "Content-Length": "0" }), "101"],
    [request({ "X-Token": "a\0b" }), "400"],
    [request({ "X-Token": "a\rb" }), "400"],
    [request({ "X-Token": "a\nb" }), "400"],
    [request({ "X-Token": "a\r\n b" }), "400"],
    [request({ "X-Token": "caf\xe9\tx" }), "101"],
    [request({}, "GET /mqtt\0 HTTP/1.1"), "400"],
    [request({ Host: "a, b" }), "400"],
    [request({ host: "again" }), "400"],
    [request({ Host: "user@broker" }), "400"],
    [request({ Host: "[::1]:8080" }), "101"],
  ];
  for (const [head, expected] of cases) assertEquals(status(head), expected);
});

Deno.test("answerUpgrade() serves a path and what lies beneath it, and all with `/`", () => {
  for (const path of ["/mqtt", "/mqtt/", "/mqtt/a", "/mqtt?token=1"]) {
    assertEquals(status(request({}, `GET ${path} HTTP/1.1`)), "101");
  }
  assertEquals(status(request({}, "GET /any HTTP/1.1"), { path: "/" }), "101");
});

Deno.test("answerUpgrade() lets browsers in only from the origins given", () => {
  const options = { path: "/", origins: ["https://good.example"] };
  const from = (Origin: string) => status(request({ Origin }), options);
  assertEquals(from("https://good.example"), "101");
  assertEquals(from("https://evil.example"), "403");
  assertEquals(from(""), "101");
});

Deno.test("answerUpgrade() without a list lets in pages of its own origin, and of no host that a stranger can name", () => {
  const from = (Origin: string, Host: string, more = {}) =>
    status(request({ Origin, Host }), { path: "/", ...more });
  const cases: [string, string, string, object?][] = [
    ["http://127.0.0.1:8080", "127.0.0.1:8080", "101"],
    ["http://[::1]:8080", "[::1]:8080", "101"],
    ["http://localhost", "localhost", "101"],
    ["https://localhost", "localhost:443", "101"],
    ["", "evil.example", "101"],
    ["http://evil.example", "127.0.0.1:8080", "403"],
    ["http://127.0.0.1:9", "127.0.0.1:8080", "403"],
    ["null", "127.0.0.1:8080", "403"],
    ["http://127.0.0.1:8080/x", "127.0.0.1:8080", "403"],
    // A name that a stranger has made resolve to this machine.
    ["http://evil.example", "evil.example", "403"],
    ["http://broker.lan", "broker.lan", "101", { hostname: "broker.lan" }],
    ["https://mqtt.example", "mqtt.example", "101", { secure: true }],
    ["https://evil.example", "mqtt.example", "403", { secure: true }],
  ];
  for (const [origin, host, expected, more] of cases) {
    assertEquals(from(origin, host, more), expected, `${origin} at ${host}`);
  }
});

Deno.test("checkUpgradeAnswer() takes the answer to its own request only", () => {
  const good = answerUpgrade(upgradeRequest("broker:8080", "/mqtt", KEY), {
    path: "/mqtt",
  }).text;
  assertEquals(checkUpgradeAnswer(good, KEY), undefined);
  const wrong: [RegExp, string][] = [
    [/101 .*/, "403 Forbidden"],
    [/Upgrade: websocket/, "Upgrade: h2c"],
    [/Connection: Upgrade/, "Connection: close"],
    [/Accept: .*/, "Accept: AAAA"],
    [/Protocol: mqtt/, "Protocol: amqp"],
    [/Sec-WebSocket-Protocol/, "Sec-WebSocket-Extensions"],
  ];
  for (const [pattern, text] of wrong) {
    assertEquals(
      typeof checkUpgradeAnswer(good.replace(pattern, text), KEY),
      "string",
    );
  }
});

Deno.test("headEnd() finds the empty line", () => {
  const bytes = new TextEncoder().encode("GET / HTTP/1.1\r\n\r\nrest");
  assertEquals(headEnd(bytes, bytes.length), 18);
  assertEquals(headEnd(bytes, 17), -1);
});
