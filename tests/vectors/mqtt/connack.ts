/** CONNACK, DISCONNECT and AUTH (3.2, 3.14, 3.15). */
import { parseVectors, type Vector } from "./vector.ts";

/** How connections begin, end and prove themselves. */
export const CONNACK_VECTORS: readonly Vector[] = parseVectors(String.raw`
# accepted
34< first: 20 02 00 00 => ok {"type":"CONNACK","sessionPresent":false,"code":0}
34< first: 20 02 01 00 => ok {"sessionPresent":true,"code":0}
5< first: 20 03 00 00 00 => ok {"sessionPresent":false,"code":0,"properties":[]}
5< first: 20 03 01 00 00 => ok {"sessionPresent":true,"code":0}
# refused, with each return code
34< first: 20 02 00 01 => ok {"code":1}
34< first: 20 02 00 02 => ok {"code":2}
34< first: 20 02 00 03 => ok {"code":3}
34< first: 20 02 00 04 => ok {"code":4}
34< first: 20 02 00 05 => ok {"code":5}
# refused, with reason codes
5< first: 20 03 00 80 00 => ok {"code":128}
5< first: 20 03 00 84 00 => ok {"code":132}
5< first: 20 03 00 86 00 => ok {"code":134}
5< first: 20 03 00 87 00 => ok {"code":135}
5< first: 20 03 00 8A 00 => ok {"code":138}
5< first: 20 03 00 8C 00 => ok {"code":140}
5< first: 20 03 00 95 00 => ok {"code":149}
5< first: 20 [ 00 9C { 1C s'other:1883' } ] => ok {"code":156,"properties":[[28,"other:1883"]]}
5< first: 20 03 00 9F 00 => ok {"code":159}
# every property
5< first: 20 [ 00 00 { 11 0000000A 21 0014 24 01 25 00 27 00001000 12 s'auto-1' 22 000A 1F s'welcome' 26 s'k' s'v' 28 01 29 00 2A 01 13 003C 1A s'resp/' 1C s'ref' 15 s'X' 16 0002 00FF } ] => ok {"properties":[[17,10],[33,20],[36,1],[37,0],[39,4096],[18,"auto-1"],[34,10],[31,"welcome"],[38,["k","v"]],[40,1],[41,0],[42,1],[19,60],[26,"resp/"],[28,"ref"],[21,"X"],[22,"\u0000\u00ff"]]}
# what a broker says after accepting
4< first: 20 02 00 00 30 [ s't' 'x' ] D0 00 => ok [{"code":0},{"topic":"t"},{"type":"PINGRESP"}]
5< first: F0 [ 18 { 15 s'X' } ] 20 03 00 00 00 E0 00 => ok [{"type":"AUTH"},{"type":"CONNACK"},{"type":"DISCONNECT"}]
# something else first
34< first: 30 [ s't' 'x' ] => MQTT-3.2.0-1 close
34< first: D0 00 => MQTT-3.2.0-1 close
5< first: 30 [ s't' { } 'x' ] => MQTT-3.2.0-1 disconnect 82
5< first: E0 01 8B => MQTT-3.2.0-1 disconnect 82
34< first: F0 00 => MQTT-3.2.0-1 close
# something behind a refusal
4< first before=1: 20 02 00 05 30 [ s't' 'x' ] => MQTT-3.2.0-1 close
5< first before=1: 20 03 00 87 00 E0 00 => MQTT-3.2.0-1 disconnect 82
# a second one
34<: 20 02 00 00 => 3.2 close
5<: 20 03 00 00 00 => MQTT-3.2.0-2 disconnect 82
5< first before=1: 20 03 00 00 00 20 03 00 00 00 => MQTT-3.2.0-2 disconnect 82
# reserved flags
34< first: 20 02 02 00 => 3.2.2.1 close
34< first: 20 02 FF 00 => 3.2.2.1 close
5< first: 20 03 80 00 00 => MQTT-3.2.2-1 disconnect 81
# a session present in a refusal
34< first: 20 02 01 05 => MQTT-3.2.2-4 close
5< first: 20 03 01 87 00 => MQTT-3.2.2-6 disconnect 82
# codes that are none
34< first: 20 02 00 06 => 3.2.2.3 close
34< first: 20 02 00 80 => 3.2.2.3 close
5< first: 20 03 00 01 00 => MQTT-3.2.2-8 disconnect 82
5< first: 20 03 00 8B 00 => MQTT-3.2.2-8 disconnect 82
5< first: 20 03 00 92 00 => MQTT-3.2.2-8 disconnect 82
# lengths
34< first: 20 00 => MQTT-4.8.0-1 close
34< first: 20 01 00 => MQTT-4.8.0-1 close
34< first: 20 03 00 00 00 => MQTT-4.8.0-1 close
5< first: 20 02 00 00 => MQTT-4.13.1-1 disconnect 81
5< first: 20 04 00 00 00 00 => MQTT-4.13.1-1 disconnect 81
5< first: 20 04 00 00 02 11 => 2.2.2.1 disconnect 81
# values out of their range
5< first: 20 [ 00 00 { 21 0000 } ] => 3.1.2.11.3 disconnect 82
5< first: 20 [ 00 00 { 24 02 } ] => 3.2.2.3.4 disconnect 82
5< first: 20 [ 00 00 { 25 02 } ] => 3.2.2.3.5 disconnect 82
5< first: 20 [ 00 00 { 27 00000000 } ] => 3.1.2.11.4 disconnect 82
5< first: 20 [ 00 00 { 28 FF } ] => 3.2.2.3.11 disconnect 82
5< first: 20 [ 00 00 { 29 02 } ] => 3.2.2.3.12 disconnect 82
5< first: 20 [ 00 00 { 2A 02 } ] => 3.2.2.3.13 disconnect 82
# twice
5< first: 20 [ 00 00 { 12 s'a' 12 s'b' } ] => 3.2.2.3.7 disconnect 82
5< first: 20 [ 00 00 { 13 0001 13 0001 } ] => 3.2.2.3.14 disconnect 82
5< first: 20 [ 00 00 { 1A s'a' 1A s'a' } ] => 3.2.2.3.15 disconnect 82
5< first: 20 [ 00 00 { 1C s'a' 1C s'a' } ] => 3.2.2.3.16 disconnect 82
5< first: 20 [ 00 00 { 2A 01 2A 01 } ] => 3.2.2.3.13 disconnect 82
# properties of other packets
5< first: 20 [ 00 00 { 19 01 } ] => 2.2.2.2 disconnect 81
5< first: 20 [ 00 00 { 23 0001 } ] => 2.2.2.2 disconnect 81
# Authentication Data without a method
5< first: 20 [ 00 00 { 16 s'x' } ] => 3.1.2.11.10 disconnect 82
# larger than the limit
5< first max=100: 20 64 => MQTT-3.1.2-24 disconnect 95

# DISCONNECT of a client
34>: E0 00 => ok {"type":"DISCONNECT","code":0}
5>: E0 00 => ok {"type":"DISCONNECT","code":0,"properties":[]}
5>: E0 01 00 => ok {"code":0,"properties":[]}
5>: E0 01 04 => ok {"code":4}
5>: E0 02 04 00 => ok {"code":4,"properties":[]}
5>: E0 [ 00 { 11 00000000 } ] => ok {"code":0,"properties":[[17,0]]}
5>: E0 [ 81 { 1F s'bad' 26 s'k' s'v' } ] => ok {"code":129,"properties":[[31,"bad"],[38,["k","v"]]]}
# DISCONNECT of a broker, which came with 5.0
5<: E0 00 => ok {"code":0}
5<: E0 01 8B => ok {"code":139}
5<: E0 01 8E => ok {"code":142}
5<: E0 [ 9D { 1C s'other' 1F s'moved' } ] => ok {"code":157,"properties":[[28,"other"],[31,"moved"]]}
# codes of the other side, or none
5>: E0 01 8B => MQTT-3.14.2-1 disconnect 82
5>: E0 01 8E => MQTT-3.14.2-1 disconnect 82
5>: E0 01 01 => MQTT-3.14.2-1 disconnect 82
5>: E0 01 9C => MQTT-3.14.2-1 disconnect 82
5<: E0 01 04 => MQTT-3.14.2-1 disconnect 82
5<: E0 01 84 => MQTT-3.14.2-1 disconnect 82
5<: E0 01 FF => MQTT-3.14.2-1 disconnect 82
# Session Expiry Interval is for the client to say, once
5<: E0 [ 8B { 11 00000001 } ] => MQTT-3.14.2-2 disconnect 82
5>: E0 [ 00 { 11 00000001 11 00000001 } ] => 3.1.2.11.2 disconnect 82
# lengths
5>: E0 03 00 00 00 => MQTT-4.13.1-1 disconnect 81
5>: E0 02 00 01 => 2.2.2.1 disconnect 81
5>: E0 03 00 80 00 => MQTT-1.5.5-1 disconnect 81
# properties of other packets
5>: E0 [ 00 { 15 s'X' } ] => 2.2.2.2 disconnect 81
5<: E0 [ 8B { 13 003C } ] => 2.2.2.2 disconnect 81

# AUTH of a client: go on, or once more
5>: F0 [ 18 { 15 s'SCRAM' 16 s'data' } ] => ok {"type":"AUTH","code":24,"properties":[[21,"SCRAM"],[22,"data"]]}
5>: F0 [ 19 { 15 s'SCRAM' 1F s'again' 26 s'k' s'v' } ] => ok {"code":25}
# AUTH of a broker: go on, or done
5<: F0 [ 18 { 15 s'SCRAM' 16 s'' } ] => ok {"code":24}
5<: F0 [ 00 { 15 s'SCRAM' } ] => ok {"code":0}
5<: F0 00 => ok {"code":0,"properties":[]}
5< first: F0 [ 18 { 15 s'SCRAM' } ] => ok {"code":24}
# codes of the other side, or none
5>: F0 00 => MQTT-3.15.2-1 disconnect 82
5>: F0 [ 00 { 15 s'X' } ] => MQTT-3.15.2-1 disconnect 82
5<: F0 [ 19 { 15 s'X' } ] => MQTT-3.15.2-1 disconnect 82
5>: F0 [ 87 { 15 s'X' } ] => MQTT-3.15.2-1 disconnect 82
# no method
5>: F0 02 18 00 => 3.15.2.2.2 disconnect 82
5<: F0 02 00 00 => 3.15.2.2.2 disconnect 82
5>: F0 [ 18 { 16 s'data' } ] => 3.15.2.2.2 disconnect 82
# a code without properties is no short form here
5>: F0 01 18 => MQTT-4.13.1-1 disconnect 81
5<: F0 01 00 => MQTT-4.13.1-1 disconnect 81
# longer than its fields, twice, of other packets
5>: F0 [ 18 { 15 s'X' } 00 ] => MQTT-4.13.1-1 disconnect 81
5>: F0 [ 18 { 15 s'X' 15 s'X' } ] => 3.1.2.11.9 disconnect 82
5>: F0 [ 18 { 15 s'X' 21 0001 } ] => 2.2.2.2 disconnect 81
5<: F0 [ 18 { 15 0001 FF } ] => MQTT-1.5.4-1 disconnect 81
`);
