/** SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK (3.8 to 3.11). */
import { parseVectors, type Vector } from "./vector.ts";

/** Subscriptions asked for, granted and given up. */
export const SUBSCRIBE_VECTORS: readonly Vector[] = parseVectors(String.raw`
# one filter of each QoS
34>: 82 [ 0001 s'a/b' 00 ] => ok {"type":"SUBSCRIBE","id":1,"filters":[["a/b",0]]}
34>: 82 [ 0001 s'a/b' 01 ] => ok {"filters":[["a/b",1]]}
34>: 82 [ 0001 s'a/b' 02 ] => ok {"filters":[["a/b",2]]}
5>: 82 [ 0001 { } s'a/b' 01 ] => ok {"filters":[["a/b",1]],"properties":[]}
# every byte written out: the example of the specification
4>: 82 0E 00 0A 00 03 61 2F 62 01 00 03 63 2F 64 02 => ok {"id":10,"filters":[["a/b",1],["c/d",2]]}
5>: 82 0F 00 0A 00 00 03 61 2F 62 01 00 03 63 2F 64 02 => ok {"id":10,"filters":[["a/b",1],["c/d",2]]}
# the same filter twice
34>: 82 [ FFFF s'a' 00 s'a' 02 ] => ok {"id":65535,"filters":[["a",0],["a",2]]}
# wildcards in all their places
34>: 82 [ 0001 s'#' 00 s'+' 00 s'a/#' 00 s'+/+' 00 s'/+' 00 s'+/a/#' 00 s'a/+/b' 00 s'/#' 00 ] => ok {"filters":[["#",0],["+",0],["a/#",0],["+/+",0],["/+",0],["+/a/#",0],["a/+/b",0],["/#",0]]}
5>: 82 [ 0001 { } s'#' 00 s'+/tennis/#' 00 ] => ok {"filters":[["#",0],["+/tennis/#",0]]}
# filters of all kinds
34>: 82 [ 0001 s'/' 00 s'$SYS/#' 00 s'é/€' 00 s' ' 00 ] => ok {"filters":[["/",0],["$SYS/#",0],["é/€",0],[" ",0]]}
# all options: No Local, Retain As Published, Retain Handling
5>: 82 [ 0001 { } s'a' 04 s'b' 08 s'c' 10 s'd' 20 s'e' 2E ] => ok {"filters":[["a",4],["b",8],["c",16],["d",32],["e",46]]}
# properties
5>: 82 [ 0001 { 0B FFFFFF7F 26 s'k' s'v' 26 s'k' s'v' } s'a' 00 ] => ok {"properties":[[11,268435455],[38,["k","v"]],[38,["k","v"]]]}
# shared subscriptions
5>: 82 [ 0001 { } s'$share/g/a/#' 01 ] => ok {"filters":[["$share/g/a/#",1]]}
5>: 82 [ 0001 { } s'$share/g//finance' 00 s'$share/g/#' 00 s'$share/g/+' 00 ] => ok {"filters":[["$share/g//finance",0],["$share/g/#",0],["$share/g/+",0]]}
# before 5.0, $share is a level like any other
34>: 82 [ 0001 s'$share/' 00 s'$share/g' 00 s'$share//a' 00 ] => ok {"filters":[["$share/",0],["$share/g",0],["$share//a",0]]}
# without a slash, it is one in 5.0 too, and so is what only looks like it
5>: 82 [ 0001 { } s'$share' 00 s'$shared/g/a' 04 s'$SHARE/g' 00 ] => ok {"filters":[["$share",0],["$shared/g/a",4],["$SHARE/g",0]]}
# no filter
34>: 82 [ 0001 ] => MQTT-3.8.3-3 close
5>: 82 [ 0001 { } ] => MQTT-3.8.3-2 disconnect 82
# packet identifier 0
34>: 82 [ 0000 s'a' 00 ] => MQTT-2.3.1-1 close
5>: 82 [ 0000 { } s'a' 00 ] => MQTT-2.2.1-3 disconnect 82
# no packet identifier
34>: 82 00 => MQTT-4.8.0-1 close
34>: 82 01 00 => MQTT-4.8.0-1 close
5>: 82 02 00 01 => MQTT-4.13.1-1 disconnect 81
# no options behind the filter, and more than options
34>: 82 [ 0001 s'a' ] => MQTT-4.8.0-1 close
34>: 82 [ 0001 s'a' 00 00 ] => MQTT-4.8.0-1 close
34>: 82 [ 0001 s'a' 00 0001 ] => MQTT-4.8.0-1 close
5>: 82 [ 0001 { } s'a' ] => MQTT-4.13.1-1 disconnect 81
5>: 82 [ 0001 { } s'a' 00 FF ] => MQTT-4.13.1-1 disconnect 81
# a filter longer than the packet
34>: 82 [ 0001 0005 'ab' 00 ] => MQTT-4.8.0-1 close
5>: 82 [ 0001 { } FFFF 'ab' 00 ] => MQTT-4.13.1-1 disconnect 81
# an empty filter
34>: 82 [ 0001 s'' 00 ] => MQTT-4.7.3-1 close
34>: 82 [ 0001 s'a' 00 s'' 00 s'b' 00 ] => MQTT-4.7.3-1 close
5>: 82 [ 0001 { } s'' 00 ] => MQTT-4.7.3-1 disconnect 8f
# # that is not alone in the last level
34>: 82 [ 0001 s'a#' 00 ] => MQTT-4.7.1-2 close
34>: 82 [ 0001 s'a/#/b' 00 ] => MQTT-4.7.1-2 close
34>: 82 [ 0001 s'a/b#' 00 ] => MQTT-4.7.1-2 close
34>: 82 [ 0001 s'##' 00 ] => MQTT-4.7.1-2 close
34>: 82 [ 0001 s'#/' 00 ] => MQTT-4.7.1-2 close
34>: 82 [ 0001 s'+#' 00 ] => MQTT-4.7.1-3 close
5>: 82 [ 0001 { } s'sport/tennis#' 00 ] => MQTT-4.7.1-1 disconnect 8f
5>: 82 [ 0001 { } s'sport/tennis/#/ranking' 00 ] => MQTT-4.7.1-1 disconnect 8f
# + that is not a whole level
34>: 82 [ 0001 s'sport+' 00 ] => MQTT-4.7.1-3 close
34>: 82 [ 0001 s'+a' 00 ] => MQTT-4.7.1-3 close
34>: 82 [ 0001 s'a/+b/c' 00 ] => MQTT-4.7.1-3 close
34>: 82 [ 0001 s'++' 00 ] => MQTT-4.7.1-3 close
5>: 82 [ 0001 { } s'sport+' 00 ] => MQTT-4.7.1-2 disconnect 8f
# filters that are not UTF-8, or have U+0000
34>: 82 [ 0001 0001 FF 00 ] => MQTT-1.5.3-1 close
34>: 82 [ 0001 0003 61 00 62 00 ] => MQTT-1.5.3-2 close
5>: 82 [ 0001 { } 0003 EDA080 00 ] => MQTT-1.5.4-1 disconnect 81
5>: 82 [ 0001 { } 0001 00 00 ] => MQTT-1.5.4-2 disconnect 81
# QoS 3, and reserved bits
34>: 82 [ 0001 s'a' 03 ] => MQTT-3.8.3-4 close
34>: 82 [ 0001 s'a' 04 ] => MQTT-3.8.3-4 close
34>: 82 [ 0001 s'a' 80 ] => MQTT-3.8.3-4 close
34>: 82 [ 0001 s'a' 00 s'b' FF ] => MQTT-3.8.3-4 close
5>: 82 [ 0001 { } s'a' 03 ] => 3.8.3.1 disconnect 82
5>: 82 [ 0001 { } s'a' 40 ] => MQTT-3.8.3-5 disconnect 81
5>: 82 [ 0001 { } s'a' 80 ] => MQTT-3.8.3-5 disconnect 81
5>: 82 [ 0001 { } s'a' 30 ] => 3.8.3.1 disconnect 82
# No Local on a shared subscription
5>: 82 [ 0001 { } s'$share/g/a' 04 ] => MQTT-3.8.3-4 disconnect 82
# shared subscriptions without a name or a filter, or with a wildcard in the name
5>: 82 [ 0001 { } s'$share/' 00 ] => MQTT-4.8.2-1 disconnect 8f
5>: 82 [ 0001 { } s'$share//a' 00 ] => MQTT-4.8.2-1 disconnect 8f
5>: 82 [ 0001 { } s'$share/g' 00 ] => MQTT-4.8.2-2 disconnect 8f
5>: 82 [ 0001 { } s'$share/g/' 00 ] => MQTT-4.8.2-2 disconnect 8f
5>: 82 [ 0001 { } s'$share/+/a' 00 ] => MQTT-4.8.2-2 disconnect 8f
5>: 82 [ 0001 { } s'$share/g#/a' 00 ] => MQTT-4.8.2-2 disconnect 8f
5>: 82 [ 0001 { } s'$share/g/a#' 00 ] => MQTT-4.7.1-1 disconnect 8f
5>: 82 [ 0001 { } s'$share/g/+a' 00 ] => MQTT-4.7.1-2 disconnect 8f
# Subscription Identifier 0, twice, too long
5>: 82 [ 0001 { 0B 00 } s'a' 00 ] => 3.8.2.1.2 disconnect 82
5>: 82 [ 0001 { 0B 01 0B 02 } s'a' 00 ] => 3.8.2.1.2 disconnect 82
5>: 82 [ 0001 { 0B FFFFFFFF01 } s'a' 00 ] => 1.5.5 disconnect 81
# properties of other packets
5>: 82 [ 0001 { 1F s'why' } s'a' 00 ] => 2.2.2.2 disconnect 81
5>: 82 [ 0001 { 23 0001 } s'a' 00 ] => 2.2.2.2 disconnect 81
# the list of 3.1.1 in 5.0: its first byte is a property length
5>: 82 [ 0001 s'a/b' 00 ] => MQTT-4.13.1-1 disconnect 81

# granted and refused
3<: 90 [ 0001 00 01 02 ] => ok {"type":"SUBACK","id":1,"codes":[0,1,2]}
4<: 90 [ 0001 00 01 02 80 ] => ok {"type":"SUBACK","id":1,"codes":[0,1,2,128]}
5<: 90 [ 0001 { } 00 01 02 80 83 87 8F 91 97 9E A1 A2 ] => ok {"codes":[0,1,2,128,131,135,143,145,151,158,161,162]}
5<: 90 [ 0001 { 1F s'some' 26 s'k' s'v' } 87 ] => ok {"codes":[135],"properties":[[31,"some"],[38,["k","v"]]]}
# codes that are none
3<: 90 [ 0001 80 ] => MQTT-3.9.3-2 close
34<: 90 [ 0001 03 ] => MQTT-3.9.3-2 close
34<: 90 [ 0001 00 87 ] => MQTT-3.9.3-2 close
5<: 90 [ 0001 { } 03 ] => MQTT-3.9.3-2 disconnect 82
5<: 90 [ 0001 { } 00 81 ] => MQTT-3.9.3-2 disconnect 82
5<: 90 [ 0001 { } 11 ] => MQTT-3.9.3-2 disconnect 82
# no code
34<: 90 [ 0001 ] => MQTT-4.8.0-1 close
5<: 90 [ 0001 { } ] => MQTT-4.13.1-1 disconnect 81
5<: 90 [ 0001 { 1F s'some' } ] => MQTT-4.13.1-1 disconnect 81
# packet identifier 0
34<: 90 [ 0000 00 ] => MQTT-2.3.1-7 close
5<: 90 [ 0000 { } 00 ] => MQTT-2.2.1-6 disconnect 82
# properties longer than the packet, twice, or of other packets
5<: 90 [ 0001 05 00 ] => 2.2.2.1 disconnect 81
5<: 90 [ 0001 { 1F s'a' 1F s'b' } 00 ] => 3.2.2.3.9 disconnect 82
5<: 90 [ 0001 { 0B 01 } 00 ] => 2.2.2.2 disconnect 81

# filters given up
34>: A2 [ 0001 s'a/b' ] => ok {"type":"UNSUBSCRIBE","id":1,"filters":["a/b"]}
34>: A2 [ 0001 s'a/b' s'#' s'+/c' ] => ok {"filters":["a/b","#","+/c"]}
5>: A2 [ 0001 { } s'a/b' s'$share/g/c' ] => ok {"filters":["a/b","$share/g/c"],"properties":[]}
5>: A2 [ 0001 { 26 s'k' s'v' } s'a/b' ] => ok {"properties":[[38,["k","v"]]]}
# no filter
34>: A2 [ 0001 ] => MQTT-3.10.3-2 close
5>: A2 [ 0001 { } ] => MQTT-3.10.3-2 disconnect 82
# an empty filter, also between two others
34>: A2 [ 0001 s'' ] => MQTT-4.7.3-1 close
34>: A2 [ 0001 s'a' s'' s'b' ] => MQTT-4.7.3-1 close
5>: A2 [ 0001 { } s'a' s'' s'b' ] => MQTT-4.7.3-1 disconnect 8f
# a filter longer than the packet, and half a length
34>: A2 [ 0001 0005 'ab' ] => MQTT-4.8.0-1 close
34>: A2 [ 0001 s'a' 00 ] => MQTT-4.8.0-1 close
5>: A2 [ 0001 { } s'a' 00 ] => MQTT-4.13.1-1 disconnect 81
# wildcards that are none
34>: A2 [ 0001 s'a#' ] => MQTT-4.7.1-2 close
5>: A2 [ 0001 { } s'a+' ] => MQTT-4.7.1-2 disconnect 8f
5>: A2 [ 0001 { } s'$share/g' ] => MQTT-4.8.2-2 disconnect 8f
# not UTF-8
34>: A2 [ 0001 0001 C0 ] => MQTT-1.5.3-1 close
# packet identifier 0
34>: A2 [ 0000 s'a' ] => MQTT-2.3.1-1 close
5>: A2 [ 0000 { } s'a' ] => MQTT-2.2.1-3 disconnect 82
# an identifier of subscriptions is not for giving up
5>: A2 [ 0001 { 0B 01 } s'a' ] => 2.2.2.2 disconnect 81

# given up
34<: B0 02 00 01 => ok {"type":"UNSUBACK","id":1,"codes":[]}
5<: B0 [ 0001 { } 00 11 80 83 87 8F 91 ] => ok {"codes":[0,17,128,131,135,143,145]}
5<: B0 [ 0001 { 1F s'some' 26 s'k' s'v' } 00 ] => ok {"codes":[0],"properties":[[31,"some"],[38,["k","v"]]]}
# codes came with 5.0
34<: B0 03 00 01 00 => MQTT-4.8.0-1 close
# and are needed there
5<: B0 02 00 01 => MQTT-4.13.1-1 disconnect 81
5<: B0 [ 0001 { } ] => MQTT-4.13.1-1 disconnect 81
5<: B0 [ 0001 { 1F s'some' } ] => MQTT-4.13.1-1 disconnect 81
# codes that are none
5<: B0 [ 0001 { } 01 ] => MQTT-3.11.3-2 disconnect 82
5<: B0 [ 0001 { } 97 ] => MQTT-3.11.3-2 disconnect 82
# packet identifier 0
34<: B0 02 00 00 => MQTT-2.3.1-7 close
5<: B0 [ 0000 { } 00 ] => MQTT-2.2.1-6 disconnect 82
`);
