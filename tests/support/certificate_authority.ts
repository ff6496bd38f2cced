/** Certificates of a test's own, made by openssl in a folder that goes with its scope. */
import { join } from "@std/path";

/** A certificate with its key, as files. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

/** An authority that signs certificates. */
export class CertificateAuthority implements AsyncDisposable {
  readonly #folder: string;
  #made = 0;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** A new one, which nobody else trusts. */
  static async create(): Promise<CertificateAuthority> {
    const folder = await Deno.makeTempDir({ prefix: "mproxy-test-ca-" });
    const authority = new CertificateAuthority(folder);
    await openssl(
      ...["req", "-x509", "-newkey", "ec", "-pkeyopt", CURVE, "-nodes"],
      ...["-subj", "/CN=Test authority", "-days", "2"],
      ...["-keyout", join(folder, "ca.key"), "-out", authority.cert],
    );
    return authority;
  }

  /** Its own certificate, PEM. */
  get cert(): string {
    return join(this.#folder, "ca.pem");
  }

  /** A certificate for names, such as `DNS:localhost` or `IP:127.0.0.1`. */
  sign(...names: string[]): Promise<Certificate> {
    return this.issue(`/CN=${names[0]!.replace(/^\w+:/, "")}`, ...names);
  }

  /** A certificate for names, of a subject as openssl writes it: `/O=Acme/CN=name`. */
  async issue(subject: string, ...names: string[]): Promise<Certificate> {
    const base = join(this.#folder, `${this.#made++}`);
    const files = { cert: `${base}.pem`, key: `${base}.key` };
    await openssl(
      ...["req", "-newkey", "ec", "-pkeyopt", CURVE, "-nodes"],
      ...["-subj", subject],
      ...["-keyout", files.key, "-out", `${base}.csr`],
    );
    const extensions = `${base}.ext`;
    await Deno.writeTextFile(
      extensions,
      `subjectAltName=${names.join(",")}\nbasicConstraints=CA:FALSE\n`,
    );
    await openssl(
      ...["x509", "-req", "-in", `${base}.csr`, "-CA", this.cert],
      ...["-CAkey", join(this.#folder, "ca.key"), "-CAcreateserial"],
      ...["-days", "2", "-extfile", extensions, "-out", files.cert],
    );
    return files;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Deno.remove(this.#folder, { recursive: true });
  }
}

const CURVE = "ec_paramgen_curve:prime256v1";

async function openssl(...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command("openssl", { args })
    .output();
  if (success) return;
  const text = new TextDecoder().decode(stderr);
  throw new Error(`openssl ${args.join(" ")}: ${text}`);
}
