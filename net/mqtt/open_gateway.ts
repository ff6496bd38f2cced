/**
 * A gateway from what a user writes: URLs, files and the environment. What the
 * files say is read again by `reload`.
 */
import { stripVTControlCharacters } from "node:util";
import { resolve, toFileUrl } from "@std/path";
import { errorText, UsageError } from "../errors.ts";
import { checkRegularFile, readTextFile } from "../text_file.ts";
import type { Log } from "../observe/log.ts";
import {
  CertificateError,
  checkCertificate,
  checkRoots,
} from "../tls_files.ts";
import { auditOptions, openAuditFile } from "./audit_file.ts";
import { checkHookFile } from "./hooks/check_hooks.ts";
import { readEnvironment } from "./environment.ts";
import {
  type MqttGateway,
  type MqttGatewayOptions,
  type MqttListenerOptions,
  startMqttGateway,
} from "./gateway.ts";
import type { NamedHooks } from "./hooks/hook_chain.ts";
import type { MqttHooks } from "./hooks/hooks.ts";
import { Policy } from "./policy/policy.ts";
import { parsePolicy, type PolicyConfig } from "./policy/policy_file.ts";
import {
  type Endpoint,
  formatEndpoint,
  isSecure,
  isWebSocket,
  parseEndpoint,
} from "./transport/endpoint.ts";
import type { ListenTlsOptions } from "./transport/listen.ts";

/** Limits and choices that go to the gateway as they are. */
export type PassedOptions = Pick<
  MqttGatewayOptions,
  | "connectTimeoutMs"
  | "brokerTimeoutMs"
  | "clientTimeoutMs"
  | "hookTimeoutMs"
  | "maxPacketBytes"
  | "maxHeldBytes"
  | "maxConnectBytes"
  | "maxFrameBytes"
  | "maxConnections"
  | "maxConnectionsPerSource"
  | "maxConnectionsPerSecond"
  | "maxClientIdChars31"
  | "onDeny"
  | "passServerReference"
  | "sendProxyHeader"
>;

/** What a user writes. Files are in PEM unless said otherwise. */
export interface OpenMqttGatewayOptions extends PassedOptions {
  /**
   * Where clients come in. Behind `?` may stand `cert`, `key`, `client-ca` and
   * `client-auth`, for this listener alone. Where there is none, the
   * environment of mProxy or mGate may name them.
   */
  listen: readonly string[];
  /** The brokers. */
  target: readonly string[];
  /** The listeners' certificate. Default: none. */
  cert?: string | undefined;
  /** Its key. Default: none. */
  key?: string | undefined;
  /** Roots that clients' certificates must come from; none are asked for without it. */
  clientCa?: string | undefined;
  /** Whether a client must have a certificate. Default: yes. */
  clientAuth?: "required" | "optional" | undefined;
  /** Values of `Origin` from which browsers may connect; all where there are none. */
  webSocketOrigins?: readonly string[] | undefined;
  /** Roots that are trusted beside the system's. Default: the system's alone. */
  targetCa?: string | undefined;
  /** The gateway's own certificate. Default: none. */
  targetCert?: string | undefined;
  /** Its key. Default: none. */
  targetKey?: string | undefined;
  /** The name that the brokers' certificates must have. Default: the target's host. */
  targetServerName?: string | undefined;
  /** Whether the brokers' certificates are not checked. Default: they are. */
  targetInsecure?: boolean | undefined;
  /** A policy in TOML. Default: all is allowed. */
  policy?: string | undefined;
  /** Modules whose default export is hooks, or a function that makes them. */
  hooks?: readonly string[] | undefined;
  /** A file that is written on, or `-` for stdout. Default: nowhere. */
  audit?: string | undefined;
  /** Whether every message is written down, not only denied ones. */
  auditMessages?: boolean | undefined;
  /** Whether payloads are written down. Default: they are not. */
  auditPayloads?: boolean | undefined;
  /** Whether new sessions are refused while the audit log cannot be written. Default: no. */
  auditRequired?: boolean | undefined;
  /** Variables of mProxy and mGate. Default: none. */
  environment?: Readonly<Record<string, string>> | undefined;
  /** Takes warnings, and where it listens. */
  log: Log;
}

/** A gateway whose files can be read again. */
export interface OpenedMqttGateway {
  /** The gateway. */
  readonly gateway: MqttGateway;
  /**
   * Reads policy and certificates again and opens the audit log anew. Where
   * one of them is wrong, it rejects and all stays as it was.
   */
  reload(): Promise<void>;
}

/** Parameters of a listener's URL. */
const LISTENER_PARAMETERS = ["cert", "key", "client-ca", "client-auth"];

interface TlsFiles {
  readonly cert: string | undefined;
  readonly key: string | undefined;
  readonly clientCa: string | undefined;
  readonly clientAuth: "required" | "optional" | undefined;
}

interface Place {
  readonly endpoint: Endpoint;
  readonly tlsFiles: TlsFiles | undefined;
  readonly targets: readonly string[] | undefined;
}

/**
 * Opens a gateway.
 *
 * @throws {UsageError} where something written cannot be right, before
 * anything is opened.
 * @throws {OperationError} where a listener cannot be bound.
 */
export async function openMqttGateway(
  options: OpenMqttGatewayOptions,
): Promise<OpenedMqttGateway> {
  const { log, target, policy: policyFile, hooks = [] } = options;
  const places = placesOf(options);
  const config = policyFile === undefined ? undefined : readPolicy(policyFile);
  const policy = config && inFile(policyFile!, () => new Policy(config));
  const targetTls = {
    ca: readRoots(options.targetCa),
    certificate: targetCertificate(options),
    serverName: options.targetServerName,
    verify: !options.targetInsecure,
  };
  checkEffects(options, places);
  const sets: NamedHooks[] = [];
  for (const file of hooks) sets.push(await loadHooks(file));
  const audit = options.audit === undefined
    ? undefined
    : await openAuditFile(options.audit, log);
  try {
    const gateway = await startMqttGateway({
      ...options,
      targets: target,
      listeners: places.map((place): MqttListenerOptions => ({
        url: formatEndpoint(place.endpoint),
        tls: place.tlsFiles && readTls(place.tlsFiles),
        targets: place.targets,
        webSocketOrigins: options.webSocketOrigins?.length
          ? options.webSocketOrigins
          : undefined,
      })),
      targetTls,
      policy,
      hooks: sets,
      audit: audit && auditOptions(audit, {
        messages: options.auditMessages ?? false,
        payloads: options.auditPayloads ?? false,
        required: options.auditRequired ?? false,
      }),
    });
    gateway.finished.finally(() => audit?.close());
    return {
      gateway,
      reload: async () => {
        const config = policyFile === undefined
          ? undefined
          : readPolicy(policyFile);
        const certificates = places.map(({ tlsFiles }) =>
          tlsFiles && readTls(tlsFiles)
        );
        // All that can fail comes before the first change.
        const replacePolicy = policy && config
          ? inFile(policyFile!, () => policy.prepare(config))
          : undefined;
        await audit?.reopen();
        replacePolicy?.();
        certificates.forEach((tls, i) => tls && gateway.reloadTls(i, tls));
        gateway.reviewSessions();
        log.info("reloaded", { sessions: gateway.stats().openSessions });
      },
    };
  } catch (error) {
    await audit?.close();
    throw error;
  }
}

// Listeners

function placesOf(options: OpenMqttGatewayOptions): Place[] {
  const { listen, target, environment = {}, log } = options;
  const fromEnvironment = readEnvironment(environment);
  for (const warning of fromEnvironment.warnings) log.warn(warning);
  if (listen.length > 0) {
    if (target.length === 0) {
      throw new UsageError("Missing `target` URL (the MQTT broker)", {
        option: "target",
      });
    }
    return listen.map((url) => placeOf(url, options));
  }
  if (fromEnvironment.listeners.length === 0) {
    throw new UsageError(
      "Missing `listen` URL, such as mqtt://127.0.0.1:1884",
      { option: "listen" },
    );
  }
  return fromEnvironment.listeners.map((listener) => {
    const place = placeOf(listener.url, {
      ...options,
      cert: options.cert ?? listener.certFile,
      key: options.key ?? listener.keyFile,
      clientCa: options.clientCa ?? listener.clientCaFile,
    });
    return target.length > 0 ? place : { ...place, targets: [listener.target] };
  });
}

function placeOf(url: string, options: OpenMqttGatewayOptions): Place {
  const endpoint = parseEndpoint(url, {
    listens: true,
    parameters: LISTENER_PARAMETERS,
  });
  const { parameters } = endpoint;
  if (!isSecure(endpoint.scheme)) {
    const [name] = parameters.keys();
    if (name) {
      throw new UsageError(
        `Cannot use "${name}" in "${url}": only mqtts:// and wss:// have it`,
      );
    }
    return { endpoint, tlsFiles: undefined, targets: undefined };
  }
  const clientAuth = parameters.get("client-auth") ?? options.clientAuth;
  if (
    clientAuth !== undefined && clientAuth !== "required" &&
    clientAuth !== "optional"
  ) {
    throw new UsageError(
      `Cannot use "${clientAuth}" in "${url}": client-auth is required or optional`,
    );
  }
  const tlsFiles = {
    cert: parameters.get("cert") ?? options.cert,
    key: parameters.get("key") ?? options.key,
    clientCa: parameters.get("client-ca") ?? options.clientCa,
    clientAuth,
  } as const;
  if (tlsFiles.cert === undefined || tlsFiles.key === undefined) {
    throw new UsageError(
      `Cannot listen on "${url}": TLS requires \`cert\` and \`key\``,
      { option: ["cert", "key"] },
    );
  }
  if (clientAuth !== undefined && tlsFiles.clientCa === undefined) {
    throw new UsageError(
      `Cannot verify client certificates on "${url}": this requires \`clientCa\``,
      { option: "clientCa" },
    );
  }
  return { endpoint, tlsFiles, targets: undefined };
}

function readTls(files: TlsFiles): ListenTlsOptions {
  return {
    ...readCertificate(files.cert!, files.key!),
    clientCa: readRoots(files.clientCa),
    clientAuth: files.clientAuth,
  };
}

/** Checked here: OpenSSL would say so at each handshake, and nobody at the start. */
function readCertificate(
  certFile: string,
  keyFile: string,
): { cert: string; key: string } {
  const cert = readTextFile(certFile);
  const key = readTextFile(keyFile);
  asUsage(() => checkCertificate(cert, key, certFile, keyFile));
  return { cert, key };
}

function readRoots(file: string | undefined): string | undefined {
  if (file === undefined) return undefined;
  const pem = readTextFile(file);
  asUsage(() => checkRoots(pem, file));
  return pem;
}

function asUsage(check: () => void): void {
  try {
    check();
  } catch (cause) {
    if (!(cause instanceof CertificateError)) throw cause;
    throw new UsageError(cause.message, { cause });
  }
}

function targetCertificate(options: OpenMqttGatewayOptions) {
  const { targetCert, targetKey } = options;
  if (targetCert === undefined && targetKey === undefined) return undefined;
  if (targetCert === undefined || targetKey === undefined) {
    throw new UsageError(
      "`targetCert` and `targetKey` require each other",
      { option: ["targetCert", "targetKey"] },
    );
  }
  return readCertificate(targetCert, targetKey);
}

/**
 * Refuses what would have no effect: whoever asks for client certificates and
 * has no listener with TLS believes to be protected.
 */
function checkEffects(
  options: OpenMqttGatewayOptions,
  places: readonly Place[],
): void {
  const listeners = places.map(({ endpoint }) => endpoint.scheme);
  const brokers = places.flatMap(({ targets }) => targets ?? options.target)
    .map((url) => parseEndpoint(url).scheme);
  const wants = (
    given: Record<string, unknown>,
    isMet: boolean,
    required: keyof OpenMqttGatewayOptions,
    why: string,
  ) => {
    for (const [option, value] of Object.entries(given)) {
      const isGiven = Array.isArray(value) ? value.length > 0 : Boolean(value);
      if (isGiven && !isMet) {
        throw new UsageError(`\`${option}\` has no effect: ${why}`, {
          option: [option, required],
        });
      }
    }
  };
  const { clientCa, clientAuth, cert, key, webSocketOrigins } = options;
  wants(
    { clientCa, clientAuth, cert, key },
    listeners.some(isSecure),
    "listen",
    "no `listen` URL is mqtts:// or wss://",
  );
  wants(
    { webSocketOrigins },
    listeners.some(isWebSocket),
    "listen",
    "no `listen` URL is ws:// or wss://",
  );
  wants(
    {
      targetCa: options.targetCa,
      targetCert: options.targetCert,
      targetServerName: options.targetServerName,
      targetInsecure: options.targetInsecure,
    },
    brokers.some(isSecure),
    "target",
    "no `target` URL is mqtts:// or wss://",
  );
  const { audit, auditMessages, auditPayloads, auditRequired } = options;
  wants(
    { auditMessages, auditPayloads, auditRequired },
    audit !== undefined,
    "audit",
    "it requires `audit`",
  );
  wants(
    { auditPayloads },
    auditMessages === true,
    "auditMessages",
    "it requires `auditMessages`",
  );
  for (const origin of webSocketOrigins ?? []) {
    // As browsers send it (RFC 6454, 6.2), or it would never fit.
    if (origin === "null" || URL.parse(origin)?.origin === origin) continue;
    throw new UsageError(
      `Cannot use "${origin}" as an origin: https://HOST[:PORT] is wanted`,
    );
  }
}

// Policy and hooks

/** Lines of a TOML file without any key or table. */
const BLANK = /^\s*(#|$)/;

/**
 * An empty policy allows everything, and is what a full disk leaves of a file
 * that was being written. Bytes that are not UTF-8 would be replaced, and a
 * rule that denies would never match.
 */
function readPolicy(file: string): PolicyConfig {
  const read = (name: string) => readTextFile(name, { strict: true });
  const text = read(file);
  if (text.split("\n").every((line) => BLANK.test(line))) {
    throw new UsageError(
      `Cannot use "${file}": the policy is empty and would allow everything`,
    );
  }
  return parsePolicy(text, file, read);
}

/** Names the file in what a policy's configuration is refused with. */
function inFile<Value>(file: string, make: () => Value): Value {
  try {
    return make();
  } catch (cause) {
    if (!(cause instanceof UsageError)) throw cause;
    throw new UsageError(`Cannot use "${file}": ${cause.message}`, { cause });
  }
}

/** Maximum size of a module with hooks: it may be bundled. */
const MAX_HOOKS_BYTES = 16 << 20;

/** Whatever a module throws, and what it exports that cannot be hooks, is its user's to mend. */
async function loadHooks(file: string): Promise<NamedHooks> {
  checkRegularFile(file, { maxBytes: MAX_HOOKS_BYTES });
  try {
    const module = await import(toFileUrl(resolve(file)).href);
    let exported = module.default;
    if (typeof exported === "function") exported = await exported();
    if (typeof exported !== "object" || exported === null) {
      throw new TypeError("its default export must be hooks");
    }
    checkHookFile(exported, module);
    return { name: file.replace(/^.*\//, ""), hooks: exported as MqttHooks };
  } catch (cause) {
    // Deno colours what it says about a module that it cannot load.
    throw new UsageError(
      `Cannot load hooks from "${file}": ${
        stripVTControlCharacters(errorText(cause))
      }`,
      { cause },
    );
  }
}
