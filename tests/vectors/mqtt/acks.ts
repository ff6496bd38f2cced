/** PUBACK, PUBREC, PUBREL and PUBCOMP (3.4 to 3.7). */
import { parseVectors, type Vector } from "./vector.ts";

/** Acknowledgements of both sides. */
export const ACK_VECTORS: readonly Vector[] = parseVectors(String.raw`
# the packet identifier and nothing else
345>: 40 02 00 01 => ok {"type":"PUBACK","id":1,"code":0,"properties":[]}
345>: 50 02 00 02 => ok {"type":"PUBREC","id":2}
345>: 62 02 FF FF => ok {"type":"PUBREL","id":65535}
345>: 70 02 01 00 => ok {"type":"PUBCOMP","id":256}
345<: 40 02 00 01 => ok {"type":"PUBACK","id":1}
345<: 50 02 00 02 => ok {"type":"PUBREC","id":2}
345<: 62 02 FF FF => ok {"type":"PUBREL","id":65535}
345<: 70 02 01 00 => ok {"type":"PUBCOMP","id":256}
# the length in more bytes than it needs
34>: 40 82 00 00 01 => ok {"type":"PUBACK","id":1}
5>: 40 82 00 00 01 => MQTT-1.5.5-1 disconnect 81
# a code without properties (3.4.2.2.1)
5>: 40 03 00 01 00 => ok {"id":1,"code":0,"properties":[]}
5>: 40 03 00 01 87 => ok {"id":1,"code":135}
5<: 50 03 00 01 97 => ok {"type":"PUBREC","code":151}
5>: 62 03 00 01 92 => ok {"type":"PUBREL","code":146}
5<: 70 03 00 01 92 => ok {"type":"PUBCOMP","code":146}
# a code with an empty list
5>: 40 04 00 01 00 00 => ok {"code":0,"properties":[]}
5<: 62 04 00 01 00 00 => ok {"type":"PUBREL","properties":[]}
# a code that is explained
5<: 40 [ 0001 87 { 1F s'not yours' 26 s'k' s'v' 26 s'k' s'w' } ] => ok {"code":135,"properties":[[31,"not yours"],[38,["k","v"]],[38,["k","w"]]]}
5>: 50 [ 0001 99 { 1F s'' } ] => ok {"code":153,"properties":[[31,""]]}
5<: 62 [ 0001 92 { 26 s'k' s'v' } ] => ok {"code":146,"properties":[[38,["k","v"]]]}
5>: 70 [ 0001 00 { 1F s'done' } ] => ok {"code":0,"properties":[[31,"done"]]}
# every code of PUBACK and PUBREC
5>: 40 03 00 01 80 50 03 00 01 80 => ok [{"code":128},{"code":128}]
5>: 40 03 00 01 83 50 03 00 01 83 => ok [{"code":131},{"code":131}]
5>: 40 03 00 01 90 50 03 00 01 90 => ok [{"code":144},{"code":144}]
5>: 40 03 00 01 91 50 03 00 01 91 => ok [{"code":145},{"code":145}]
5>: 40 03 00 01 97 50 03 00 01 87 => ok [{"code":151},{"code":135}]
5<: 40 03 00 01 10 50 03 00 01 10 => ok [{"code":16},{"code":16}]
# packet identifier 0
34>: 40 02 00 00 => MQTT-2.3.1-6 close
34>: 50 02 00 00 => MQTT-2.3.1-6 close
34>: 62 02 00 00 => MQTT-2.3.1-6 close
34<: 70 02 00 00 => MQTT-2.3.1-6 close
5>: 40 02 00 00 => MQTT-2.2.1-5 disconnect 82
5<: 62 02 00 00 => MQTT-2.2.1-5 disconnect 82
# shorter and longer than before 5.0
34>: 40 00 => MQTT-4.8.0-1 close
34>: 40 01 00 => MQTT-4.8.0-1 close
34>: 40 03 00 01 00 => MQTT-4.8.0-1 close
34>: 50 04 00 01 00 00 => MQTT-4.8.0-1 close
34<: 62 03 00 01 00 => MQTT-4.8.0-1 close
34<: 70 82 01 => MQTT-4.8.0-1 close
# shorter than 5.0
5>: 40 00 => MQTT-4.13.1-1 disconnect 81
5>: 50 01 00 => MQTT-4.13.1-1 disconnect 81
5<: 70 01 00 => MQTT-4.13.1-1 disconnect 81
# longer than its fields
5>: 40 05 00 01 00 00 00 => MQTT-4.13.1-1 disconnect 81
5>: 50 [ 0001 00 { 26 s'k' s'v' } FF ] => MQTT-4.13.1-1 disconnect 81
# properties longer than the packet, and shorter than one of them
5>: 40 04 00 01 00 01 => 2.2.2.1 disconnect 81
5>: 40 [ 0001 00 03 1F 0001 61 ] => MQTT-4.13.1-1 disconnect 81
5<: 62 04 00 01 00 80 => MQTT-4.13.1-1 disconnect 81
# codes of other packets
5>: 40 03 00 01 01 => MQTT-3.4.2-1 disconnect 82
5>: 40 03 00 01 92 => MQTT-3.4.2-1 disconnect 82
5>: 50 03 00 01 81 => MQTT-3.5.2-1 disconnect 82
5>: 62 03 00 01 80 => MQTT-3.6.2-1 disconnect 82
5>: 62 03 00 01 91 => MQTT-3.6.2-1 disconnect 82
5>: 70 03 00 01 87 => MQTT-3.7.2-1 disconnect 82
5<: 40 03 00 01 FF => MQTT-3.4.2-1 disconnect 82
5<: 70 03 00 01 10 => MQTT-3.7.2-1 disconnect 82
# only a server knows that nobody subscribed
5>: 40 03 00 01 10 => MQTT-3.4.2-1 disconnect 82
5>: 50 03 00 01 10 => MQTT-3.5.2-1 disconnect 82
# Reason String twice, and properties of other packets
5>: 40 [ 0001 00 { 1F s'a' 1F s'b' } ] => 3.2.2.3.9 disconnect 82
5>: 40 [ 0001 00 { 1C s'a' } ] => 2.2.2.2 disconnect 81
5<: 62 [ 0001 00 { 23 0001 } ] => 2.2.2.2 disconnect 81
# a Reason String that is not UTF-8
5<: 70 [ 0001 00 { 1F 0001 FF } ] => MQTT-1.5.4-1 disconnect 81
`);
