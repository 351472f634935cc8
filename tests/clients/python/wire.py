"""What the Python agents of MQTT and MQTT-SN share: the line protocol of docs/testing.md and the mapping of MQTT 5 properties."""

import json
import sys
import threading

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

_output = threading.Lock()
# Libraries that print shall not come between.
_stream = sys.stdout


def report(kind, **fields):
    line = json.dumps({"report": kind, **fields})
    with _output:
        _stream.write(line + "\n")
        _stream.flush()


def done(req, **outcome):
    report("done", req=req, **outcome)


def connect_properties(c):
    properties = Properties(PacketTypes.CONNECT)
    if c["sessionExpiry"] is not None:
        properties.SessionExpiryInterval = c["sessionExpiry"]
    if c["receiveMaximum"] is not None:
        properties.ReceiveMaximum = c["receiveMaximum"]
    if c["topicAliasMaximum"] is not None:
        properties.TopicAliasMaximum = c["topicAliasMaximum"]
    return properties


def publish_properties(p):
    properties = Properties(PacketTypes.PUBLISH)
    if p["user"]:
        properties.UserProperty = [tuple(pair) for pair in p["user"]]
    if p["correlationData"] is not None:
        properties.CorrelationData = bytes.fromhex(p["correlationData"])
    if p["contentType"] is not None:
        properties.ContentType = p["contentType"]
    if p["responseTopic"] is not None:
        properties.ResponseTopic = p["responseTopic"]
    if p["expiry"] is not None:
        properties.MessageExpiryInterval = p["expiry"]
    if p["utf8"] is not None:
        properties.PayloadFormatIndicator = int(p["utf8"])
    if p["topicAlias"] is not None:
        properties.TopicAlias = p["topicAlias"]
    return properties


def message(conn, m):
    """Reports a received message of paho's or aiomqtt's type."""
    p = getattr(m, "properties", None)

    def value(name):
        return getattr(p, name, None)

    correlation = value("CorrelationData")
    utf8 = value("PayloadFormatIndicator")
    report(
        "message",
        conn=conn,
        topic=str(m.topic),
        payload=bytes(m.payload).hex(),
        qos=m.qos,
        retain=bool(m.retain),
        dup=bool(getattr(m, "dup", False)),
        properties={
            "user": [list(pair) for pair in value("UserProperty") or []],
            "correlationData": None if correlation is None else correlation.hex(),
            "contentType": value("ContentType"),
            "responseTopic": value("ResponseTopic"),
            "expiry": value("MessageExpiryInterval"),
            "utf8": None if utf8 is None else bool(utf8),
            "topicAlias": value("TopicAlias"),
            "subscriptionIds": value("SubscriptionIdentifier") or [],
        },
    )
