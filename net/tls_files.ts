/** Certificates, keys and roots in PEM files, and whether the files have changed. */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { getCACertificates } from "node:tls";
import { errorText, OperationError } from "./errors.ts";
import { readTextFileInTime, statInTime } from "./text_file.ts";

/** TLS towards clients. */
export interface TlsTermination {
  /** Certificate chain, PEM. */
  readonly cert: string;
  /** Private key, PEM. */
  readonly key: string;
}

/** TLS towards remotes. Names are verified against the remote's host. */
export interface RemoteTls {
  /** Roots to trust, PEM; the system's without it. */
  readonly caCerts?: readonly string[];
  /** Name to send and to verify. Default: the remote's host. */
  readonly name?: string | undefined;
  /**
   * Base64 of the SHA-256 of the remote's key (SubjectPublicKeyInfo); one of
   * them is enough. Replaces roots and name. Default: none.
   */
  readonly pins?: readonly string[] | undefined;
  /** Verifies nothing. Default: false. */
  readonly insecure?: boolean | undefined;
}

/** Something wrong with a PEM file. */
export class CertificateError extends OperationError {
  override name = "CertificateError";
}

/** Reads a chain and its key; throws a {@linkcode CertificateError} where they do not fit. */
export async function readCertificate(
  certFile: string,
  keyFile: string,
): Promise<TlsTermination> {
  // One after the other: no read goes on after the other one has failed.
  const cert = await readPem(certFile);
  const key = await readPem(keyFile);
  checkCertificate(cert, key, certFile, keyFile);
  return { cert, key };
}

/** Checks a chain and its key in PEM; throws a {@linkcode CertificateError} where they do not fit. */
export function checkCertificate(
  cert: string,
  key: string,
  certFile: string,
  keyFile: string,
): void {
  const [leaf] = certificatesOf(cert, certFile);
  if (!isVersion3(leaf!.raw)) {
    throw new CertificateError(
      `Cannot use "${certFile}": its first certificate is X.509 version 1, and TLS requires version 3; make it again with an extension, such as -addext subjectAltName=DNS:NAME`,
    );
  }
  let fits: boolean;
  try {
    fits = leaf!.checkPrivateKey(createPrivateKey(key));
  } catch (cause) {
    throw new CertificateError(
      `Cannot use "${keyFile}": it holds no PEM private key without a passphrase`,
      { cause },
    );
  }
  if (!fits) {
    throw new CertificateError(
      `Cannot use "${keyFile}": it is not the key of the first certificate in "${certFile}"`,
    );
  }
}

/** Reads roots to trust; throws a {@linkcode CertificateError} for a file without any. */
export async function readRoots(file: string): Promise<RemoteTls> {
  const pem = await readPem(file);
  checkRoots(pem, file);
  return { caCerts: [pem] };
}

/** Checks roots in PEM; throws a {@linkcode CertificateError} where there are none. */
export function checkRoots(pem: string, file: string): void {
  certificatesOf(pem, file);
}

/**
 * Roots of this machine that Deno does not bring along itself. Each dial reads
 * its roots anew: all of them would cost a millisecond each time.
 */
export function systemRoots(): RemoteTls {
  const spaceless = (pem: string) => pem.replaceAll(/\s/g, "");
  let bundled: Set<string>;
  let roots: string[];
  try {
    bundled = new Set(getCACertificates("bundled").map(spaceless));
    roots = getCACertificates("system");
  } catch (cause) {
    throw new CertificateError(
      `Cannot read the system's certificates: ${
        errorText(cause)
      }; or name a file of roots`,
      { cause },
    );
  }
  return { caCerts: roots.filter((pem) => !bundled.has(spaceless(pem))) };
}

async function readPem(file: string): Promise<string> {
  try {
    return await readTextFileInTime(file);
  } catch (cause) {
    throw new CertificateError(errorText(cause), { cause });
  }
}

const CERTIFICATE =
  /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

function certificatesOf(pem: string, file: string): X509Certificate[] {
  try {
    const found = (pem.match(CERTIFICATE) ?? []).map((block) =>
      new X509Certificate(block)
    );
    if (found.length > 0) return found;
  } catch (cause) {
    throw new CertificateError(
      `Cannot use "${file}": it holds a damaged certificate`,
      { cause },
    );
  }
  throw new CertificateError(
    `Cannot use "${file}": it holds no PEM certificate`,
  );
}

/** Whether a certificate in DER says `version 3` first (RFC 5280, section 4.1). */
export function isVersion3(der: Uint8Array): boolean {
  const outer = contentAt(der, 0);
  const inner = contentAt(der, outer);
  return [0xa0, 3, 2, 1, 2].every((byte, i) => der[inner + i] === byte);
}

/** Where the content of the DER value at an index begins. */
function contentAt(der: Uint8Array, at: number): number {
  const length = der[at + 1]!;
  return at + 2 + (length & 0x80 ? length & 0x7f : 0);
}

/** Tells whether files have changed since they were taken last. */
export class FileStamps {
  readonly #files: readonly string[];
  #seen = "";
  #taken = "";

  constructor(files: readonly string[]) {
    this.#files = files;
  }

  /**
   * Takes the files as they are: true where any was replaced, written or
   * touched since it was taken last. With `settled`, only once they stand as
   * they stood at the call before, so that no half-written pair is taken.
   */
  async take(settled: boolean): Promise<boolean> {
    const stamps = await Promise.all(this.#files.map(async (file) => {
      try {
        const { ino, size, mtime } = await statInTime(file);
        return `${ino} ${size} ${mtime?.getTime()}`;
      } catch {
        // Between being removed and put in place anew: it changes again then.
        return "missing";
      }
    }));
    const stamp = stamps.join("\n");
    const moving = settled && stamp !== this.#seen;
    this.#seen = stamp;
    if (moving || stamp === this.#taken) return false;
    this.#taken = stamp;
    return true;
  }
}
