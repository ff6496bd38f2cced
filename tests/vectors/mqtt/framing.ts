/** Fixed headers, and packets that have nothing but one (2.2 in 3.1.1, 2.1 in 5.0). */
import { parseVectors, type Vector } from "./vector.ts";

/** First bytes, lengths and directions. */
export const FRAMING_VECTORS: readonly Vector[] = parseVectors(String.raw`
# PINGREQ, PINGRESP
345>: C0 00 => ok {"type":"PINGREQ"}
345<: D0 00 => ok {"type":"PINGRESP"}
# one after the other
345>: C0 00 C0 00 C0 00 => ok [{"type":"PINGREQ"},{"type":"PINGREQ"},{"type":"PINGREQ"}]
# a body of k bytes makes a receiver that drops it, and a next one that does not, disagree
34>: C0 03 'abc' => MQTT-4.8.0-1 close
34>: C0 01 00 => MQTT-4.8.0-1 close
34>: C0 02 C0 00 => MQTT-4.8.0-1 close
5>: C0 03 'abc' => MQTT-4.13.1-1 disconnect 81
34<: D0 03 'abc' => MQTT-4.8.0-1 close
5<: D0 03 'abc' => MQTT-4.13.1-1 disconnect 81
34>: E0 03 'abc' => MQTT-4.8.0-1 close
# the header of such a packet is enough
34>: C0 03 => MQTT-4.8.0-1 close
34>: C0 FF FF FF 7F => MQTT-4.8.0-1 close
5>: C0 80 01 => MQTT-4.13.1-1 disconnect 81
34>: E0 01 => MQTT-4.8.0-1 close
34<: D0 01 => MQTT-4.8.0-1 close
5<: D0 FF 01 => MQTT-4.13.1-1 disconnect 81
# a message hidden behind a PINGREQ: none of it is taken
4>: C0 0F 30 0D s'ok' 30 0A => MQTT-4.8.0-1 close
5>: C0 0F 30 0D s'ok' 00 30 0A => MQTT-4.13.1-1 disconnect 81
# length 0 in two bytes
34>: C0 80 00 => ok {"type":"PINGREQ"}
34>: C0 80 80 80 00 => ok {"type":"PINGREQ"}
5>: C0 80 00 => MQTT-1.5.5-1 disconnect 81
5>: C0 80 80 80 00 => MQTT-1.5.5-1 disconnect 81
5<: D0 80 00 => MQTT-1.5.5-1 disconnect 81
# a length of five bytes
34>: C0 80 80 80 80 00 => 2.2.3 close
34>: 30 FF FF FF FF => 2.2.3 close
5>: C0 80 80 80 80 00 => 1.5.5 disconnect 81
5<: 30 80 80 80 80 01 => 1.5.5 disconnect 81
# no packet yet, and no error
345>: C0 => ok []
345>: 30 => ok []
345>: 30 80 => ok []
345>: 30 80 80 80 => ok []
345<: D0 => ok []
# reserved type 0
34>: 00 00 => 2.2.1 close
5>: 00 00 => 2.1.2 disconnect 81
34<: 0F 00 => 2.2.1 close
5<: 00 05 => 2.1.2 disconnect 81
# type 15 came with 5.0
34>: F0 00 => 2.2.1 close
34<: F0 00 => 2.2.1 close
34>: FF 00 => 2.2.1 close
# what only a broker says
34>: 20 02 00 00 => 2.2.1 close
34>: 90 03 00 01 00 => 2.2.1 close
34>: B0 02 00 01 => 2.2.1 close
34>: D0 00 => 2.2.1 close
5>: 20 03 00 00 00 => 2.1.2 disconnect 82
5>: 90 04 00 01 00 00 => 2.1.2 disconnect 82
5>: B0 04 00 01 00 00 => 2.1.2 disconnect 82
5>: D0 00 => 2.1.2 disconnect 82
# what only a client says
34<: 10 [ s'MQTT' 04 02 003C s'c' ] => 2.2.1 close
34<: 82 [ 0001 s't' 00 ] => 2.2.1 close
34<: A2 [ 0001 s't' ] => 2.2.1 close
34<: C0 00 => 2.2.1 close
34<: E0 00 => 2.2.1 close
5<: 10 [ s'MQTT' 05 02 003C { } s'c' ] => 2.1.2 disconnect 82
5<: 82 [ 0001 { } s't' 00 ] => 2.1.2 disconnect 82
5<: A2 [ 0001 { } s't' ] => 2.1.2 disconnect 82
5<: C0 00 => 2.1.2 disconnect 82
# flags of the first byte, which only PUBLISH uses
34>: C1 00 => MQTT-2.2.2-2 close
34>: C2 00 => MQTT-2.2.2-2 close
34>: E8 00 => MQTT-2.2.2-2 close
34>: 41 02 00 01 => MQTT-2.2.2-2 close
34>: 54 02 00 01 => MQTT-2.2.2-2 close
34>: 60 02 00 01 => MQTT-2.2.2-2 close
34>: 63 02 00 01 => MQTT-2.2.2-2 close
34>: 72 02 00 01 => MQTT-2.2.2-2 close
34>: 80 [ 0001 s't' 00 ] => MQTT-2.2.2-2 close
34>: 83 [ 0001 s't' 00 ] => MQTT-2.2.2-2 close
34>: A0 [ 0001 s't' ] => MQTT-2.2.2-2 close
34<: D1 00 => MQTT-2.2.2-2 close
34< first: 21 02 00 00 => MQTT-2.2.2-2 close
34<: 92 03 00 01 00 => MQTT-2.2.2-2 close
34<: B2 02 00 01 => MQTT-2.2.2-2 close
5>: C1 00 => MQTT-2.1.3-1 disconnect 81
5>: 44 02 00 01 => MQTT-2.1.3-1 disconnect 81
5>: 52 02 00 01 => MQTT-2.1.3-1 disconnect 81
5>: 60 02 00 01 => MQTT-2.1.3-1 disconnect 81
5>: 6A 02 00 01 => MQTT-2.1.3-1 disconnect 81
5>: 78 02 00 01 => MQTT-2.1.3-1 disconnect 81
5>: 80 [ 0001 { } s't' 00 ] => MQTT-2.1.3-1 disconnect 81
5>: 8A [ 0001 { } s't' 00 ] => MQTT-2.1.3-1 disconnect 81
5>: A1 [ 0001 { } s't' ] => MQTT-2.1.3-1 disconnect 81
5>: E1 00 => MQTT-2.1.3-1 disconnect 81
5>: F1 00 => MQTT-2.1.3-1 disconnect 81
5<: D4 00 => MQTT-2.1.3-1 disconnect 81
5<: E2 00 => MQTT-2.1.3-1 disconnect 81
5<: 91 [ 0001 { } 00 ] => MQTT-2.1.3-1 disconnect 81
# 3.1 repeats PUBREL, SUBSCRIBE and UNSUBSCRIBE with the DUP bit set
3>: 6A 02 00 01 => ok {"type":"PUBREL","id":1}
3>: 8A [ 0001 s't' 00 ] => ok {"type":"SUBSCRIBE","id":1}
3>: AA [ 0001 s't' ] => ok {"type":"UNSUBSCRIBE","id":1}
3<: 6A 02 00 01 => ok {"type":"PUBREL","id":1}
4>: 6A 02 00 01 => MQTT-2.2.2-2 close
4>: 8A [ 0001 s't' 00 ] => MQTT-2.2.2-2 close
4>: AA [ 0001 s't' ] => MQTT-2.2.2-2 close
3>: C8 00 => MQTT-2.2.2-2 close
3>: 48 02 00 01 => MQTT-2.2.2-2 close
# what comes before the bad packet is taken
4> before=2: 30 [ s'a' ] C0 00 C0 01 00 => MQTT-4.8.0-1 close
5> before=1: 30 [ s'a' { } ] 36 [ s'a' 0001 { } ] => MQTT-3.3.1-4 disconnect 81
`);
