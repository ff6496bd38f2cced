import { assertEquals, assertThrows } from "@std/assert";
import { UsageError } from "../../../../net/errors.ts";
import {
  formatEndpoint,
  hostHeader,
  parseEndpoint,
  reaches,
} from "../../../../net/mqtt/transport/endpoint.ts";

Deno.test("parseEndpoint() reads the four schemes with their ports", () => {
  const cases: [string, string][] = [
    ["mqtt://broker", "mqtt://broker:1883"],
    ["mqtts://broker", "mqtts://broker:8883"],
    ["ws://broker", "ws://broker:80"],
    ["wss://broker/mqtt", "wss://broker:443/mqtt"],
    ["mqtt://127.0.0.1:1", "mqtt://127.0.0.1:1"],
    ["mqtt://[::1]", "mqtt://[::1]:1883"],
    ["mqtt://[fe80::1%eth0]:5", "mqtt://[fe80::1%eth0]:5"],
    ["mqtt://broker/", "mqtt://broker:1883"],
    // As other clients and brokers write them.
    ["broker:1884", "mqtt://broker:1884"],
    ["broker", "mqtt://broker:1883"],
    ["[::1]:1884", "mqtt://[::1]:1884"],
    ["tcp://broker", "mqtt://broker:1883"],
    ["ssl://broker", "mqtts://broker:8883"],
    ["tls://broker:1", "mqtts://broker:1"],
  ];
  for (const [text, expected] of cases) {
    assertEquals(formatEndpoint(parseEndpoint(text)), expected);
  }
});

Deno.test("parseEndpoint() lets a listener leave its host out, on this machine only, and take any port", () => {
  const listens = { listens: true };
  assertEquals(
    formatEndpoint(parseEndpoint("mqtt://:0", listens)),
    "mqtt://127.0.0.1:0",
  );
  assertEquals(
    formatEndpoint(parseEndpoint("1884", listens)),
    "mqtt://127.0.0.1:1884",
  );
  assertEquals(
    formatEndpoint(parseEndpoint(":1884", listens)),
    "mqtt://127.0.0.1:1884",
  );
  assertThrows(() => parseEndpoint("mqtt://:1883"), UsageError);
  assertThrows(() => parseEndpoint("mqtt://broker:0"), UsageError);
});

Deno.test("parseEndpoint() refuses what it cannot mean, and shows it", () => {
  const wrong = [
    "1883",
    "http://broker",
    "constructor://broker",
    "mqtt://user:secret@broker",
    "mqtt://broker:99999",
    "mqtt://broker/path",
    "mqtt://broker?cert=a",
    "ws://broker/ä",
    "mqtt://",
    "mqtt://broker#x",
  ];
  for (const text of wrong) {
    assertThrows(() => parseEndpoint(text), UsageError, "Cannot use");
  }
});

Deno.test("parseEndpoint() reads the parameters that it is told of", () => {
  const { parameters } = parseEndpoint("mqtts://:1?cert=a.pem&key=b%20c.pem", {
    listens: true,
    parameters: ["cert", "key"],
  });
  assertEquals([...parameters], [["cert", "a.pem"], ["key", "b c.pem"]]);
});

Deno.test("hostHeader() leaves the scheme's own port out", () => {
  assertEquals(hostHeader(parseEndpoint("ws://broker/x")), "broker");
  assertEquals(hostHeader(parseEndpoint("ws://broker:8080/x")), "broker:8080");
  assertEquals(hostHeader(parseEndpoint("wss://[::1]/x")), "[::1]");
});

Deno.test("reaches() tells a target that is the listener itself", () => {
  const cases: [string, string, boolean][] = [
    ["127.0.0.1:1883", "127.0.0.1:1883", true],
    ["localhost:1883", "127.0.0.1:1883", true],
    ["127.0.0.1:1883", "localhost:1883", true],
    ["127.0.0.1:1883", "0.0.0.0:1883", true],
    ["[::1]:1883", "[::]:1883", true],
    ["broker:1883", "broker:1883", true],
    ["127.0.0.1:1883", "127.0.0.1:1884", false],
    ["127.0.0.2:1883", "127.0.0.1:1883", false],
    ["broker:1883", "0.0.0.0:1883", false],
    ["broker:1883", "127.0.0.1:1883", false],
  ];
  for (const [target, listener, expected] of cases) {
    assertEquals(
      reaches(parseEndpoint(target), parseEndpoint(listener)),
      expected,
      `${target} at ${listener}`,
    );
  }
});
