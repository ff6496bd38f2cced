/** PUBLISH (3.3). */
import { parseVectors, type Vector } from "./vector.ts";

/** Messages of both sides, good and bad. */
export const PUBLISH_VECTORS: readonly Vector[] = parseVectors(String.raw`
# QoS 0
34>: 30 [ s'a/b' 'hi' ] => ok {"type":"PUBLISH","topic":"a/b","payload":"hi","qos":0,"retain":false,"dup":false,"id":0}
5>: 30 [ s'a/b' { } 'hi' ] => ok {"type":"PUBLISH","topic":"a/b","payload":"hi","qos":0,"properties":[]}
34<: 30 [ s'a/b' 'hi' ] => ok {"topic":"a/b","payload":"hi"}
5<: 30 [ s'a/b' { } 'hi' ] => ok {"topic":"a/b","payload":"hi"}
# every byte written out
4>: 30 07 00 03 61 2F 62 68 69 => ok {"topic":"a/b","payload":"hi"}
5>: 30 08 00 03 61 2F 62 00 68 69 => ok {"topic":"a/b","payload":"hi"}
# RETAIN
34>: 31 [ s't' 'x' ] => ok {"retain":true,"qos":0}
5>: 31 [ s't' { } 'x' ] => ok {"retain":true}
# no payload, which takes a kept message away
34>: 31 [ s't' ] => ok {"topic":"t","payload":"","retain":true}
5>: 31 [ s't' { } ] => ok {"payload":"","retain":true}
# QoS 1
34>: 32 [ s't' 000A 'x' ] => ok {"qos":1,"id":10,"payload":"x"}
5>: 32 [ s't' 000A { } 'x' ] => ok {"qos":1,"id":10,"payload":"x"}
34<: 32 [ s't' 000A 'x' ] => ok {"qos":1,"id":10}
# QoS 1 again, with the highest packet identifier
34>: 3A [ s't' FFFF 'x' ] => ok {"qos":1,"dup":true,"id":65535}
5>: 3B [ s't' FFFF { } 'x' ] => ok {"qos":1,"dup":true,"retain":true,"id":65535}
# QoS 2
34>: 34 [ s't' 0001 'x' ] => ok {"qos":2,"id":1}
5<: 3D [ s't' 0100 { } ] => ok {"qos":2,"dup":true,"retain":true,"id":256,"payload":""}
# the empty payload of QoS 1 ends with the packet identifier
4>: 32 [ s't' 0102 ] => ok {"id":258,"payload":""}
# a payload is bytes, whatever they look like
34>: 30 [ s't' 00FF80 C003 ] => ok {"payload":"\u0000\u00ff\u0080\u00c0\u0003"}
5>: 30 [ s't' { } 00FF80 C003 ] => ok {"payload":"\u0000\u00ff\u0080\u00c0\u0003"}
# a payload that is a packet
4>: 30 [ s'ok' 30 [ s'forbidden' 'x' ] ] => ok {"topic":"ok","payload":"0\f\u0000\tforbiddenx"}
# a length of two bytes
4>: 30 [ s't' 41*125 ] => ok {"topic":"t"}
4>: 30 [ s't' 41*124 ] 30 [ s'u' ] => ok [{"topic":"t"},{"topic":"u","payload":""}]
5>: 30 [ s't' { } 41*16379 ] 30 [ s'u' { } ] => ok [{"topic":"t"},{"topic":"u"}]
# a length of three bytes
4>: 30 [ s't' 41*16381 ] C0 00 => ok [{"topic":"t"},{"type":"PINGREQ"}]
5>: 30 [ s't' { } 41*20000 ] C0 00 => ok [{"topic":"t"},{"type":"PINGREQ"}]
# a length in more bytes than it needs is not forbidden before 5.0
34>: 30 85 00 s't' 'hi' => ok {"topic":"t","payload":"hi"}
34>: 30 85 80 80 00 s't' 'hi' => ok {"topic":"t","payload":"hi"}
# several packets in a row
4>: 30 [ s'a' '1' ] 32 [ s'b' 0001 '2' ] 34 [ s'c' 0002 '3' ] C0 00 => ok [{"topic":"a"},{"topic":"b","id":1},{"topic":"c","id":2},{"type":"PINGREQ"}]
# topics of all kinds
34>: 30 [ s'/' ] => ok {"topic":"/"}
34>: 30 [ s'//a//' ] => ok {"topic":"//a//"}
34>: 30 [ s'$SYS/x' ] => ok {"topic":"$SYS/x"}
34>: 30 [ s' a b ' ] => ok {"topic":" a b "}
34>: 30 [ s'é€😀/Ω' ] => ok {"topic":"é€😀/Ω"}
5>: 30 [ s'é€😀/Ω' { } ] => ok {"topic":"é€😀/Ω"}
# the longest topic, 65535 bytes, fits no packet of the default limit
4>: 30 [ FFFF 61*65535 ] => 2.2.3 close
4> max=70000: 30 [ FFFF 61*65535 'x' ] => ok {"payload":"x"}
# a byte order mark in a topic is a character and stays
4>: 30 [ 0004 EFBBBF 'a' ] => ok {"topic":"\ufeffa"}
# control characters and non-characters are only advised against
34>: 30 [ 0003 01 1F 7F ] => ok {"topic":"\u0001\u001f\u007f"}
5>: 30 [ 0003 EFBFBE { } ] => ok {"topic":"\ufffe"}
# the last character before the surrogates, the first behind them, the last of all
4>: 30 [ 0003 ED9FBF ] => ok {"topic":"\ud7ff"}
4>: 30 [ 0003 EE8080 ] => ok {"topic":"\ue000"}
4>: 30 [ 0004 F48FBFBF ] => ok {"topic":"\udbff\udfff"}
# two characters of four bytes, then one of two bytes: no text of the one passes for the other
4>: 30 [ 0004 C383C2A9 ] 30 [ 0002 C3A9 ] 30 [ 0002 C3A9 ] => ok [{"topic":"\u00c3\u00a9"},{"topic":"\u00e9"},{"topic":"\u00e9"}]

# every property that a client's message may have
5>: 30 [ s't' { 01 01 02 0000003C 03 s'text/plain' 08 s'answer' 09 0003 0001FF 23 0007 26 s'k' s'v' } 'x' ] => ok {"topic":"t","alias":7,"payload":"x","properties":[[1,1],[2,60],[3,"text/plain"],[8,"answer"],[9,"\u0000\u0001\u00ff"],[35,7],[38,["k","v"]]]}
# user properties keep their order, whatever their names
5>: 30 [ s't' { 26 s'b' s'1' 26 s'a' s'2' 26 s'b' s'3' 26 s'1' s'4' 26 s'0' s'5' 26 s'b' s'3' 26 s'' s'' } ] => ok {"properties":[[38,["b","1"]],[38,["a","2"]],[38,["b","3"]],[38,["1","4"]],[38,["0","5"]],[38,["b","3"]],[38,["",""]]]}
# a broker names all subscriptions that matched, in one to four bytes each
5<: 30 [ s't' { 0B 01 0B 7F 0B 8001 0B FFFFFF7F 0B 01 } ] => ok {"properties":[[11,1],[11,127],[11,128],[11,268435455],[11,1]]}
# an alias with its topic, then the alias alone
5>: 30 [ s't' { 23 0001 } 'x' ] 30 [ 0000 { 23 0001 } 'y' ] => ok [{"topic":"t","alias":1},{"topic":"","alias":1,"payload":"y"}]
5<: 30 [ 0000 { 23 FFFF } 'y' ] => ok {"topic":"","alias":65535}
# a message that expires at once, and one that does not for 136 years
5>: 30 [ s't' { 02 00000000 } ] => ok {"properties":[[2,0]]}
5>: 30 [ s't' { 02 FFFFFFFF } ] => ok {"properties":[[2,4294967295]]}
# properties of 200 bytes, whose length takes two
5>: 30 [ s't' { 26 s'k' 00C2 76*194 } 'x' ] => ok {"payload":"x"}
# empty texts and bytes
5>: 30 [ s't' { 03 0000 09 0000 26 0000 0000 } ] => ok {"properties":[[3,""],[9,""],[38,["",""]]]}

# QoS 3
34>: 36 [ s't' 0001 'x' ] => MQTT-3.3.1-4 close
5>: 36 [ s't' 0001 { } 'x' ] => MQTT-3.3.1-4 disconnect 81
34<: 37 [ s't' 0001 'x' ] => MQTT-3.3.1-4 close
5<: 3F [ s't' 0001 { } 'x' ] => MQTT-3.3.1-4 disconnect 81
# DUP with QoS 0
34>: 38 [ s't' 'x' ] => MQTT-3.3.1-2 close
5>: 38 [ s't' { } 'x' ] => MQTT-3.3.1-2 disconnect 81
5<: 39 [ s't' { } 'x' ] => MQTT-3.3.1-2 disconnect 81
# wildcards in a topic
34>: 30 [ s'a/#' ] => MQTT-3.3.2-2 close
34>: 30 [ s'+' ] => MQTT-3.3.2-2 close
34>: 30 [ s'a+b' ] => MQTT-3.3.2-2 close
5>: 30 [ s'#' { } ] => MQTT-3.3.2-2 disconnect 90
5>: 30 [ s'a/+/b' { } ] => MQTT-3.3.2-2 disconnect 90
4<: 30 [ s'a/#' ] => MQTT-3.3.2-2 close
5<: 30 [ s'a/#' { } ] => MQTT-3.3.2-2 disconnect 90
# an empty topic
34>: 30 [ 0000 'x' ] => MQTT-4.7.3-1 close
34>: 30 02 0000 => MQTT-4.7.3-1 close
4<: 30 [ 0000 'x' ] => MQTT-4.7.3-1 close
# an empty topic without an alias
5>: 30 [ 0000 { } 'x' ] => 3.3.2.1 disconnect 82
5<: 30 [ 0000 { 26 s'k' s'v' } 'x' ] => 3.3.2.1 disconnect 82
# packet identifier 0
34>: 32 [ s't' 0000 'x' ] => MQTT-2.3.1-1 close
34>: 34 [ s't' 0000 'x' ] => MQTT-2.3.1-1 close
5>: 32 [ s't' 0000 { } 'x' ] => MQTT-2.2.1-3 disconnect 82
4<: 32 [ s't' 0000 'x' ] => MQTT-2.3.1-1 close
5<: 34 [ s't' 0000 { } 'x' ] => MQTT-2.2.1-4 disconnect 82
# no packet identifier, or half of one
34>: 32 [ s't' ] => MQTT-4.8.0-1 close
34>: 34 [ s't' 00 ] => MQTT-4.8.0-1 close
5>: 32 [ s't' ] => MQTT-4.13.1-1 disconnect 81
# nothing at all, half a length, less topic than its length
34>: 30 00 => MQTT-4.8.0-1 close
34>: 30 01 00 => MQTT-4.8.0-1 close
34>: 30 03 0002 61 => MQTT-4.8.0-1 close
34>: 30 04 FFFF 6162 => MQTT-4.8.0-1 close
5>: 30 00 => MQTT-4.13.1-1 disconnect 81
5>: 30 03 0002 61 => MQTT-4.13.1-1 disconnect 81
# a topic that reaches into the next packet
4>: 30 04 0006 6162 C0 00 C0 00 => MQTT-4.8.0-1 close
# bytes that are not UTF-8: stray, missing, overlong, too high
34>: 30 [ 0001 80 ] => MQTT-1.5.3-1 close
34>: 30 [ 0001 FF ] => MQTT-1.5.3-1 close
34>: 30 [ 0002 C328 ] => MQTT-1.5.3-1 close
34>: 30 [ 0001 C3 A9 ] => MQTT-1.5.3-1 close
34>: 30 [ 0002 C080 ] => MQTT-1.5.3-1 close
34>: 30 [ 0002 C1BF ] => MQTT-1.5.3-1 close
34>: 30 [ 0003 E08080 ] => MQTT-1.5.3-1 close
34>: 30 [ 0003 E28228 ] => MQTT-1.5.3-1 close
34>: 30 [ 0002 E282 ] => MQTT-1.5.3-1 close
34>: 30 [ 0004 F0808080 ] => MQTT-1.5.3-1 close
34>: 30 [ 0004 F4908080 ] => MQTT-1.5.3-1 close
34>: 30 [ 0004 F5808080 ] => MQTT-1.5.3-1 close
34>: 30 [ 0003 F09F98 ] => MQTT-1.5.3-1 close
34>: 30 [ 0005 F888808080 ] => MQTT-1.5.3-1 close
5>: 30 [ 0001 80 { } ] => MQTT-1.5.4-1 disconnect 81
5>: 30 [ 0002 C080 { } ] => MQTT-1.5.4-1 disconnect 81
5<: 30 [ 0001 FF { } ] => MQTT-1.5.4-1 disconnect 81
# surrogates
34>: 30 [ 0003 EDA080 ] => MQTT-1.5.3-1 close
34>: 30 [ 0003 EDBFBF ] => MQTT-1.5.3-1 close
34>: 30 [ 0006 EDA080EDB080 ] => MQTT-1.5.3-1 close
5>: 30 [ 0003 EDA080 { } ] => MQTT-1.5.4-1 disconnect 81
# U+0000 in a topic
34>: 30 [ 0001 00 ] => MQTT-1.5.3-2 close
34>: 30 [ 0003 61 00 62 ] => MQTT-1.5.3-2 close
34>: 30 [ 0003 C3A9 00 ] => MQTT-1.5.3-2 close
5>: 30 [ 0001 00 { } ] => MQTT-1.5.4-2 disconnect 81
5<: 30 [ 0001 00 { } ] => MQTT-1.5.4-2 disconnect 81
# U+0000 wherever a fast check might not look
4> before=1: 30 [ s'abcdefghijklmnop' ] 30 [ 0010 'abcdefghijklmno' 00 ] => MQTT-1.5.3-2 close
4>: 30 [ 0010 00 'abcdefghijklmno' ] => MQTT-1.5.3-2 close

# no property length
5>: 30 [ s't' ] => MQTT-4.13.1-1 disconnect 81
5>: 32 [ s't' 0001 ] => MQTT-4.13.1-1 disconnect 81
# properties longer than the packet
5>: 30 [ s't' 01 ] => 2.2.2.1 disconnect 81
5>: 30 [ s't' 7F 23 0001 ] => 2.2.2.1 disconnect 81
5>: 30 [ s't' FFFFFF7F ] => 2.2.2.1 disconnect 81
# properties that reach into the next packet
5>: 30 04 s't' 03 30 [ s't' { } ] => 2.2.2.1 disconnect 81
# a property longer than the list, though not than the packet
5>: 30 [ s't' 02 23 0001 ] => 2.2.2.1 disconnect 81
5>: 30 [ s't' 04 26 s'k' s'v' ] => MQTT-4.13.1-1 disconnect 81
5>: 30 [ s't' 01 01 01 ] => 2.2.2.1 disconnect 81
5>: 30 [ s't' 03 02 0000003C ] => 2.2.2.1 disconnect 81
5>: 30 [ s't' 04 03 0004 'text' ] => MQTT-4.13.1-1 disconnect 81
# a property length that is not minimal, that does not end, that is too long
5>: 30 [ s't' 8000 'x' ] => MQTT-1.5.5-1 disconnect 81
5>: 30 [ s't' 83808000 23 0001 ] => MQTT-1.5.5-1 disconnect 81
5>: 30 [ s't' 80 ] => MQTT-4.13.1-1 disconnect 81
5>: 30 [ s't' 8080808001 'x' ] => 1.5.5 disconnect 81
# a remaining length that is not minimal
5>: 30 86 00 s't' { } 'hi' => MQTT-1.5.5-1 disconnect 81
5<: 30 86 80 00 s't' { } 'hi' => MQTT-1.5.5-1 disconnect 81
# unknown properties
5>: 30 [ s't' { 04 01 } ] => 2.2.2.2 disconnect 81
5>: 30 [ s't' { 7F 01 } ] => 2.2.2.2 disconnect 81
5>: 30 [ s't' { FF7F } ] => 2.2.2.2 disconnect 81
# properties of other packets
5>: 30 [ s't' { 11 00000001 } ] => 2.2.2.2 disconnect 81
5>: 30 [ s't' { 18 00000001 } ] => 2.2.2.2 disconnect 81
5>: 30 [ s't' { 1F s'why' } ] => 2.2.2.2 disconnect 81
5<: 30 [ s't' { 21 0001 } ] => 2.2.2.2 disconnect 81
5<: 30 [ s't' { 24 01 } ] => 2.2.2.2 disconnect 81
# each property that may be there once, twice
5>: 30 [ s't' { 01 01 01 01 } ] => 3.3.2.3.2 disconnect 82
5>: 30 [ s't' { 02 00000001 02 00000001 } ] => 3.3.2.3.3 disconnect 82
5>: 30 [ s't' { 03 s'a' 03 s'a' } ] => 3.3.2.3.9 disconnect 82
5>: 30 [ s't' { 08 s'a' 08 s'a' } ] => 3.3.2.3.5 disconnect 82
5>: 30 [ s't' { 09 s'a' 09 s'a' } ] => 3.3.2.3.6 disconnect 82
5>: 30 [ s't' { 23 0001 26 s'k' s'v' 23 0001 } ] => 3.3.2.3.4 disconnect 82
# Payload Format Indicator 2
5>: 30 [ s't' { 01 02 } ] => 3.3.2.3.2 disconnect 82
# Topic Alias 0
5>: 30 [ s't' { 23 0000 } ] => MQTT-3.3.2-8 disconnect 94
5<: 30 [ s't' { 23 0000 } ] => MQTT-3.3.2-8 disconnect 94
# a client names a subscription
5>: 30 [ s't' { 0B 01 } ] => MQTT-3.3.4-6 disconnect 82
# Subscription Identifier 0, in five bytes, in two where one is enough
5<: 30 [ s't' { 0B 00 } ] => 3.8.2.1.2 disconnect 82
5<: 30 [ s't' { 0B 8080808001 } ] => 1.5.5 disconnect 81
5<: 30 [ s't' { 0B 8100 } ] => MQTT-1.5.5-1 disconnect 81
5<: 30 [ s't' { 0B } ] => MQTT-4.13.1-1 disconnect 81
5<: 30 [ s't' { 0B 80 } ] => MQTT-4.13.1-1 disconnect 81
# a wildcard in a Response Topic, and an empty one
5>: 30 [ s't' { 08 s'a/#' } ] => MQTT-3.3.2-14 disconnect 82
5>: 30 [ s't' { 08 s'+' } ] => MQTT-3.3.2-14 disconnect 82
5>: 30 [ s't' { 08 s'' } ] => MQTT-4.7.3-1 disconnect 82
# texts of properties that are not UTF-8
5>: 30 [ s't' { 08 0001 FF } ] => MQTT-1.5.4-1 disconnect 81
5>: 30 [ s't' { 03 0003 EDA080 } ] => MQTT-1.5.4-1 disconnect 81
5>: 30 [ s't' { 26 0001 00 s'v' } ] => MQTT-1.5.4-2 disconnect 81
5>: 30 [ s't' { 26 s'k' 0001 80 } ] => MQTT-1.5.4-1 disconnect 81
# Correlation Data are bytes, whatever they look like
5>: 30 [ s't' { 09 0004 FF00EDA0 } ] => ok {"properties":[[9,"\u00ff\u0000\u00ed\u00a0"]]}

# larger than the limit, decided from the header
4> max=20: 30 14 => 2.2.3 close
4> max=20: 30 [ s't' 41*15 ] => ok {"topic":"t"}
5> max=20: 30 14 => MQTT-3.2.2-15 disconnect 95
5< max=20: 30 14 => MQTT-3.1.2-24 disconnect 95
4>: 30 FF FF FF 7F => 2.2.3 close
5>: 30 FF FF FF 7F => MQTT-3.2.2-15 disconnect 95
`);
