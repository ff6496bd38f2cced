/** TLS options on the command line: files are read before anything is opened. */
import { type Address, parseAddress } from "../net/address.ts";
import { errorText, UsageError } from "../net/errors.ts";
import { readTextFile } from "../net/text_file.ts";
import type { TlsClientOptions } from "../net/tls_client.ts";

/** Reads `tls://host:port` or `host:port`. */
export function tlsAddress(
  text: string,
): { address: Address; secure: boolean } {
  const secure = text.startsWith("tls://");
  const plain = text.replace(/^(tls|tcp):\/\//, "");
  return { address: parseAddress(plain), secure };
}

/** What `--tls-*` says. */
export interface TlsFlags {
  /** File of roots, PEM. */
  tlsCa: string | undefined;
  /** File of our certificate chain, PEM. */
  tlsCert: string | undefined;
  /** File of its key, PEM. */
  tlsKey: string | undefined;
  /** Name to verify. */
  tlsServerName: string | undefined;
  /** Whether nothing is verified. */
  tlsInsecure: boolean;
}

/** Reads the files that `--tls-*` name; throws a UsageError where that cannot be. */
export function readTlsOptions(flags: TlsFlags): TlsClientOptions {
  const { tlsCa, tlsCert, tlsKey, tlsServerName, tlsInsecure } = flags;
  if ((tlsCert === undefined) !== (tlsKey === undefined)) {
    throw new UsageError(
      tlsKey === undefined
        ? "--tls-cert wants --tls-key too"
        : "--tls-key wants --tls-cert too",
    );
  }
  return {
    ca: readPem("--tls-ca", tlsCa, "CERTIFICATE"),
    cert: readPem("--tls-cert", tlsCert, "CERTIFICATE"),
    key: readPem("--tls-key", tlsKey, "PRIVATE KEY"),
    serverName: tlsServerName,
    insecure: tlsInsecure,
  };
}

/** Throws a UsageError where TLS was asked for and nothing would speak it. */
export function refuseUnusedTls(
  flags: TlsFlags & { tls: boolean },
  upstreams: readonly { secure: boolean }[],
  requires: string,
): void {
  const given: [string, boolean][] = [
    ["--tls", flags.tls],
    ["--tls-ca", flags.tlsCa !== undefined],
    ["--tls-cert", flags.tlsCert !== undefined],
    ["--tls-key", flags.tlsKey !== undefined],
    ["--tls-server-name", flags.tlsServerName !== undefined],
    ["--tls-insecure", flags.tlsInsecure],
  ];
  const [name] = given.find(([, isGiven]) => isGiven) ?? [];
  if (name === undefined) return;
  if (upstreams.length === 0) {
    throw new UsageError(`cannot use ${name} without ${requires}`);
  }
  if (!flags.tls && !upstreams.some(({ secure }) => secure)) {
    throw new UsageError(
      `cannot use ${name}: no ${requires} speaks TLS; add --tls or write tls://HOST:PORT`,
    );
  }
}

function readPem(
  flag: string,
  file: string | undefined,
  kind: string,
): string | undefined {
  if (file === undefined) return undefined;
  let pem: string;
  try {
    pem = readTextFile(file);
  } catch (cause) {
    throw new UsageError(`${flag}: ${errorText(cause)}`, { cause });
  }
  if (pem.includes(`${kind}-----`)) return pem;
  throw new UsageError(
    `${flag}: "${file}" holds no PEM block of a ${kind.toLowerCase()}`,
  );
}
