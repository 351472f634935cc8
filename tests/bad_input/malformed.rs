//! Every malformation of every packet and what it gets.

use crate::{
    bystanders::Bystanders,
    common::{Client, Packet, TestGateway, Version},
    memory,
};

/// Packet, what is wrong with it, its bytes, and the CONNACK code it gets; `None` is closed without a word.
type FirstPacket = (&'static str, &'static [u8], Option<u8>);
/// Packet, what is wrong with it, and its bytes. It is closed without a word.
type Packet3 = (&'static str, &'static str, &'static [u8]);
/// Packet, what is wrong with it, its bytes, and the DISCONNECT code it gets.
type Packet5 = (&'static str, &'static str, &'static [u8], u8);

#[rustfmt::skip]
const CONNECT_3_1_1: &[FirstPacket] = &[
    ("nothing in it",                       b"\x10\x00", None),
    ("half a length",                       b"\x10\x01\x00", None),
    ("flags in the fixed header",           b"\x11\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a", None),
    ("another protocol name",               b"\x10\x0d\x00\x04MQTX\x04\x02\x00\x00\x00\x01a", None),
    ("an empty protocol name",              b"\x10\x09\x00\x00\x04\x02\x00\x00\x00\x01a", None),
    ("the name of 3.1 with this level",     b"\x10\x0f\x00\x06MQIsdp\x04\x02\x00\x00\x00\x01a", Some(1)),
    ("a level that is not served",          b"\x10\x0d\x00\x04MQTT\x02\x02\x00\x00\x00\x01a", Some(1)),
    ("level 3 with the name of 3.1.1",      b"\x10\x0d\x00\x04MQTT\x03\x02\x00\x00\x00\x01a", Some(1)),
    ("the reserved flag",                   b"\x10\x0d\x00\x04MQTT\x04\x03\x00\x00\x00\x01a", None),
    ("cut before the flags",                b"\x10\x07\x00\x04MQTT\x04", None),
    ("cut in the keep-alive",               b"\x10\x09\x00\x04MQTT\x04\x02\x00", None),
    ("no client identifier",                b"\x10\x0a\x00\x04MQTT\x04\x02\x00\x00", None),
    ("a client identifier that is cut",     b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x02a", None),
    ("a client identifier not in UTF-8",    b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01\xff", None),
    ("a client identifier with NUL",        b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01\x00", None),
    ("an empty client identifier to keep",  b"\x10\x0c\x00\x04MQTT\x04\x00\x00\x00\x00\x00", Some(2)),
    ("bytes behind its end",                b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x00\x00\x01ab", None),
    ("a will that is missing",              b"\x10\x0d\x00\x04MQTT\x04\x06\x00\x00\x00\x01a", None),
    ("a will topic not in UTF-8",           b"\x10\x12\x00\x04MQTT\x04\x06\x00\x00\x00\x01a\x00\x01\xff\x00\x00", None),
    ("an empty will topic",                 b"\x10\x11\x00\x04MQTT\x04\x06\x00\x00\x00\x01a\x00\x00\x00\x00", None),
    ("a wildcard in the will topic",        b"\x10\x12\x00\x04MQTT\x04\x06\x00\x00\x00\x01a\x00\x01#\x00\x00", None),
    ("a will of QoS 3",                     b"\x10\x12\x00\x04MQTT\x04\x1e\x00\x00\x00\x01a\x00\x01w\x00\x00", None),
    ("QoS without a will",                  b"\x10\x0d\x00\x04MQTT\x04\x0a\x00\x00\x00\x01a", None),
    ("retain without a will",               b"\x10\x0d\x00\x04MQTT\x04\x22\x00\x00\x00\x01a", None),
    ("a user name that is missing",         b"\x10\x0d\x00\x04MQTT\x04\x82\x00\x00\x00\x01a", None),
    ("a user name not in UTF-8",            b"\x10\x10\x00\x04MQTT\x04\x82\x00\x00\x00\x01a\x00\x01\xff", None),
    ("a password without a user name",      b"\x10\x10\x00\x04MQTT\x04\x42\x00\x00\x00\x01a\x00\x01p", None),
    ("a password that is missing",          b"\x10\x10\x00\x04MQTT\x04\xc2\x00\x00\x00\x01a\x00\x01u", None),
    ("a length of five bytes",              b"\x10\xff\xff\xff\xff\x01", None),
    ("a length beyond the maximum",         b"\x10\xff\xff\xff\x7f", None),
    ("another packet: PUBLISH",             b"\x30\x03\x00\x01a", None),
    ("another packet: PINGREQ",             b"\xc0\x00", None),
    ("another packet: DISCONNECT",          b"\xe0\x00", None),
    ("another packet: CONNACK",             b"\x20\x02\x00\x00", None),
    ("another packet: type 0",              b"\x00\x00", None),
    ("another packet: type 15",             b"\xf0\x00", None),
    ("another protocol: HTTP",              b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", None),
    ("another protocol: TLS",               b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03", None),
];

#[rustfmt::skip]
const CONNECT_5: &[FirstPacket] = &[
    ("flags in the fixed header",           b"\x11\x0e\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01a", Some(0x81)),
    ("a level that is not served",          b"\x10\x0e\x00\x04MQTT\x06\x02\x00\x00\x00\x00\x01a", Some(0x84)),
    ("the reserved flag",                   b"\x10\x0e\x00\x04MQTT\x05\x03\x00\x00\x00\x00\x01a", Some(0x81)),
    ("cut in the keep-alive",               b"\x10\x09\x00\x04MQTT\x05\x02\x00", Some(0x81)),
    ("no properties",                       b"\x10\x0a\x00\x04MQTT\x05\x02\x00\x00", Some(0x81)),
    ("properties that are cut",             b"\x10\x0c\x00\x04MQTT\x05\x02\x00\x00\x05\x11", Some(0x81)),
    ("properties of a padded length",       b"\x10\x0f\x00\x04MQTT\x05\x02\x00\x00\x80\x00\x00\x01a", Some(0x81)),
    ("properties of a five byte length",    b"\x10\x12\x00\x04MQTT\x05\x02\x00\x00\xff\xff\xff\xff\x01\x00\x01a", Some(0x81)),
    ("an unknown property",                 b"\x10\x10\x00\x04MQTT\x05\x02\x00\x00\x02\x7f\x00\x00\x01a", Some(0x81)),
    ("a property of PUBLISH",               b"\x10\x11\x00\x04MQTT\x05\x02\x00\x00\x03\x23\x00\x01\x00\x01a", Some(0x81)),
    ("a property twice",                    b"\x10\x14\x00\x04MQTT\x05\x02\x00\x00\x06\x21\x00\x01\x21\x00\x01\x00\x01a", Some(0x82)),
    ("receive maximum 0",                   b"\x10\x11\x00\x04MQTT\x05\x02\x00\x00\x03\x21\x00\x00\x00\x01a", Some(0x82)),
    ("maximum packet size 0",               b"\x10\x13\x00\x04MQTT\x05\x02\x00\x00\x05\x27\x00\x00\x00\x00\x00\x01a", Some(0x82)),
    ("request problem information 2",       b"\x10\x10\x00\x04MQTT\x05\x02\x00\x00\x02\x17\x02\x00\x01a", Some(0x82)),
    ("request response information 2",      b"\x10\x10\x00\x04MQTT\x05\x02\x00\x00\x02\x19\x02\x00\x01a", Some(0x82)),
    ("authentication data alone",           b"\x10\x12\x00\x04MQTT\x05\x02\x00\x00\x04\x16\x00\x01x\x00\x01a", Some(0x82)),
    ("an unknown authentication method",    b"\x10\x12\x00\x04MQTT\x05\x02\x00\x00\x04\x15\x00\x01x\x00\x01a", Some(0x8c)),
    ("a user property not in UTF-8",        b"\x10\x14\x00\x04MQTT\x05\x02\x00\x00\x06\x26\x00\x01\xff\x00\x00\x00\x01a", Some(0x81)),
    ("a client identifier not in UTF-8",    b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01\xff", Some(0x81)),
    ("a client identifier with NUL",        b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01\x00", Some(0x81)),
    ("bytes behind its end",                b"\x10\x0f\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01ab", Some(0x81)),
    ("a will of QoS 3",                     b"\x10\x14\x00\x04MQTT\x05\x1e\x00\x00\x00\x00\x01a\x00\x00\x01w\x00\x00", Some(0x81)),
    ("retain without a will",               b"\x10\x0e\x00\x04MQTT\x05\x22\x00\x00\x00\x00\x01a", Some(0x81)),
    ("a wildcard in the will topic",        b"\x10\x14\x00\x04MQTT\x05\x06\x00\x00\x00\x00\x01a\x00\x00\x01#\x00\x00", Some(0x90)),
    ("a will property of CONNECT",          b"\x10\x17\x00\x04MQTT\x05\x06\x00\x00\x00\x00\x01a\x03\x21\x00\x01\x00\x01w\x00\x00", Some(0x81)),
    ("a will that is not the text it says", b"\x10\x17\x00\x04MQTT\x05\x06\x00\x00\x00\x00\x01a\x02\x01\x01\x00\x01w\x00\x01\xff", Some(0x99)),
    ("a user name that is missing",         b"\x10\x0e\x00\x04MQTT\x05\x82\x00\x00\x00\x00\x01a", Some(0x81)),
];

#[rustfmt::skip]
const PACKETS_3_1_1: &[Packet3] = &[
    ("CONNECT",     "a second one",                 b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a"),
    ("CONNACK",     "from a client",                b"\x20\x02\x00\x00"),
    ("PUBLISH",     "nothing in it",                b"\x30\x00"),
    ("PUBLISH",     "half a length",                b"\x30\x01\x00"),
    ("PUBLISH",     "a topic that is cut",          b"\x30\x03\x00\x02a"),
    ("PUBLISH",     "an empty topic",               b"\x30\x02\x00\x00"),
    ("PUBLISH",     "a topic not in UTF-8",         b"\x30\x03\x00\x01\xff"),
    ("PUBLISH",     "a topic with NUL",             b"\x30\x03\x00\x01\x00"),
    ("PUBLISH",     "a surrogate in its topic",     b"\x30\x05\x00\x03\xed\xa0\x80"),
    ("PUBLISH",     "wildcard #",                   b"\x30\x03\x00\x01#"),
    ("PUBLISH",     "wildcard +",                   b"\x30\x05\x00\x03a/+"),
    ("PUBLISH",     "QoS 3",                        b"\x36\x05\x00\x01a\x00\x01"),
    ("PUBLISH",     "DUP at QoS 0",                 b"\x38\x03\x00\x01a"),
    ("PUBLISH",     "no packet identifier",         b"\x32\x03\x00\x01a"),
    ("PUBLISH",     "half a packet identifier",     b"\x34\x04\x00\x01a\x00"),
    ("PUBLISH",     "packet identifier 0",          b"\x32\x05\x00\x01a\x00\x00"),
    ("PUBLISH",     "a length of five bytes",       b"\x30\x80\x80\x80\x80\x01"),
    ("PUBLISH",     "a length beyond the maximum",  b"\x30\xff\xff\xff\x7f"),
    ("PUBACK",      "flags",                        b"\x41\x02\x00\x01"),
    ("PUBACK",      "nothing in it",                b"\x40\x00"),
    ("PUBACK",      "half a packet identifier",     b"\x40\x01\x00"),
    ("PUBACK",      "packet identifier 0",          b"\x40\x02\x00\x00"),
    ("PUBACK",      "a reason code",                b"\x40\x03\x00\x01\x00"),
    ("PUBREC",      "flags",                        b"\x52\x02\x00\x01"),
    ("PUBREC",      "nothing in it",                b"\x50\x00"),
    ("PUBREC",      "packet identifier 0",          b"\x50\x02\x00\x00"),
    ("PUBREL",      "no flags",                     b"\x60\x02\x00\x01"),
    ("PUBREL",      "nothing in it",                b"\x62\x00"),
    ("PUBREL",      "packet identifier 0",          b"\x62\x02\x00\x00"),
    ("PUBCOMP",     "flags",                        b"\x78\x02\x00\x01"),
    ("PUBCOMP",     "nothing in it",                b"\x70\x00"),
    ("PUBCOMP",     "packet identifier 0",          b"\x70\x02\x00\x00"),
    ("SUBSCRIBE",   "no flags",                     b"\x80\x06\x00\x01\x00\x01a\x00"),
    ("SUBSCRIBE",   "nothing in it",                b"\x82\x00"),
    ("SUBSCRIBE",   "no filter",                    b"\x82\x02\x00\x01"),
    ("SUBSCRIBE",   "packet identifier 0",          b"\x82\x06\x00\x00\x00\x01a\x00"),
    ("SUBSCRIBE",   "a filter that is cut",         b"\x82\x05\x00\x01\x00\x02a"),
    ("SUBSCRIBE",   "no options",                   b"\x82\x05\x00\x01\x00\x01a"),
    ("SUBSCRIBE",   "QoS 3",                        b"\x82\x06\x00\x01\x00\x01a\x03"),
    ("SUBSCRIBE",   "reserved options",             b"\x82\x06\x00\x01\x00\x01a\x04"),
    ("SUBSCRIBE",   "a filter not in UTF-8",        b"\x82\x06\x00\x01\x00\x01\xff\x00"),
    ("SUBSCRIBE",   "a filter with NUL",            b"\x82\x06\x00\x01\x00\x01\x00\x00"),
    ("SUBACK",      "from a client",                b"\x90\x03\x00\x01\x00"),
    ("UNSUBSCRIBE", "no flags",                     b"\xa0\x05\x00\x01\x00\x01a"),
    ("UNSUBSCRIBE", "no filter",                    b"\xa2\x02\x00\x01"),
    ("UNSUBSCRIBE", "packet identifier 0",          b"\xa2\x05\x00\x00\x00\x01a"),
    ("UNSUBSCRIBE", "a filter that is cut",         b"\xa2\x05\x00\x01\x00\x02a"),
    ("UNSUBSCRIBE", "a filter not in UTF-8",        b"\xa2\x05\x00\x01\x00\x01\xff"),
    ("UNSUBACK",    "from a client",                b"\xb0\x02\x00\x01"),
    ("PINGREQ",     "flags",                        b"\xc1\x00"),
    ("PINGREQ",     "something in it",              b"\xc0\x01\x00"),
    ("PINGRESP",    "from a client",                b"\xd0\x00"),
    ("DISCONNECT",  "flags",                        b"\xe1\x00"),
    ("DISCONNECT",  "something in it",              b"\xe0\x01\x00"),
    ("type 0",      "it does not exist",            b"\x00\x00"),
    ("type 15",     "it does not exist",            b"\xf0\x00"),
];

#[rustfmt::skip]
const PACKETS_5: &[Packet5] = &[
    ("CONNECT",     "a second one",                 b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01a", 0x82),
    ("CONNACK",     "from a client",                b"\x20\x03\x00\x00\x00", 0x82),
    ("PUBLISH",     "nothing in it",                b"\x30\x00", 0x81),
    ("PUBLISH",     "half a length",                b"\x30\x01\x00", 0x81),
    ("PUBLISH",     "a topic that is cut",          b"\x30\x03\x00\x02a", 0x81),
    ("PUBLISH",     "no properties",                b"\x30\x03\x00\x01a", 0x81),
    ("PUBLISH",     "an empty topic and no alias",  b"\x30\x03\x00\x00\x00", 0x82),
    ("PUBLISH",     "an alias that was never set",  b"\x30\x06\x00\x00\x03\x23\x00\x09", 0x82),
    ("PUBLISH",     "a topic not in UTF-8",         b"\x30\x04\x00\x01\xff\x00", 0x81),
    ("PUBLISH",     "a topic with NUL",             b"\x30\x04\x00\x01\x00\x00", 0x81),
    ("PUBLISH",     "wildcard #",                   b"\x30\x04\x00\x01#\x00", 0x90),
    ("PUBLISH",     "wildcard +",                   b"\x30\x06\x00\x03a/+\x00", 0x90),
    ("PUBLISH",     "QoS 3",                        b"\x36\x06\x00\x01a\x00\x01\x00", 0x81),
    ("PUBLISH",     "DUP at QoS 0",                 b"\x38\x04\x00\x01a\x00", 0x81),
    ("PUBLISH",     "no packet identifier",         b"\x32\x03\x00\x01a", 0x81),
    ("PUBLISH",     "packet identifier 0",          b"\x32\x06\x00\x01a\x00\x00\x00", 0x82),
    ("PUBLISH",     "properties that are cut",      b"\x30\x05\x00\x01a\x05\x01", 0x81),
    ("PUBLISH",     "a property that is cut",       b"\x30\x06\x00\x01a\x02\x02\x00", 0x81),
    ("PUBLISH",     "properties, padded length",    b"\x30\x05\x00\x01a\x80\x00", 0x81),
    ("PUBLISH",     "an unknown property",          b"\x30\x06\x00\x01a\x02\x00\x00", 0x81),
    ("PUBLISH",     "a property of CONNECT",        b"\x30\x07\x00\x01a\x03\x21\x00\x01", 0x81),
    ("PUBLISH",     "a property twice",             b"\x30\x08\x00\x01a\x04\x01\x00\x01\x00", 0x82),
    ("PUBLISH",     "payload format 2",             b"\x30\x06\x00\x01a\x02\x01\x02", 0x82),
    ("PUBLISH",     "topic alias 0",                b"\x30\x07\x00\x01a\x03\x23\x00\x00", 0x94),
    ("PUBLISH",     "topic alias 65535",            b"\x30\x07\x00\x01a\x03\x23\xff\xff", 0x94),
    ("PUBLISH",     "a subscription identifier",    b"\x30\x06\x00\x01a\x02\x0b\x01", 0x82),
    ("PUBLISH",     "a wildcard response topic",    b"\x30\x08\x00\x01a\x04\x08\x00\x01#", 0x82),
    ("PUBLISH",     "a response topic not UTF-8",   b"\x30\x08\x00\x01a\x04\x08\x00\x01\xff", 0x81),
    ("PUBLISH",     "a content type not UTF-8",     b"\x30\x08\x00\x01a\x04\x03\x00\x01\xff", 0x81),
    ("PUBLISH",     "a length of five bytes",       b"\x30\x80\x80\x80\x80\x01", 0x81),
    ("PUBLISH",     "a padded length",              b"\x30\x84\x00\x00\x01a\x00", 0x81),
    ("PUBLISH",     "a length beyond the maximum",  b"\x30\xff\xff\xff\x7f", 0x95),
    ("PUBACK",      "flags",                        b"\x41\x02\x00\x01", 0x81),
    ("PUBACK",      "nothing in it",                b"\x40\x00", 0x81),
    ("PUBACK",      "packet identifier 0",          b"\x40\x02\x00\x00", 0x82),
    ("PUBACK",      "an unknown code",              b"\x40\x03\x00\x01\x01", 0x82),
    ("PUBACK",      "a property of PUBLISH",        b"\x40\x06\x00\x01\x00\x02\x01\x00", 0x81),
    ("PUBACK",      "bytes behind its end",         b"\x40\x05\x00\x01\x00\x00\x00", 0x81),
    ("PUBREC",      "flags",                        b"\x52\x02\x00\x01", 0x81),
    ("PUBREC",      "nothing in it",                b"\x50\x00", 0x81),
    ("PUBREC",      "packet identifier 0",          b"\x50\x02\x00\x00", 0x82),
    ("PUBREC",      "an unknown code",              b"\x50\x03\x00\x01\x92", 0x82),
    ("PUBREL",      "no flags",                     b"\x60\x02\x00\x01", 0x81),
    ("PUBREL",      "nothing in it",                b"\x62\x00", 0x81),
    ("PUBREL",      "packet identifier 0",          b"\x62\x02\x00\x00", 0x82),
    ("PUBREL",      "an unknown code",              b"\x62\x03\x00\x01\x80", 0x82),
    ("PUBCOMP",     "flags",                        b"\x78\x02\x00\x01", 0x81),
    ("PUBCOMP",     "nothing in it",                b"\x70\x00", 0x81),
    ("PUBCOMP",     "packet identifier 0",          b"\x70\x02\x00\x00", 0x82),
    ("PUBCOMP",     "an unknown code",              b"\x70\x03\x00\x01\x10", 0x82),
    ("SUBSCRIBE",   "no flags",                     b"\x80\x07\x00\x01\x00\x00\x01a\x00", 0x81),
    ("SUBSCRIBE",   "nothing in it",                b"\x82\x00", 0x81),
    ("SUBSCRIBE",   "no filter",                    b"\x82\x03\x00\x01\x00", 0x82),
    ("SUBSCRIBE",   "packet identifier 0",          b"\x82\x07\x00\x00\x00\x00\x01a\x00", 0x82),
    ("SUBSCRIBE",   "a filter that is cut",         b"\x82\x06\x00\x01\x00\x00\x02a", 0x81),
    ("SUBSCRIBE",   "no options",                   b"\x82\x06\x00\x01\x00\x00\x01a", 0x81),
    ("SUBSCRIBE",   "QoS 3",                        b"\x82\x07\x00\x01\x00\x00\x01a\x03", 0x82),
    ("SUBSCRIBE",   "retain handling 3",            b"\x82\x07\x00\x01\x00\x00\x01a\x30", 0x82),
    ("SUBSCRIBE",   "reserved options",             b"\x82\x07\x00\x01\x00\x00\x01a\x40", 0x81),
    ("SUBSCRIBE",   "No Local on a shared one",     b"\x82\x10\x00\x01\x00\x00\x0a$share/g/a\x04", 0x82),
    ("SUBSCRIBE",   "a filter not in UTF-8",        b"\x82\x07\x00\x01\x00\x00\x01\xff\x00", 0x81),
    ("SUBSCRIBE",   "subscription identifier 0",    b"\x82\x09\x00\x01\x02\x0b\x00\x00\x01a\x00", 0x82),
    ("SUBSCRIBE",   "two subscription identifiers", b"\x82\x0b\x00\x01\x04\x0b\x01\x0b\x02\x00\x01a\x00", 0x82),
    ("SUBACK",      "from a client",                b"\x90\x04\x00\x01\x00\x00", 0x82),
    ("UNSUBSCRIBE", "no flags",                     b"\xa0\x06\x00\x01\x00\x00\x01a", 0x81),
    ("UNSUBSCRIBE", "no filter",                    b"\xa2\x03\x00\x01\x00", 0x82),
    ("UNSUBSCRIBE", "packet identifier 0",          b"\xa2\x06\x00\x00\x00\x00\x01a", 0x82),
    ("UNSUBSCRIBE", "a filter that is cut",         b"\xa2\x06\x00\x01\x00\x00\x02a", 0x81),
    ("UNSUBSCRIBE", "a filter not in UTF-8",        b"\xa2\x06\x00\x01\x00\x00\x01\xff", 0x81),
    ("UNSUBSCRIBE", "a property of PUBLISH",        b"\xa2\x09\x00\x01\x03\x23\x00\x01\x00\x01a", 0x81),
    ("UNSUBACK",    "from a client",                b"\xb0\x04\x00\x01\x00\x00", 0x82),
    ("PINGREQ",     "flags",                        b"\xc1\x00", 0x81),
    ("PINGREQ",     "something in it",              b"\xc0\x01\x00", 0x81),
    ("PINGRESP",    "from a client",                b"\xd0\x00", 0x82),
    ("DISCONNECT",  "flags",                        b"\xe1\x00", 0x81),
    ("DISCONNECT",  "an unknown code",              b"\xe0\x02\x03\x00", 0x82),
    ("DISCONNECT",  "a server's code",              b"\xe0\x02\x8e\x00", 0x82),
    ("DISCONNECT",  "a property of CONNECT",        b"\xe0\x05\x00\x03\x21\x00\x01", 0x81),
    ("DISCONNECT",  "properties that are cut",      b"\xe0\x03\x00\x05\x11", 0x81),
    ("DISCONNECT",  "expiry where there was none",  b"\xe0\x07\x00\x05\x11\x00\x00\x00\x01", 0x82),
    ("AUTH",        "flags",                        b"\xf1\x00", 0x81),
    ("AUTH",        "without a method before",      b"\xf0\x06\x18\x04\x15\x00\x01m", 0x82),
    ("AUTH",        "an unknown code",              b"\xf0\x06\x01\x04\x15\x00\x01m", 0x82),
    ("type 0",      "it does not exist",            b"\x00\x00", 0x81),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_malformed_first_packet_gets_its_answer() {
    let _turn = memory::together().await;
    let gateway = TestGateway::start().await;
    let bystanders = Bystanders::start(&gateway).await;
    let mut problems = Vec::new();
    for (version, cases) in [(Version::V311, CONNECT_3_1_1), (Version::V5, CONNECT_5)] {
        for (what, bytes, wanted) in cases {
            let mut client = gateway.open(version).await;
            client.send(bytes).await;
            let answer = client.bytes_until_closed().await;
            let (fits, wanted) = match wanted {
                None => (answer.is_empty(), "to be closed without a word".into()),
                // The code is the fourth byte in all versions.
                Some(code) => (answer.first() == Some(&0x20) && answer.get(3) == Some(code), format!("{code:#04x}")),
            };
            if !fits {
                problems.push(format!("{version:?} CONNECT, {what}: {wanted} wanted, {answer:02x?} came"));
            }
        }
    }
    bystanders.finish().await;
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_malformation_gets_its_answer() {
    let _turn = memory::together().await;
    let gateway = TestGateway::start().await;
    let bystanders = Bystanders::start(&gateway).await;
    let mut problems = Vec::new();
    for (packet, what, bytes) in PACKETS_3_1_1 {
        let mut client = gateway.client(Version::V311, "malformed").await;
        client.send(bytes).await;
        let answer = client.bytes_until_closed().await;
        if !answer.is_empty() {
            problems.push(format!("3.1.1 {packet}, {what}: the end wanted, {answer:02x?} came"));
        }
    }
    for (packet, what, bytes, wanted) in PACKETS_5 {
        let mut client = gateway.client(Version::V5, "malformed").await;
        client.send(bytes).await;
        match end_of(&mut client).await {
            Some(Packet::Disconnect(reason)) if reason.code == *wanted => {}
            other => problems.push(format!("5.0 {packet}, {what}: {wanted:#04x} wanted, {other:02x?} came")),
        }
    }
    bystanders.finish().await;
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// The last packet before the end.
async fn end_of(client: &mut Client) -> Option<Packet> {
    let mut last = None;
    while let Some(packet) = client.next().await {
        last = Some(packet);
    }
    last
}
