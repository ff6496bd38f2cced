/**
 * What the views of all packet types share. A view is loaded with the bytes of
 * one packet, checks them whole, remembers where the fields lie and decodes a
 * field when it is asked for. Views are used again: what they show is the
 * packet that was loaded last.
 */
import { PacketError } from "./packet_error.ts";
import { type PropertyOwner, uint16At } from "./properties.ts";
import {
  type Direction,
  PacketType,
  type ProtocolVersion,
  ReasonCode,
} from "./protocol.ts";

const EMPTY: Uint8Array<ArrayBuffer> = new Uint8Array(0);

/** A packet that was checked whole, in the memory where it arrived. */
export abstract class PacketView implements PropertyOwner {
  /** Holds the packet. */
  buffer: Uint8Array = EMPTY;
  /** First byte of the packet. */
  start = 0;
  /** First byte after the fixed header. */
  bodyStart = 0;
  /** One behind the last byte of the packet. */
  end = 0;
  /** The version that the packet is written in. */
  version: ProtocolVersion = 4;
  /** Whether the packet goes to the broker. */
  upstream = true;

  /** The packet's type. */
  abstract get type(): PacketType;

  /**
   * Takes a packet that a `Framer` found and checks its body.
   *
   * @throws {PacketError} where it breaks a rule; the view then shows nothing.
   */
  load(
    buffer: Uint8Array,
    start: number,
    bodyStart: number,
    end: number,
    version: ProtocolVersion,
    upstream: boolean,
  ): void {
    this.buffer = buffer;
    this.start = start;
    this.bodyStart = bodyStart;
    this.end = end;
    this.version = version;
    this.upstream = upstream;
    this.check();
  }

  /** Where the packet goes. */
  get direction(): Direction {
    return this.upstream ? "upstream" : "downstream";
  }

  /** How many bytes the packet has, with its fixed header. */
  get byteLength(): number {
    return this.end - this.start;
  }

  /** The packet's bytes where they lie: valid as long as the memory is. */
  bytes(): Uint8Array {
    return this.buffer.subarray(this.start, this.end);
  }

  /** The same packet in memory of its own, to be kept for longer. */
  copy(): this {
    const bytes = this.buffer.slice(this.start, this.end);
    const copy = this.blank();
    copy.load(
      bytes,
      0,
      this.bodyStart - this.start,
      bytes.length,
      this.version,
      this.upstream,
    );
    return copy;
  }

  /** A new view of the same kind and settings, without a packet. */
  blank(): this {
    return new (this.constructor as new () => this)();
  }

  /** Checks the body and remembers where its fields are. */
  protected abstract check(): void;

  /** Throws a {@linkcode PacketError} for this packet. */
  fail(
    reasonCode: number,
    problem: string,
    clause4: string,
    clause5: string = clause4,
  ): never {
    throw new PacketError({
      problem,
      clause: this.version === 5 ? clause5 : clause4,
      reasonCode,
      version: this.version,
      direction: this.direction,
      packetType: this.type,
      established: this.type !== PacketType.CONNECT,
    });
  }

  /** Reads the packet identifier at `at`, which must not be 0. */
  protected packetIdAt(at: number, clause4: string, clause5: string): number {
    if (at + 2 > this.end) this.failShort();
    const id = uint16At(this.buffer, at);
    if (id === 0) {
      // 5.0, 2.2.1: a packet identifier is a non-zero two byte integer.
      this.fail(
        ReasonCode.PROTOCOL_ERROR,
        "has packet identifier 0",
        clause4,
        clause5,
      );
    }
    return id;
  }

  /** Throws: the packet ends within a field. */
  protected failShort(): never {
    return this.fail(
      ReasonCode.MALFORMED_PACKET,
      "is shorter than its fields",
      "MQTT-4.8.0-1",
      "MQTT-4.13.1-1",
    );
  }

  /** Throws: something follows the last field. */
  protected failLong(): never {
    return this.fail(
      ReasonCode.MALFORMED_PACKET,
      "is longer than its fields",
      "MQTT-4.8.0-1",
      "MQTT-4.13.1-1",
    );
  }
}
