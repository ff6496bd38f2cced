/** What SUBSCRIBE (3.8) and UNSUBSCRIBE (3.10) have in common: a list of filters. */
import { PacketView } from "./packet_view.ts";
import { binaryEnd, PropertyList, uint16At } from "./properties.ts";
import { ReasonCode } from "./protocol.ts";
import { checkTopicFilter } from "./topic_bytes.ts";
import { decodeUtf8 } from "./utf8.ts";

/** A packet with topic filters that was checked whole. */
export abstract class FiltersView extends PacketView {
  /** 1 to 65535. */
  packetId = 0;
  /** The properties of MQTT 5; empty in older versions. */
  readonly properties: PropertyList = new PropertyList();
  // Where each filter's length lies, and one behind the last entry.
  readonly #entries: number[] = [];

  /** Clauses of 3.1.1 and 5.0 that want a filter at all. */
  protected abstract get emptyClauses(): readonly [string, string];
  /** Checks what an entry has behind its filter; returns one behind it. */
  protected abstract checkEntry(filterEnd: number, shared: boolean): number;

  /** How many filters there are: 1 or more. */
  get count(): number {
    return this.#entries.length - 1;
  }

  /** The filter at `index` from 0, with `$share/NAME/` where it has it. */
  filter(index: number): string {
    const at = this.entryStart(index);
    return decodeUtf8(this.buffer, at + 2, at + 2 + uint16At(this.buffer, at));
  }

  /** Where the filter at `index` begins with its length; `count` gives the end of all. */
  entryStart(index: number): number {
    const at = this.#entries[index];
    if (at === undefined) {
      throw new RangeError(`Cannot read filter ${index} of ${this.count}`);
    }
    return at;
  }

  protected override check(): void {
    const entries = this.#entries;
    entries.length = 0;
    const { buffer, end } = this;
    const isV5 = this.version === 5;
    let at = this.bodyStart;
    this.packetId = this.packetIdAt(at, "MQTT-2.3.1-1", "MQTT-2.2.1-3");
    at += 2;
    if (isV5) at = this.properties.read(this, at, end, this.type);
    else this.properties.clear(buffer, at);
    entries.push(at);
    if (at === end) {
      this.fail(
        ReasonCode.PROTOCOL_ERROR,
        "has no topic filter",
        ...this.emptyClauses,
      );
    }
    while (at < end) {
      const filterEnd = binaryEnd(this, at, end);
      const shared = checkTopicFilter(this, at + 2, filterEnd, isV5);
      at = this.checkEntry(filterEnd, shared);
      entries.push(at);
    }
  }
}
