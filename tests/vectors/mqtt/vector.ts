/**
 * How byte sequences of MQTT and what becomes of them are written down: a
 * comment line, then one line for each case of it.
 *
 * ```
 * # PINGREQ with a body
 * 34>: C0 03 'abc' => MQTT-4.8.0-1 close
 * 5>: C0 03 'abc' => MQTT-4.13.1-1 disconnect 81
 * ```
 *
 * In front stand the versions (3 is 3.1, 4 is 3.1.1, 5 is 5.0) and `>` for
 * what a client says or `<` for what a broker says; then, where it is so,
 * `first` where no CONNECT or CONNACK went before, `max=N` for a limit of the
 * packet's bytes and `before=N` for the number of packets taken before the bad
 * one.
 *
 * Bytes: `30 02` hex; `'hi'` the UTF-8 of a text; `s'hi'` the same with its two
 * bytes of length; `41*300` one byte 300 times; `[ … ]` what it holds with a
 * remaining length in front; `{ … }` what it holds with a property length in
 * front. A length that is wrong is written in hex.
 *
 * Behind `=>` stands `ok` with fields of the packet (or of each packet, in a
 * list) as JSON, or the clause with `close`, `connack CODE` or
 * `disconnect CODE`.
 */
import type {
  Direction,
  ProtocolVersion,
} from "../../../net/mqtt/packet/mod.ts";

/** Fields of a packet as plain values; null where one is not there. */
export type Fields = Readonly<Record<string, unknown>>;

/** A sequence of bytes on one side of a connection and what becomes of it. */
export interface Vector {
  readonly comment: string;
  readonly version: ProtocolVersion;
  readonly direction: Direction;
  /** Whether the CONNECT, or the CONNACK downstream, went before. */
  readonly established: boolean;
  readonly maxPacketBytes: number | undefined;
  /** In the module's notation. */
  readonly notation: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly expected: Accepted | Refused;
}

/** Every packet is taken; these fields of them are as said. */
export interface Accepted {
  readonly verdict: "accepted";
  readonly packets: readonly Fields[];
}

/** Packets before the bad one are taken; then comes the error. */
export interface Refused {
  readonly verdict: "refused";
  readonly clause: string;
  /** `close`, `connack 81` or `disconnect 81`. */
  readonly answer: string;
  readonly packetsBefore: number;
}

/** Reads what is written in the module's notation. */
export function parseVectors(text: string): readonly Vector[] {
  const vectors: Vector[] = [];
  let comment = "";
  for (const line of text.split("\n")) {
    if (line === "") continue;
    if (line.startsWith("#")) comment = line.slice(2);
    else vectors.push(...parseLine(line, comment));
  }
  return vectors;
}

function parseLine(line: string, comment: string): Vector[] {
  const parts =
    /^([345]+)([<>])( first)?(?: max=(\d+))?(?: before=(\d+))?: (.*) => (.*)$/
      .exec(line);
  if (!parts) throw new SyntaxError(`Cannot read ${line}`);
  const [, versions, arrow, first, max, before, notation, outcome] = parts;
  return [...versions!].map((digit) => ({
    comment,
    version: Number(digit) as ProtocolVersion,
    direction: arrow === ">" ? "upstream" : "downstream",
    established: first === undefined,
    maxPacketBytes: max === undefined ? undefined : Number(max),
    notation: notation!,
    bytes: bytesOf(notation!),
    expected: parseOutcome(outcome!, Number(before ?? 0)),
  }));
}

function parseOutcome(text: string, packetsBefore: number): Accepted | Refused {
  if (text.startsWith("ok ")) {
    const fields = JSON.parse(text.slice(3)) as Fields | Fields[];
    return {
      verdict: "accepted",
      packets: Array.isArray(fields) ? fields : [fields as Fields],
    };
  }
  const parts = /^(\S+) (close|(?:connack|disconnect) [\da-f]{2})$/.exec(text);
  if (!parts) throw new SyntaxError(`Cannot read ${text}`);
  return {
    verdict: "refused",
    clause: parts[1]!,
    answer: parts[2]!,
    packetsBefore,
  };
}

/** The bytes that the notation stands for. */
export function bytesOf(notation: string): Uint8Array<ArrayBuffer> {
  const tokens = notation.match(/s?'[^']*'|\S+/g) ?? [];
  let at = 0;
  const list = (end: string | undefined): number[] => {
    const bytes: number[] = [];
    for (;;) {
      const token = tokens[at++];
      if (token === end) return bytes;
      if (token === undefined) throw new SyntaxError(`Missing ${end}`);
      const added = token === "["
        ? withLength(list("]"))
        : token === "{"
        ? withLength(list("}"))
        : tokenBytes(token);
      for (const byte of added) bytes.push(byte);
    }
  };
  return new Uint8Array(list(undefined));
}

function tokenBytes(token: string): number[] {
  const text = /^(s?)'([^']*)'$/.exec(token);
  if (text) {
    const bytes = [...new TextEncoder().encode(text[2])];
    return text[1] ? [bytes.length >> 8, bytes.length & 0xff, ...bytes] : bytes;
  }
  const hex = /^((?:[\dA-F]{2})+)(?:\*(\d+))?$/.exec(token);
  if (!hex) throw new SyntaxError(`Cannot read ${token}`);
  const bytes = hex[1]!.match(/../g)!.map((pair) => parseInt(pair, 16));
  return Array.from({ length: Number(hex[2] ?? 1) }, () => bytes).flat();
}

function withLength(bytes: number[]): number[] {
  const length: number[] = [];
  for (let rest = bytes.length; length.length === 0 || rest > 0; rest >>= 7) {
    length.push(rest > 0x7f ? rest & 0x7f | 0x80 : rest);
  }
  return [...length, ...bytes];
}
