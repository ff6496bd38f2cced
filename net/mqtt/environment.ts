/**
 * The environment variables of the gateway's predecessors: mProxy
 * (`MPROXY_MQTT_HOST` and the like) and mGate (`MGATE_MQTT_WITH_TLS_HOST`,
 * later also with `MPROXY_` in front). Pure.
 */
import { UsageError } from "../errors.ts";
import { formatAddress, parseAddress } from "../address.ts";

/** A listener as the environment describes it. */
export interface EnvironmentListener {
  /** For `startMqttGateway`. */
  readonly url: string;
  readonly target: string;
  /** Files in PEM. */
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
  readonly clientCaFile?: string | undefined;
}

/** What the environment says. */
export interface EnvironmentOptions {
  readonly listeners: readonly EnvironmentListener[];
  /** Lines for the user, each about a variable that has no effect. */
  readonly warnings: readonly string[];
}

type Variables = Readonly<Record<string, string>>;

/** What stands behind the name of a listener. */
const LISTENER_FIELDS = [
  ...["HOST", "PORT", "PATH_PREFIX", "PREFIX_PATH", "ADDRESS", "TARGET"],
  ...["TARGET_HOST", "TARGET_PORT", "TARGET_PROTOCOL", "TARGET_PATH"],
  ...["CERT_FILE", "KEY_FILE", "SERVER_CA_FILE", "CLIENT_CA_FILE"],
] as const;

type ListenerField = typeof LISTENER_FIELDS[number];

/**
 * Checks of client certificates that this gateway does not do. A listener that
 * requires them is not opened: without them it would let in clients whose
 * certificates were revoked.
 */
const REVOCATION_FIELDS = [
  ...["CERT_VERIFICATION_METHODS", "OCSP_DEPTH", "OCSP_RESPONDER_URL"],
  ...["CRL_DEPTH", "CRL_DISTRIBUTION_POINTS", "OFFLINE_CRL_FILE"],
  "CRL_DISTRIBUTION_POINTS_ISSUER_CERT_FILE",
  "OFFLINE_CRL_ISSUER_CERT_FILE",
];

const MGATE_LISTENERS = [
  { name: "MQTT_WITHOUT_TLS", webSocket: false, secure: false },
  { name: "MQTT_WITH_TLS", webSocket: false, secure: true },
  { name: "MQTT_WITH_MTLS", webSocket: false, secure: true },
  { name: "MQTT_WS_WITHOUT_TLS", webSocket: true, secure: false },
  { name: "MQTT_WS_WITH_TLS", webSocket: true, secure: true },
  { name: "MQTT_WS_WITH_MTLS", webSocket: true, secure: true },
] as const;

/** Variables of mProxy before it was mGate. */
const MPROXY_FIELDS = [
  ...["MQTT_HOST", "MQTT_PORT", "MQTTS_PORT"],
  ...["MQTT_TARGET_HOST", "MQTT_TARGET_PORT"],
  ...["WS_HOST", "WS_PORT", "WS_PATH", "WSS_PORT", "WSS_PATH"],
  ...["WS_TARGET_SCHEME", "WS_TARGET_HOST", "WS_TARGET_PORT"],
  ...["WS_TARGET_PATH", "CLIENT_TLS", "CA_CERTS", "SERVER_CERT"],
  ...["SERVER_KEY", "LOG_LEVEL"],
];

/**
 * Reads the predecessors' variables.
 *
 * @throws {UsageError} if one is incomplete or cannot be right.
 */
export function readEnvironment(variables: Variables): EnvironmentOptions {
  const warnings: string[] = [];
  const listeners: EnvironmentListener[] = [];
  const used = new Set<string>();
  const serverCas: string[] = [];
  for (const family of ["MGATE", "MPROXY"]) {
    for (const kind of MGATE_LISTENERS) {
      const prefix = `${family}_${kind.name}_`;
      const fields = fieldsOf(variables, prefix, used);
      if (!fields) continue;
      if (fields.SERVER_CA_FILE) serverCas.push(`${prefix}SERVER_CA_FILE`);
      const listener = mgateListener(prefix, kind, fields);
      const methods = `${prefix}CERT_VERIFICATION_METHODS`;
      if (variables[methods] && fields.CLIENT_CA_FILE) {
        warnings.push(
          `${listener.url} is not opened: ${methods}=${
            variables[methods]
          } requires a check for revoked client certificates, which this gateway does not do; unset it to accept clients without`,
        );
      } else listeners.push(listener);
    }
  }
  if (serverCas.length > 0) {
    warnings.push(`no effect on a listener: ${namesOf(serverCas)}`);
  }
  const old = (field: string) => {
    used.add(`MPROXY_${field}`);
    return variables[`MPROXY_${field}`] || undefined;
  };
  if (MPROXY_FIELDS.some((field) => old(field) && field !== "LOG_LEVEL")) {
    listeners.push(...mproxyListeners(old));
  }
  if (old("LOG_LEVEL")) {
    warnings.push(
      "MPROXY_LOG_LEVEL has no effect: set the log level on the command line",
    );
  }
  const unknown = Object.keys(variables).filter((name) =>
    /^(MPROXY|MGATE)_/.test(name) && !used.has(name)
  );
  if (unknown.length > 0) {
    warnings.push(`unknown environment variables: ${namesOf(unknown)}`);
  }
  return { listeners, warnings };
}

/** The first names of a list, and how many there are. */
function namesOf(names: readonly string[]): string {
  const shown = names.slice(0, 3).join(", ");
  return names.length > 3 ? `${shown} and ${names.length - 3} more` : shown;
}

function fieldsOf(
  variables: Variables,
  prefix: string,
  used: Set<string>,
): Partial<Record<ListenerField, string>> | undefined {
  const fields: Partial<Record<ListenerField, string>> = {};
  for (const field of LISTENER_FIELDS) {
    used.add(prefix + field);
    const value = variables[prefix + field];
    if (value) fields[field] = value;
  }
  for (const field of REVOCATION_FIELDS) used.add(prefix + field);
  return Object.keys(fields).length > 0 ? fields : undefined;
}

function mgateListener(
  prefix: string,
  kind: typeof MGATE_LISTENERS[number],
  fields: Partial<Record<ListenerField, string>>,
): EnvironmentListener {
  const { webSocket, secure } = kind;
  const scheme = `${webSocket ? "ws" : "mqtt"}${secure ? "s" : ""}`;
  const place = fields.ADDRESS ??
    (fields.PORT
      ? `${bracketed(fields.HOST ?? "")}:${fields.PORT}`
      : undefined);
  if (!place) {
    throw new UsageError(`Cannot use ${prefix}HOST: ${prefix}PORT is missing`);
  }
  const target = fields.TARGET ??
    (fields.TARGET_HOST && fields.TARGET_PORT
      ? `${bracketed(fields.TARGET_HOST)}:${fields.TARGET_PORT}`
      : undefined);
  if (!target) {
    throw new UsageError(
      `Cannot use ${prefix}PORT: ${prefix}TARGET_HOST and ${prefix}TARGET_PORT are missing`,
    );
  }
  return {
    url: `${scheme}://${addressText(place, prefix)}${
      webSocket ? fields.PATH_PREFIX ?? fields.PREFIX_PATH ?? "" : ""
    }`,
    target: targetUrl(
      target,
      fields.TARGET_PROTOCOL ?? (webSocket ? "ws" : "mqtt"),
      fields.TARGET_PATH ?? "",
    ),
    certFile: fields.CERT_FILE,
    keyFile: fields.KEY_FILE,
    clientCaFile: fields.CLIENT_CA_FILE,
  };
}

function mproxyListeners(
  old: (field: string) => string | undefined,
): EnvironmentListener[] {
  const secure = old("CLIENT_TLS") === "true";
  const files = secure
    ? {
      certFile: old("SERVER_CERT"),
      keyFile: old("SERVER_KEY"),
      clientCaFile: old("CA_CERTS"),
    }
    : {};
  const suffix = secure ? "s" : "";
  const mqttPort = secure
    ? old("MQTTS_PORT") ?? "8883"
    : old("MQTT_PORT") ?? "1883";
  const listeners: EnvironmentListener[] = [{
    url: `mqtt${suffix}://${
      bracketed(old("MQTT_HOST") ?? "0.0.0.0")
    }:${mqttPort}`,
    target: `mqtt://${bracketed(old("MQTT_TARGET_HOST") ?? "127.0.0.1")}:${
      old("MQTT_TARGET_PORT") ?? "1884"
    }`,
    ...files,
  }];
  const webSocketFields = MPROXY_FIELDS.filter((field) =>
    field.startsWith("WS")
  );
  if (webSocketFields.some((field) => old(field))) {
    const port = secure ? old("WSS_PORT") ?? "8080" : old("WS_PORT") ?? "8080";
    const path = secure
      ? old("WSS_PATH") ?? "/mqtt"
      : old("WS_PATH") ?? "/mqtt";
    listeners.push({
      url: `ws${suffix}://${
        bracketed(old("WS_HOST") ?? "0.0.0.0")
      }:${port}${path}`,
      target: targetUrl(
        `${bracketed(old("WS_TARGET_HOST") ?? "localhost")}:${
          old("WS_TARGET_PORT") ?? "8888"
        }`,
        old("WS_TARGET_SCHEME") ?? "ws",
        old("WS_TARGET_PATH") ?? "/mqtt",
      ),
      ...files,
    });
  }
  return listeners;
}

const PROTOCOLS: Readonly<Record<string, string>> = {
  mqtt: "mqtt",
  tcp: "mqtt",
  mqtts: "mqtts",
  ssl: "mqtts",
  tls: "mqtts",
  ws: "ws",
  wss: "wss",
};

function targetUrl(place: string, protocol: string, path: string): string {
  if (place.includes("://")) return place;
  const scheme = PROTOCOLS[protocol.toLowerCase()];
  if (!scheme) {
    throw new UsageError(
      `Cannot reach a broker by "${protocol}": mqtt, mqtts, ws or wss is wanted`,
    );
  }
  return `${scheme}://${place}${scheme.startsWith("ws") ? path : ""}`;
}

/** mGate's `:1884` means every address. */
function addressText(place: string, prefix: string): string {
  try {
    return formatAddress(parseAddress(place, {
      defaultHostname: "0.0.0.0",
      allowPortZero: true,
    }));
  } catch (cause) {
    throw new UsageError(
      `Cannot use ${prefix}ADDRESS: ${(cause as Error).message}`,
      { cause },
    );
  }
}

function bracketed(host: string): string {
  return host.includes(":") && !host.startsWith("[") ? `[${host}]` : host;
}
