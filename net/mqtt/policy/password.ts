/**
 * Passwords as policies hold them: `$scrypt$ln=15,r=8,p=1$SALT$HASH` (PHC's
 * string format), `$pbkdf2-sha256$i=600000$SALT$HASH`, and mosquitto's
 * `$7$ITERATIONS$SALT$HASH` (PBKDF2 with SHA-512), so that its file can be
 * taken over. Salt and hash are base64.
 */
import { pbkdf2, randomBytes, scrypt, timingSafeEqual } from "node:crypto";
import { Buffer } from "node:buffer";
import { toText } from "@std/streams/to-text";
import { UsageError } from "../../errors.ts";

/** Derives a key from a password and compares it. */
interface PasswordHash {
  readonly salt: Buffer;
  readonly hash: Buffer;
  derive(password: Uint8Array, salt: Buffer, bytes: number): Promise<Buffer>;
}

/** What `scrypt` costs (RFC 7914): 2^15 * 8 * 128 bytes, and some 80 ms. */
const SCRYPT = { ln: 15, r: 8, p: 1 };

/** Most memory that a hash in a file may ask for. */
const MAX_SCRYPT_BYTES = 1 << 28;
/** Most rounds that a hash in a file may ask for. */
const MAX_ITERATIONS = 10_000_000;

/** Makes a hash for the policy file. By scrypt (RFC 7914), as the PHC string format writes it. */
export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(16);
  const { ln, r, p } = SCRYPT;
  const hash = await deriveScrypt(ln, r, p)(
    new TextEncoder().encode(password),
    salt,
    32,
  );
  return `$scrypt$ln=${ln},r=${r},p=${p}$${unpadded(salt)}$${unpadded(hash)}`;
}

/**
 * Reads a password from stdin up to its line's end, and prints its hash on
 * stdout. Throws a UsageError where there is none.
 */
export async function hashPasswordFromStdin(): Promise<void> {
  const text = await toText(Deno.stdin.readable);
  const [password] = text.split(/\r?\n/, 1);
  if (!password) {
    throw new UsageError("Cannot make a hash: stdin holds no password");
  }
  await Deno.stdout.write(
    new TextEncoder().encode(`${await hashPassword(password)}\n`),
  );
}

/** Whether a password is the one of a hash, of scrypt (RFC 7914) or PBKDF2 (RFC 8018). */
export async function verifyPassword(
  password: Uint8Array,
  text: string,
): Promise<boolean> {
  const { salt, hash, derive } = parseHash(text);
  const derived = await derive(password, salt, hash.length);
  return timingSafeEqual(derived, hash);
}

/** Throws a UsageError where a text is no hash; never shows it. */
export function checkHash(text: string): void {
  parseHash(text);
}

function parseHash(text: string): PasswordHash {
  const fail = (why: string): never => {
    throw new UsageError(
      `a password must be a hash as hashPassword makes it: ${why}`,
    );
  };
  const parts = text.split("$");
  if (parts.length !== 5 || parts[0] !== "") fail("it has no five parts");
  const [, kind, parameters, saltText, hashText] = parts as [
    string,
    string,
    string,
    string,
    string,
  ];
  const salt = Buffer.from(saltText, "base64");
  const hash = Buffer.from(hashText, "base64");
  if (salt.length < 8 || hash.length < 16) fail("salt or hash is too short");
  switch (kind) {
    case "scrypt": {
      const match = /^ln=(\d+),r=(\d+),p=(\d+)$/.exec(parameters);
      if (!match) return fail("ln, r and p are wanted");
      const [ln, r, p] = match.slice(1).map(Number) as [number, number, number];
      if (
        ln < 1 || ln > 22 || r < 1 || p < 1 || p > 16 ||
        128 * 2 ** ln * r > MAX_SCRYPT_BYTES
      ) fail("it costs too much");
      return { salt, hash, derive: deriveScrypt(ln, r, p) };
    }
    case "pbkdf2-sha256": {
      const match = /^i=(\d+)$/.exec(parameters);
      if (!match) return fail("i is wanted");
      return { salt, hash, derive: derivePbkdf2(Number(match[1]), "sha256") };
    }
    case "7":
      return { salt, hash, derive: derivePbkdf2(Number(parameters), "sha512") };
    default:
      return fail(`"${kind}" is none of scrypt, pbkdf2-sha256, 7`);
  }
}

function deriveScrypt(ln: number, r: number, p: number) {
  return (password: Uint8Array, salt: Buffer, bytes: number): Promise<Buffer> =>
    new Promise((resolve, reject) => {
      const cost = { N: 2 ** ln, r, p, maxmem: 2 * MAX_SCRYPT_BYTES };
      scrypt(password, salt, bytes, cost, (error, key) => {
        if (error) reject(error);
        else resolve(key as Buffer);
      });
    });
}

function derivePbkdf2(iterations: number, digest: string) {
  if (!(iterations >= 1 && iterations <= MAX_ITERATIONS)) {
    throw new UsageError(
      `a password's hash has ${iterations} iterations: 1 to ${MAX_ITERATIONS} are wanted`,
    );
  }
  return (password: Uint8Array, salt: Buffer, bytes: number): Promise<Buffer> =>
    new Promise((resolve, reject) => {
      pbkdf2(password, salt, iterations, bytes, digest, (error, key) => {
        if (error) reject(error);
        else resolve(key as Buffer);
      });
    });
}

function unpadded(bytes: Buffer): string {
  return bytes.toString("base64").replace(/=+$/, "");
}
