/** A packet as `intercept` sees it, with what hooks put in its place. */
import type { InterceptedPacket } from "./hooks.ts";
import { packetName } from "../packet/mod.ts";

/** A packet on its way. */
export class InterceptDraft implements InterceptedPacket {
  readonly type: number;
  /** The packet, or the one that a hook gave in its place. */
  bytes: Uint8Array<ArrayBuffer>;
  /** Whether a hook gave another one. */
  changed = false;

  constructor(type: number, bytes: Uint8Array<ArrayBuffer>) {
    this.type = type;
    this.bytes = bytes;
  }

  get name(): string {
    return packetName(this.type);
  }

  /** Puts a hook's packet in its place; it is checked when all hooks have answered. */
  apply(bytes: Uint8Array): void {
    if (!(bytes instanceof Uint8Array)) {
      throw new TypeError("Cannot use the answer: a packet's bytes are wanted");
    }
    this.bytes = bytes.slice();
    this.changed = true;
  }
}
