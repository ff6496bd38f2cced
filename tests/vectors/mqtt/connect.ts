/** CONNECT (3.1). */
import { parseVectors, type Vector } from "./vector.ts";

/** What a client may say first, and what not. */
export const CONNECT_VECTORS: readonly Vector[] = parseVectors(String.raw`
# 3.1: clean session, keep alive 60, client identifier c
3> first: 10 [ s'MQIsdp' 03 02 003C s'c' ] => ok {"type":"CONNECT","version":3,"bridge":false,"clientId":"c"}
# 3.1.1: clean session, keep alive 60, client identifier c
4> first: 10 [ s'MQTT' 04 02 003C s'c' ] => ok {"version":4,"cleanStart":true,"keepAlive":60,"clientId":"c"}
# 5.0: clean start, keep alive 60, no properties, client identifier c
5> first: 10 [ s'MQTT' 05 02 003C { } s'c' ] => ok {"version":5,"cleanStart":true,"keepAlive":60,"properties":[]}
# 3.1.1: every byte written out, with a length of 13
4> first: 10 0D 00 04 4D 51 54 54 04 02 00 0A 00 01 61 => ok {"clientId":"a","keepAlive":10}
# 3.1.1: no client identifier, which a clean session allows; no keep alive
4> first: 10 [ s'MQTT' 04 02 0000 s'' ] => ok {"clientId":"","keepAlive":0}
# 5.0: no client identifier, which a kept session allows too
5> first: 10 [ s'MQTT' 05 00 0000 { } s'' ] => ok {"clientId":"","cleanStart":false}
# 3.1.1: kept session, longest keep alive
4> first: 10 [ s'MQTT' 04 00 FFFF s'kept' ] => ok {"cleanStart":false,"keepAlive":65535}
# 3.1.1: username and password
4> first: 10 [ s'MQTT' 04 C2 003C s'c' s'user' s'secret' ] => ok {"username":"user","password":"secret"}
# 3.1: username and password
3> first: 10 [ s'MQIsdp' 03 C2 003C s'c' s'user' s'secret' ] => ok {"username":"user","password":"secret"}
# 3.1.1: a username of no characters is a username
4> first: 10 [ s'MQTT' 04 82 003C s'c' s'' ] => ok {"username":"","password":null}
# 3.1.1: a password is bytes, not text
4> first: 10 [ s'MQTT' 04 C2 003C s'c' s'u' 0004 00FF80C0 ] => ok {"password":"\u0000\u00ff\u0080\u00c0"}
# 5.0: a password without a username
5> first: 10 [ s'MQTT' 05 42 003C { } s'c' s'token' ] => ok {"username":null,"password":"token"}
# 3.1.1: a will
4> first: 10 [ s'MQTT' 04 06 003C s'c' s'will/topic' s'gone' ] => ok {"willTopic":"will/topic","willPayload":"gone","willQos":0,"willRetain":false}
# 3.1.1: an empty will of QoS 2 that is kept
4> first: 10 [ s'MQTT' 04 36 003C s'c' s'w' 0000 ] => ok {"willPayload":"","willQos":2,"willRetain":true}
# 3.1: a will of bytes that are no text, which clients do send
3> first: 10 [ s'MQIsdp' 03 0E 003C s'c' s'w' 0002 C328 ] => ok {"willPayload":"\u00c3(","willQos":1}
# 3.1.1: everything at once, in the order of MQTT-3.1.3-1
4> first: 10 [ s'MQTT' 04 EE 003C s'c' s'w' s'm' s'u' s'p' ] => ok {"clientId":"c","willTopic":"w","willPayload":"m","username":"u","password":"p","willQos":1,"willRetain":true,"cleanStart":true}
# 5.0: everything at once, with a will delay of 5 s
5> first: 10 [ s'MQTT' 05 EE 003C { } s'c' { 18 00000005 } s'w' s'm' s'u' s'p' ] => ok {"willProperties":[[24,5]],"willTopic":"w","willPayload":"m","username":"u","password":"p"}
# 5.0: every property that a CONNECT may have
5> first: 10 [ s'MQTT' 05 02 003C { 11 0000000A 21 0014 27 00001000 22 0005 19 01 17 00 26 s'k' s'v' 26 s'k' s'w' 15 s'SCRAM' 16 s'data' } s'c' ] => ok {"properties":[[17,10],[33,20],[39,4096],[34,5],[25,1],[23,0],[38,["k","v"]],[38,["k","w"]],[21,"SCRAM"],[22,"data"]]}
# 5.0: every property that a will may have, user properties in their order
5> first: 10 [ s'MQTT' 05 06 003C { } s'c' { 18 00000000 01 01 02 FFFFFFFF 03 s'text/plain' 08 s'answer/here' 09 s'id' 26 s'b' s'1' 26 s'a' s'2' 26 s'b' s'3' } s'w' s'm' ] => ok {"willProperties":[[24,0],[1,1],[2,4294967295],[3,"text/plain"],[8,"answer/here"],[9,"id"],[38,["b","1"]],[38,["a","2"]],[38,["b","3"]]]}
# 3.1.1: a bridge says so in bit 0x80 of the level
4> first: 10 [ s'MQTT' 84 02 003C s'bridge' ] => ok {"version":4,"bridge":true,"clientId":"bridge"}
# 3.1: a bridge says so in bit 0x80 of the level
3> first: 10 [ s'MQIsdp' 83 02 003C s'bridge' ] => ok {"version":3,"bridge":true}
# 3.1: flags of username and password where the packet ends before them
3> first: 10 [ s'MQIsdp' 03 C2 003C s'c' ] => ok {"username":null,"password":null}
# 3.1: the flag of a password where the packet ends before it
3> first: 10 [ s'MQIsdp' 03 C2 003C s'c' s'u' ] => ok {"username":"u","password":null}
# 3.1: a connect flag that 3.1 does not use
3> first: 10 [ s'MQIsdp' 03 03 003C s'c' ] => ok {"clientId":"c","cleanStart":true}
# 3.1: the longest client identifier, 23 characters
3> first: 10 [ s'MQIsdp' 03 02 003C s'12345678901234567890123' ] => ok {"clientId":"12345678901234567890123"}
# 3.1: 23 characters of 46 bytes
3> first: 10 [ s'MQIsdp' 03 02 003C s'ééééééééééééééééééééééé' ] => ok {"clientId":"\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9"}
# 3.1.1: a client identifier of 300 bytes, and a length of two
4> first: 10 [ s'MQTT' 04 02 003C 012C 63*300 ] => ok {"clientId":"cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"}
# 3.1.1: a client identifier may have any characters
4> first: 10 [ s'MQTT' 04 02 003C s'€/😀 #+$' ] => ok {"clientId":"\u20ac/\ud83d\ude00 #+$"}
# MQTT-1.5.3-3: a byte order mark is a character and stays
4> first: 10 [ s'MQTT' 04 02 003C 0006 EFBBBF 'bom' ] => ok {"clientId":"\ufeffbom"}
# 3.1.1: a length in more bytes than it needs is not forbidden
4> first: 10 8D 00 s'MQTT' 04 02 003C s'a' => ok {"clientId":"a"}
# 3.1.1: a client need not wait for the CONNACK (3.1.4)
4> first: 10 [ s'MQTT' 04 02 003C s'c' ] C0 00 30 [ s't' 'x' ] E0 00 => ok [{"type":"CONNECT"},{"type":"PINGREQ"},{"type":"PUBLISH","topic":"t"},{"type":"DISCONNECT"}]
# 5.0: the version of the CONNECT is that of what follows it
5> first: 10 [ s'MQTT' 05 02 003C { 15 s'X' } s'c' ] F0 [ 18 { 15 s'X' } ] => ok [{"type":"CONNECT"},{"type":"AUTH","code":24}]
# PINGREQ first
3> first: C0 00 => MQTT-3.1.0-1 close
# PUBLISH before CONNECT
4> first: 30 [ s't' 'x' ] => MQTT-3.1.0-1 close
# PUBLISH of QoS 3 before CONNECT: the first fault is told
4> first: 36 [ s't' 'x' ] => MQTT-3.1.0-1 close
# DISCONNECT first
4> first: E0 00 => MQTT-3.1.0-1 close
# CONNACK first
4> first: 20 02 00 00 => MQTT-3.1.0-1 close
# AUTH first
5> first: F0 00 => MQTT-3.1.0-1 close
# SUBSCRIBE first
4> first: 82 [ 0001 s't' 00 ] => MQTT-3.1.0-1 close
# reserved type 0 first
4> first: 00 00 => 2.2.1 close
# an HTTP request
4> first: 47 45 54 20 2F 20 48 54 54 50 => MQTT-3.1.0-1 close
# a TLS client hello
4> first: 16 03 01 02 00 01 00 => MQTT-2.2.2-2 close
# a second CONNECT
34>: 10 [ s'MQTT' 04 02 003C s'c' ] => MQTT-3.1.0-2 close
5>: 10 [ s'MQTT' 05 02 003C { } s'c' ] => MQTT-3.1.0-2 disconnect 82
# a second CONNECT after a PINGREQ
4> first before=2: 10 [ s'MQTT' 04 02 003C s'c' ] C0 00 10 [ s'MQTT' 04 02 003C s'c' ] => MQTT-3.1.0-2 close
# flag 0001 in the first byte
4> first: 11 [ s'MQTT' 04 02 003C s'c' ] => MQTT-2.2.2-2 close
# flag 1000 in the first byte
4> first: 18 [ s'MQTT' 04 02 003C s'c' ] => MQTT-2.2.2-2 close
# a CONNECT of nothing
4> first: 10 00 => MQTT-3.1.4-1 close
# half a length
4> first: 10 01 00 => MQTT-3.1.4-1 close
# no protocol level
4> first: 10 [ s'MQTT' ] => MQTT-3.1.4-1 close
# a protocol name longer than the packet
4> first: 10 [ 0005 'MQTT' ] => MQTT-3.1.4-1 close
# a protocol name in lower case
4> first: 10 [ s'mqtt' 04 02 003C s'c' ] => MQTT-3.1.2-1 close
# another protocol's name
4> first: 10 [ s'MQTTX' 04 02 003C s'c' ] => MQTT-3.1.2-1 close
# no protocol name
4> first: 10 [ s'' 04 02 003C s'c' ] => MQTT-3.1.2-1 close
# MQTT with the level of 3.1
4> first: 10 [ s'MQTT' 03 02 003C s'c' ] => MQTT-3.1.2-2 connack 01
# the name of 3.1 with the level of 3.1.1
4> first: 10 [ s'MQIsdp' 04 02 003C s'c' ] => MQTT-3.1.2-2 connack 01
# the name of 3.1 with the level of 5.0
4> first: 10 [ s'MQIsdp' 05 02 003C s'c' ] => MQTT-3.1.2-2 connack 01
# level 0
4> first: 10 [ s'MQTT' 00 02 003C s'c' ] => MQTT-3.1.2-2 connack 01
# level 6, a version to come
5> first: 10 [ s'MQTT' 06 02 003C { } s'c' ] => MQTT-3.1.2-2 connack 84
# level 127
5> first: 10 [ s'MQTT' 7F 02 003C { } s'c' ] => MQTT-3.1.2-2 connack 84
# bridges have no bit in 5.0
4> first: 10 [ s'MQTT' 85 02 003C { } s'c' ] => MQTT-3.1.2-2 connack 01
# of an unknown version only the level is read
4> first: 10 [ s'MQTT' 06 ] => MQTT-3.1.2-2 connack 84
# reserved connect flag
4> first: 10 [ s'MQTT' 04 03 003C s'c' ] => MQTT-3.1.2-3 close
5> first: 10 [ s'MQTT' 05 03 003C { } s'c' ] => MQTT-3.1.2-3 connack 81
# will QoS 1 without a will
4> first: 10 [ s'MQTT' 04 0A 003C s'c' ] => MQTT-3.1.2-13 close
# will QoS 2 without a will
5> first: 10 [ s'MQTT' 05 12 003C { } s'c' ] => MQTT-3.1.2-11 connack 81
# will retain without a will
4> first: 10 [ s'MQTT' 04 22 003C s'c' ] => MQTT-3.1.2-15 close
5> first: 10 [ s'MQTT' 05 22 003C { } s'c' ] => MQTT-3.1.2-13 connack 81
# will QoS 3
4> first: 10 [ s'MQTT' 04 1E 003C s'c' s'w' s'm' ] => MQTT-3.1.2-14 close
5> first: 10 [ s'MQTT' 05 1E 003C { } s'c' { } s'w' s'm' ] => MQTT-3.1.2-12 connack 81
# a password without a username
3> first: 10 [ s'MQIsdp' 03 42 003C s'c' s'p' ] => MQTT-3.1.2-22 close
# a password without a username, which only 5.0 allows
4> first: 10 [ s'MQTT' 04 42 003C s'c' s'p' ] => MQTT-3.1.2-22 close
# no client identifier for a session that is kept
4> first: 10 [ s'MQTT' 04 00 003C s'' ] => MQTT-3.1.3-8 connack 02
# 3.1 wants a client identifier
3> first: 10 [ s'MQIsdp' 03 02 003C s'' ] => MQTT-3.1.3-5 connack 02
# 3.1: a client identifier of 24 characters
3> first: 10 [ s'MQIsdp' 03 02 003C s'123456789012345678901234' ] => MQTT-3.1.3-5 connack 02
# U+0000 in a client identifier
4> first: 10 [ s'MQTT' 04 02 003C 0001 00 ] => MQTT-1.5.3-2 close
# a client identifier that is not UTF-8
4> first: 10 [ s'MQTT' 04 02 003C 0001 FF ] => MQTT-1.5.3-1 close
# a surrogate in a client identifier
5> first: 10 [ s'MQTT' 05 02 003C { } 0003 EDA080 ] => MQTT-1.5.4-1 connack 81
# no client identifier at all
4> first: 10 [ s'MQTT' 04 02 003C ] => MQTT-4.8.0-1 close
# nothing after the level
4> first: 10 [ s'MQTT' 04 ] => MQTT-4.8.0-1 close
# half a keep alive
4> first: 10 [ s'MQTT' 04 02 00 ] => MQTT-4.8.0-1 close
# a client identifier of 65535 bytes of which one is there
4> first: 10 [ s'MQTT' 04 02 003C FFFF 63 ] => MQTT-4.8.0-1 close
# a byte behind the last field
4> first: 10 [ s'MQTT' 04 02 003C s'c' 00 ] => MQTT-4.8.0-1 close
# credentials whose flags are not set
4> first: 10 [ s'MQTT' 04 02 003C s'c' s'user' s'pass' ] => MQTT-4.8.0-1 close
# a username whose flag is not set
3> first: 10 [ s'MQIsdp' 03 02 003C s'c' s'user' ] => MQTT-4.8.0-1 close
# a byte behind the last field
5> first: 10 [ s'MQTT' 05 02 003C { } s'c' 00 ] => MQTT-4.13.1-1 connack 81
# the flag of a username that is not there
4> first: 10 [ s'MQTT' 04 82 003C s'c' ] => MQTT-4.8.0-1 close
# the flag of a password that is not there
4> first: 10 [ s'MQTT' 04 C2 003C s'c' s'u' ] => MQTT-4.8.0-1 close
5> first: 10 [ s'MQTT' 05 C2 003C { } s'c' s'u' ] => MQTT-4.13.1-1 connack 81
# 3.1: half a length is not a missing username
3> first: 10 [ s'MQIsdp' 03 82 003C s'c' 00 ] => MQTT-4.8.0-1 close
# a will without a payload
4> first: 10 [ s'MQTT' 04 06 003C s'c' s'w' ] => MQTT-4.8.0-1 close
# the flag of a will that is not there
4> first: 10 [ s'MQTT' 04 06 003C s'c' ] => MQTT-4.8.0-1 close
# a length in two bytes that fits one
5> first: 10 8E 00 s'MQTT' 05 02 003C { } s'c' => MQTT-1.5.5-1 connack 81
# a length in four bytes that fits one
5> first: 10 8E 80 80 00 s'MQTT' 05 02 003C { } s'c' => MQTT-1.5.5-1 connack 81
# a length of five bytes
4> first: 10 80 80 80 80 01 => 2.2.3 close
# a length of five bytes, all ones
4> first: 10 FF FF FF FF 7F => 2.2.3 close
# 256 MB announced
4> first: 10 FF FF FF 7F => 2.2.3 close
# 256 MB announced by 3.1.1
4> first: 10 FF FF FF 7F s'MQTT' 04 02 003C => 2.2.3 close
# one byte above the limit
4> first max=19: 10 [ s'MQTT' 04 02 003C s'longer' ] => 2.2.3 close
# as large as the limit
4> first max=20: 10 [ s'MQTT' 04 02 003C s'longer' ] => ok {"clientId":"longer"}
# a wildcard in a will topic
4> first: 10 [ s'MQTT' 04 06 003C s'c' s'w/#' s'm' ] => MQTT-4.7.1-1 close
5> first: 10 [ s'MQTT' 05 06 003C { } s'c' { } s'+' s'm' ] => MQTT-4.7.0-1 connack 90
# an empty will topic
4> first: 10 [ s'MQTT' 04 06 003C s'c' s'' s'm' ] => MQTT-4.7.3-1 close
5> first: 10 [ s'MQTT' 05 06 003C { } s'c' { } s'' s'm' ] => MQTT-4.7.3-1 connack 90
# U+0000 written as two bytes in a will topic
4> first: 10 [ s'MQTT' 04 06 003C s'c' 0002 C080 s'm' ] => MQTT-1.5.3-1 close
# Receive Maximum among the properties of a will
5> first: 10 [ s'MQTT' 05 06 003C { } s'c' { 21 0001 } s'w' s'm' ] => 2.2.2.2 connack 81
# a wildcard in the Response Topic of a will
5> first: 10 [ s'MQTT' 05 06 003C { } s'c' { 08 s'a/+' } s'w' s'm' ] => MQTT-3.3.2-14 connack 82
# Will Delay Interval twice
5> first: 10 [ s'MQTT' 05 06 003C { } s'c' { 18 00000001 18 00000002 } s'w' s'm' ] => 3.1.3.2.2 connack 82
# Payload Format Indicator 2 of a will
5> first: 10 [ s'MQTT' 05 06 003C { } s'c' { 01 02 } s'w' s'm' ] => 3.3.2.3.2 connack 82
# a will of properties only
5> first: 10 [ s'MQTT' 05 06 003C { } s'c' 05 18 00000001 ] => MQTT-4.13.1-1 connack 81
# a username that is not UTF-8
4> first: 10 [ s'MQTT' 04 82 003C s'c' 0001 80 ] => MQTT-1.5.3-1 close
# U+0000 in a username
5> first: 10 [ s'MQTT' 05 82 003C { } s'c' 0003 'a' 00 'b' ] => MQTT-1.5.4-2 connack 81
# no property length
5> first: 10 [ s'MQTT' 05 02 003C ] => MQTT-4.13.1-1 connack 81
# properties longer than the packet
5> first: 10 [ s'MQTT' 05 02 003C 20 s'c' ] => 2.2.2.1 connack 81
# a property length in two bytes that fits one
5> first: 10 [ s'MQTT' 05 02 003C 8000 s'c' ] => MQTT-1.5.5-1 connack 81
# a property length of five bytes
5> first: 10 [ s'MQTT' 05 02 003C FFFFFFFF7F s'c' ] => 1.5.5 connack 81
# a property length that does not end
5> first: 10 [ s'MQTT' 05 02 003C 80 ] => MQTT-4.13.1-1 connack 81
# property 0
5> first: 10 [ s'MQTT' 05 02 003C { 00 } s'c' ] => 2.2.2.2 connack 81
# property 0x2B, one above the last
5> first: 10 [ s'MQTT' 05 02 003C { 2B 01 } s'c' ] => 2.2.2.2 connack 81
# a property identifier in two bytes that fits one
5> first: 10 [ s'MQTT' 05 02 003C { 9100 00000001 } s'c' ] => 2.2.2.2 connack 81
# Topic Alias in a CONNECT
5> first: 10 [ s'MQTT' 05 02 003C { 23 0001 } s'c' ] => 2.2.2.2 connack 81
# Reason String in a CONNECT
5> first: 10 [ s'MQTT' 05 02 003C { 1F s'why' } s'c' ] => 2.2.2.2 connack 81
# Will Delay Interval outside the will
5> first: 10 [ s'MQTT' 05 02 003C { 18 00000001 } s'c' ] => 2.2.2.2 connack 81
# Session Expiry Interval twice
5> first: 10 [ s'MQTT' 05 02 003C { 11 00000001 11 00000001 } s'c' ] => 3.1.2.11.2 connack 82
# Receive Maximum twice
5> first: 10 [ s'MQTT' 05 02 003C { 21 0001 21 0001 } s'c' ] => 3.1.2.11.3 connack 82
# Receive Maximum 0
5> first: 10 [ s'MQTT' 05 02 003C { 21 0000 } s'c' ] => 3.1.2.11.3 connack 82
# Maximum Packet Size 0
5> first: 10 [ s'MQTT' 05 02 003C { 27 00000000 } s'c' ] => 3.1.2.11.4 connack 82
# Maximum Packet Size twice
5> first: 10 [ s'MQTT' 05 02 003C { 27 00000001 27 00000001 } s'c' ] => 3.1.2.11.4 connack 82
# Topic Alias Maximum 0 says that there are none
5> first: 10 [ s'MQTT' 05 02 003C { 22 0000 } s'c' ] => ok {"properties":[[34,0]]}
# Topic Alias Maximum twice
5> first: 10 [ s'MQTT' 05 02 003C { 22 0001 22 0001 } s'c' ] => 3.1.2.11.5 connack 82
# Request Response Information 2
5> first: 10 [ s'MQTT' 05 02 003C { 19 02 } s'c' ] => 3.1.2.11.6 connack 82
# Request Response Information twice
5> first: 10 [ s'MQTT' 05 02 003C { 19 01 19 01 } s'c' ] => 3.1.2.11.6 connack 82
# Request Problem Information 255
5> first: 10 [ s'MQTT' 05 02 003C { 17 FF } s'c' ] => 3.1.2.11.7 connack 82
# Request Problem Information twice
5> first: 10 [ s'MQTT' 05 02 003C { 17 00 17 01 } s'c' ] => 3.1.2.11.7 connack 82
# Authentication Method twice
5> first: 10 [ s'MQTT' 05 02 003C { 15 s'A' 15 s'B' } s'c' ] => 3.1.2.11.9 connack 82
# Authentication Data without a method
5> first: 10 [ s'MQTT' 05 02 003C { 16 s'data' } s'c' ] => 3.1.2.11.10 connack 82
# Authentication Data twice
5> first: 10 [ s'MQTT' 05 02 003C { 15 s'A' 16 s'1' 16 s'2' } s'c' ] => 3.1.2.11.10 connack 82
# an Authentication Method that is not UTF-8
5> first: 10 [ s'MQTT' 05 02 003C { 15 0001 FF } s'c' ] => MQTT-1.5.4-1 connack 81
# U+0000 in the value of a user property
5> first: 10 [ s'MQTT' 05 02 003C { 26 s'k' 0001 00 } s'c' ] => MQTT-1.5.4-2 connack 81
# a user property without a value: it must not be read on behind the list
5> first: 10 [ s'MQTT' 05 02 003C { 26 s'k' } s'c' ] => MQTT-4.13.1-1 connack 81
# Session Expiry Interval of two bytes
5> first: 10 [ s'MQTT' 05 02 003C { 11 0000 } s'c' ] => 2.2.2.1 connack 81
`);
