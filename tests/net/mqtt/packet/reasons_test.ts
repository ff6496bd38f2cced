/** The table of reason codes (2.4 of MQTT 5), written down the other way round. */
import { assertEquals } from "@std/assert";
import {
  isReasonOf,
  packetName,
  PacketType,
} from "../../../../net/mqtt/packet/mod.ts";

// Table 2-6; behind a slash who may say it, `>` the client or `<` the server,
// where the tables of the packets (3.4.2.1, 3.5.2.1, 3.14.2.1, 3.15.2.1) say so.
const TABLE = `
00 CONNACK PUBACK PUBREC PUBREL PUBCOMP SUBACK UNSUBACK DISCONNECT AUTH/<
01 SUBACK
02 SUBACK
04 DISCONNECT/>
10 PUBACK/< PUBREC/<
11 UNSUBACK
18 AUTH
19 AUTH/>
80 CONNACK PUBACK PUBREC SUBACK UNSUBACK DISCONNECT
81 CONNACK DISCONNECT
82 CONNACK DISCONNECT
83 CONNACK PUBACK PUBREC SUBACK UNSUBACK DISCONNECT
84 CONNACK
85 CONNACK
86 CONNACK
87 CONNACK PUBACK PUBREC SUBACK UNSUBACK DISCONNECT/<
88 CONNACK
89 CONNACK DISCONNECT/<
8a CONNACK
8b DISCONNECT/<
8c CONNACK DISCONNECT/<
8d DISCONNECT/<
8e DISCONNECT/<
8f SUBACK UNSUBACK DISCONNECT/<
90 CONNACK PUBACK PUBREC DISCONNECT
91 PUBACK PUBREC SUBACK UNSUBACK
92 PUBREL PUBCOMP
93 DISCONNECT
94 DISCONNECT
95 CONNACK DISCONNECT
96 DISCONNECT
97 CONNACK PUBACK PUBREC SUBACK DISCONNECT
98 DISCONNECT
99 CONNACK PUBACK PUBREC DISCONNECT
9a CONNACK DISCONNECT/<
9b CONNACK DISCONNECT/<
9c CONNACK DISCONNECT/<
9d CONNACK DISCONNECT/<
9e SUBACK DISCONNECT/<
9f CONNACK DISCONNECT/<
a0 DISCONNECT/<
a1 SUBACK DISCONNECT/<
a2 SUBACK DISCONNECT/<
`;

Deno.test("isReasonOf() has table 2-6 and nothing else", () => {
  const wanted = new Set<string>();
  for (const line of TABLE.trim().split("\n")) {
    const [code, ...packets] = line.split(" ");
    for (const packet of packets) {
      const [name, side = "<>"] = packet.split("/");
      // These three are the server's to send.
      const upstream = !["CONNACK", "SUBACK", "UNSUBACK"].includes(name!);
      if (side.includes(">") && upstream) wanted.add(`${name} > ${code}`);
      if (side.includes("<")) wanted.add(`${name} < ${code}`);
    }
  }
  const had = new Set<string>();
  for (const type of Object.values(PacketType)) {
    for (let code = 0; code < 256; code++) {
      const hex = code.toString(16).padStart(2, "0");
      if (isReasonOf(type, code, true)) {
        had.add(`${packetName(type)} > ${hex}`);
      }
      if (isReasonOf(type, code, false)) {
        had.add(`${packetName(type)} < ${hex}`);
      }
    }
  }
  assertEquals([...had].sort(), [...wanted].sort());
});
