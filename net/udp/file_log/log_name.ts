/** Names of log files: split by address, rotated, compressed. Pure. */
import type { Address } from "../../address.ts";

/** Names that Windows gives to devices, with any extension (naming files, learn.microsoft.com). */
const RESERVED =
  /^(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)$/i;

/**
 * Longest parts of a split name, so that with an IPv6 address, a zone and what
 * rotation adds it stays below the 255 bytes of ext4, NTFS and APFS.
 */
const MOST_STEM_BYTES = 96;
const MOST_HOST_BYTES = 90;
const MOST_EXTENSION_BYTES = 16;

const encoder = new TextEncoder();

/**
 * The name of one address's file, legal on every system: `feed.log` with
 * `127.0.0.1:9920` is `feed.127.0.0.1_9920.log`, with `[fe80::1%eth0]:9920` it is
 * `feed.ip6-fe80--1~eth0_9920.log`. No two IP addresses share a name, nor do they
 * on systems that do not tell upper case from lower case.
 */
export function splitName(name: string, address: Address): string {
  const { zone } = address;
  return nameWith(
    name,
    `${hostPart(address)}${zonePart(zone)}_${address.port}`,
  );
}

/** An IPv4 sender is the same one on an IPv6 socket, which names it `::ffff:10.0.0.7` (RFC 4291, 2.5.5.2). */
export function unmapped(address: Address): Address {
  const { hostname, port } = address;
  return hostname.startsWith("::ffff:") && hostname.includes(".")
    ? { hostname: hostname.slice(7), port }
    : address;
}

/** The same without the port: `feed.127.0.0.1.log`. */
export function splitHostName(name: string, address: Address): string {
  return nameWith(name, `${hostPart(address)}${zonePart(address.zone)}`);
}

/** The name of the file that all further addresses share: `feed.other.log`. */
export function otherName(name: string): string {
  return nameWith(name, "other");
}

function hostPart({ hostname }: Address): string {
  return hostname.includes(":")
    ? `ip6-${hostname.toLowerCase().replaceAll(":", "-")}`
    : /^[\d.]+$/.test(hostname)
    ? hostname
    : cutToBytes(
      `host-${escapeOther(hostname.toLowerCase(), /[^a-z0-9.-]/g)}`,
      MOST_HOST_BYTES,
    );
}

function zonePart(zone: string | undefined): string {
  return zone === undefined ? "" : `~${escapeOther(zone, /[^a-z0-9]/g)}`;
}

function nameWith(name: string, part: string): string {
  const [stem, extension] = splitExtension(legalName(name));
  return `${cutToBytes(stem, MOST_STEM_BYTES)}.${part}${extension}`;
}

/** The two sides of the addresses in split names: `feed.` and `.log`. */
export function splitNameSides(name: string): [string, string] {
  const [before, after] = splitName(name, { hostname: "0.0.0.0", port: 0 })
    .split("0.0.0.0_0");
  return [before!, after!];
}

/** A name in which every system's forbidden characters are written as `=` and their hexadecimal code. */
export function legalName(name: string): string {
  // deno-lint-ignore no-control-regex
  const escaped = escapeOther(name, /[\x00-\x1f\x7f<>:"/\\|?*%[\]=]/g);
  const ended = escaped.replace(/[. ]+$/, (end) => escapeOther(end, /[. ]/g));
  const dot = ended.indexOf(".");
  const device = dot < 0 ? ended : ended.slice(0, dot);
  return RESERVED.test(device.trimEnd())
    ? `${device}=${ended.slice(device.length)}`
    : ended;
}

/** What a rotated file's name says. */
export interface RotatedName {
  /** The name of the file that was rotated. */
  base: string;
  /** Sorts like the time of the rotation. */
  order: string;
  /** Whether it is compressed. */
  compressed: boolean;
  /** Whether it is a compression under way or broken off. */
  partial: boolean;
}

const ROTATED = /^(.+)\.(\d{8}T\d{9}Z)(?:-(\d{1,6}))?(\.gz)?(\.tmp)?$/s;

/**
 * The name of a rotated file: `feed.log` at 10:15:30.123 UTC is
 * `feed.log.20260822T101530123Z`, and `…Z-1`, `…Z-2` for more in one millisecond.
 */
export function rotatedName(base: string, timeMs: number, repeat = 0): string {
  const stamp = new Date(timeMs).toISOString().replace(/[-:.]/g, "");
  return `${base}.${stamp}${repeat === 0 ? "" : `-${repeat}`}`;
}

/** Reads the name of a rotated file, or returns undefined where it is none. */
export function parseRotatedName(name: string): RotatedName | undefined {
  const match = ROTATED.exec(name);
  if (!match) return undefined;
  const [, base, stamp, repeat = "0", gz, tmp] = match;
  if (tmp !== undefined && gz === undefined) return undefined;
  return {
    base: base!,
    order: `${stamp}-${repeat.padStart(6, "0")}`,
    compressed: gz !== undefined,
    partial: tmp !== undefined,
  };
}

function splitExtension(name: string): [string, string] {
  const dot = name.lastIndexOf(".");
  const extension = name.slice(dot);
  return dot <= 0 || encoder.encode(extension).length > MOST_EXTENSION_BYTES
    ? [name, ""]
    : [name.slice(0, dot), extension];
}

function escapeOther(text: string, forbidden: RegExp): string {
  return text.replace(
    forbidden,
    (character) =>
      Array.from(
        encoder.encode(character),
        (byte) => `=${byte.toString(16).padStart(2, "0")}`,
      ).join(""),
  );
}

/** The longest start of a text, in whole characters, that fits. */
function cutToBytes(text: string, most: number): string {
  let bytes = 0;
  let cut = "";
  for (const character of text) {
    bytes += encoder.encode(character).length;
    if (bytes > most) break;
    cut += character;
  }
  return cut;
}
