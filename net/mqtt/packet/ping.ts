/** PINGREQ and PINGRESP (3.12, 3.13), which are a fixed header and nothing else. */
import { PacketView } from "./packet_view.ts";

/** A PINGREQ or PINGRESP that was checked whole. */
export class PingView extends PacketView {
  /** The packet's type. */
  override get type(): 12 | 13 {
    return (this.buffer[this.start]! >> 4) as 12 | 13;
  }

  protected override check(): void {
    if (this.bodyStart < this.end) this.failLong();
  }
}
