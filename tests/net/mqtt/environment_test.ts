import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { UsageError } from "../../../net/errors.ts";
import { readEnvironment } from "../../../net/mqtt/environment.ts";

const NO_FILES = {
  certFile: undefined,
  keyFile: undefined,
  clientCaFile: undefined,
};

Deno.test("readEnvironment() reads mProxy's variables with mProxy's defaults", () => {
  assertEquals(readEnvironment({ MPROXY_MQTT_PORT: "1888", HOME: "/" }), {
    listeners: [{
      url: "mqtt://0.0.0.0:1888",
      target: "mqtt://127.0.0.1:1884",
    }],
    warnings: [],
  });
  assertEquals(
    readEnvironment({
      MPROXY_MQTT_TARGET_HOST: "vernemq",
      MPROXY_MQTT_TARGET_PORT: "1883",
      MPROXY_CLIENT_TLS: "true",
      MPROXY_SERVER_CERT: "s.crt",
      MPROXY_SERVER_KEY: "s.key",
      MPROXY_CA_CERTS: "ca.crt",
      MPROXY_WSS_PORT: "8443",
      MPROXY_WS_TARGET_HOST: "vernemq",
      MPROXY_LOG_LEVEL: "debug",
    }),
    {
      listeners: [
        {
          url: "mqtts://0.0.0.0:8883",
          target: "mqtt://vernemq:1883",
          certFile: "s.crt",
          keyFile: "s.key",
          clientCaFile: "ca.crt",
        },
        {
          url: "wss://0.0.0.0:8443/mqtt",
          target: "ws://vernemq:8888/mqtt",
          certFile: "s.crt",
          keyFile: "s.key",
          clientCaFile: "ca.crt",
        },
      ],
      warnings: [
        "MPROXY_LOG_LEVEL has no effect: set the log level on the command line",
      ],
    },
  );
});

Deno.test("readEnvironment() reads mGate's variables, under both of its names", () => {
  for (const family of ["MGATE", "MPROXY"]) {
    const own = (variables: Record<string, string>) =>
      Object.fromEntries(
        Object.entries(variables).map(([name, value]) => [
          `${family}_${name}`,
          value,
        ]),
      );
    const { listeners, warnings } = readEnvironment(own({
      MQTT_WITHOUT_TLS_ADDRESS: ":1884",
      MQTT_WITHOUT_TLS_TARGET: "localhost:1883",
      MQTT_WITH_MTLS_HOST: "::1",
      MQTT_WITH_MTLS_PORT: "8884",
      MQTT_WITH_MTLS_TARGET_HOST: "broker",
      MQTT_WITH_MTLS_TARGET_PORT: "8883",
      MQTT_WITH_MTLS_TARGET_PROTOCOL: "ssl",
      MQTT_WITH_MTLS_CERT_FILE: "c.pem",
      MQTT_WITH_MTLS_KEY_FILE: "k.pem",
      MQTT_WITH_MTLS_CLIENT_CA_FILE: "ca.pem",
      MQTT_WS_WITHOUT_TLS_PORT: "8083",
      MQTT_WS_WITHOUT_TLS_PATH_PREFIX: "/mqtt",
      MQTT_WS_WITHOUT_TLS_TARGET_HOST: "broker",
      MQTT_WS_WITHOUT_TLS_TARGET_PORT: "8000",
      MQTT_WS_WITHOUT_TLS_TARGET_PROTOCOL: "wss",
      MQTT_WS_WITHOUT_TLS_TARGET_PATH: "/ws",
    }));
    assertEquals(warnings, []);
    assertEquals(listeners, [
      {
        url: "mqtt://0.0.0.0:1884",
        target: "mqtt://localhost:1883",
        ...NO_FILES,
      },
      {
        url: "mqtts://[::1]:8884",
        target: "mqtts://broker:8883",
        certFile: "c.pem",
        keyFile: "k.pem",
        clientCaFile: "ca.pem",
      },
      {
        url: "ws://0.0.0.0:8083/mqtt",
        target: "wss://broker:8000/ws",
        ...NO_FILES,
      },
    ]);
  }
});

Deno.test("readEnvironment() reads the variables that stood between the two: ADDRESS, TARGET, PREFIX_PATH", () => {
  assertEquals(
    readEnvironment({
      MPROXY_MQTT_WS_WITHOUT_TLS_ADDRESS: ":8083",
      MPROXY_MQTT_WS_WITHOUT_TLS_TARGET: "ws://localhost:8000/broker",
      MPROXY_MQTT_WS_WITHOUT_TLS_PREFIX_PATH: "/mqtt",
    }),
    {
      listeners: [{
        url: "ws://0.0.0.0:8083/mqtt",
        target: "ws://localhost:8000/broker",
        ...NO_FILES,
      }],
      warnings: [],
    },
  );
});

Deno.test("readEnvironment() warns of variables that it does not know", () => {
  assertEquals(
    readEnvironment({ MGATE_HTTP_WITHOUT_TLS_PORT: "80", MGATERS: "x" })
      .warnings,
    ["unknown environment variables: MGATE_HTTP_WITHOUT_TLS_PORT"],
  );
  const many = Object.fromEntries(
    Array.from({ length: 39 }, (_, i) => [`MGATE_COAP_${i}`, "x"]),
  );
  assertEquals(readEnvironment(many).warnings, [
    "unknown environment variables: MGATE_COAP_0, MGATE_COAP_1, MGATE_COAP_2 and 36 more",
  ]);
});

Deno.test("readEnvironment() leaves out a listener that requires a check of revocation, and says so", () => {
  const variables = (prefix: string, port: string) => ({
    [`${prefix}_PORT`]: port,
    [`${prefix}_TARGET_HOST`]: "broker",
    [`${prefix}_TARGET_PORT`]: "1883",
    [`${prefix}_CERT_FILE`]: "c.pem",
    [`${prefix}_KEY_FILE`]: "k.pem",
    [`${prefix}_CERT_VERIFICATION_METHODS`]: "ocsp",
    [`${prefix}_OCSP_RESPONDER_URL`]: "http://localhost/ocsp",
  });
  const { listeners, warnings } = readEnvironment({
    // Asks for no client certificates: there is nothing to be revoked.
    ...variables("MGATE_MQTT_WITH_TLS", "8883"),
    ...variables("MGATE_MQTT_WITH_MTLS", "8884"),
    MGATE_MQTT_WITH_MTLS_CLIENT_CA_FILE: "ca.pem",
  });
  assertEquals(listeners.map(({ url }) => url), ["mqtts://0.0.0.0:8883"]);
  assertEquals(warnings.length, 1);
  assertMatch(
    warnings[0]!,
    /^mqtts:\/\/0.0.0.0:8884 is not opened: MGATE_MQTT_WITH_MTLS_CERT_VERIFICATION_METHODS=ocsp /,
  );
});

Deno.test("readEnvironment() refuses what is incomplete", () => {
  const wrong: Record<string, string>[] = [
    { MGATE_MQTT_WITHOUT_TLS_HOST: "localhost" },
    { MGATE_MQTT_WITHOUT_TLS_PORT: "1884" },
    {
      MGATE_MQTT_WITHOUT_TLS_ADDRESS: "no:port:here",
      MGATE_MQTT_WITHOUT_TLS_TARGET: "b:1",
    },
    {
      MGATE_MQTT_WITHOUT_TLS_ADDRESS: ":1",
      MGATE_MQTT_WITHOUT_TLS_TARGET_HOST: "b",
      MGATE_MQTT_WITHOUT_TLS_TARGET_PORT: "1",
      MGATE_MQTT_WITHOUT_TLS_TARGET_PROTOCOL: "amqp",
    },
  ];
  for (const variables of wrong) {
    assertThrows(() => readEnvironment(variables), UsageError, "Cannot");
  }
});
