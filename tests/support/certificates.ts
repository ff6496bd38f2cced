/** Certificates for tests, made by openssl in a folder of their own. */

/** PEM files of a small authority. */
export interface Certificates extends Disposable {
  readonly folder: string;
  /** The authority's certificate. */
  readonly ca: string;
  /** Makes a certificate with its key; `subject` as openssl writes it: `/O=Acme/CN=name`. */
  issue(name: string, subject: string): { cert: string; key: string };
}

/** Makes an authority. */
export function makeCertificates(): Certificates {
  const folder = Deno.makeTempDirSync();
  const path = (name: string) => `${folder}/${name}`;
  const ca = path("ca.pem");
  openssl([
    ...["req", "-x509", ...NEW_KEY, "-keyout", path("ca.key")],
    ...["-out", ca, "-days", "2", "-subj", "/CN=mproxy test authority"],
  ]);
  return {
    folder,
    ca,
    issue(name, subject) {
      const key = path(`${name}.key`);
      const cert = path(`${name}.pem`);
      const request = path(`${name}.csr`);
      const extensions = path(`${name}.ext`);
      Deno.writeTextFileSync(
        extensions,
        "subjectAltName=DNS:localhost,IP:127.0.0.1\n",
      );
      openssl([
        "req",
        ...NEW_KEY,
        "-keyout",
        key,
        "-out",
        request,
        "-subj",
        subject,
      ]);
      openssl([
        ...["x509", "-req", "-in", request, "-CA", ca, "-CAkey"],
        ...[path("ca.key"), "-CAcreateserial", "-out", cert, "-days", "2"],
        ...["-extfile", extensions],
      ]);
      return { cert, key };
    },
    [Symbol.dispose]: () => Deno.removeSync(folder, { recursive: true }),
  };
}

const NEW_KEY = [
  ...["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"],
];

function openssl(args: string[]): void {
  const { success, stderr } = new Deno.Command("openssl", { args })
    .outputSync();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
}
