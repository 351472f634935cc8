"""paho-mqtt: commands come on standard input, reports go to standard output, one JSON object a line."""

import json
import socket
import sys
import threading

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

import wire

TRANSPORTS = {"tcp": "tcp", "quic": "tcp", "tls": "tcp", "ws": "websockets", "wss": "websockets", "unix": "unix"}


class Connection:
    def __init__(self, c):
        self.conn = c["conn"]
        self.version = c["version"]
        self.connect_req = c["req"]
        # An acknowledgement may come before the call that it is for has returned.
        self.lock = threading.Lock()
        self.pending = {}
        self.early = {}
        arguments = {} if self.version == 5 else {"clean_session": c["clean"]}
        self.client = paho.Client(
            paho.CallbackAPIVersion.VERSION2,
            client_id=c["clientId"],
            protocol=self.version,
            transport=TRANSPORTS[c["transport"]],
            reconnect_on_failure=False,
            **arguments,
        )
        client = self.client
        if c["transport"] in ("tls", "wss"):
            client.tls_set(ca_certs=c["ca"])
        if c["transport"] in ("ws", "wss"):
            client.ws_set_options(path=c["path"])
        if c["username"] is not None:
            client.username_pw_set(c["username"], c["password"])
        if c["will"] is not None:
            will = c["will"]
            client.will_set(will["topic"], bytes.fromhex(will["payload"]), will["qos"], will["retain"])
        client.on_connect = self.on_connect
        client.on_connect_fail = lambda *_: wire.done(self.connect_req, error="connect failed")
        client.on_disconnect = self.on_disconnect
        client.on_message = lambda _client, _data, m: wire.message(self.conn, m)
        client.on_publish = lambda _client, _data, mid, code, _properties: self.finish(mid, [code])
        client.on_subscribe = lambda _client, _data, mid, codes, _properties: self.finish(mid, codes)
        client.on_unsubscribe = lambda _client, _data, mid, _codes, _properties: self.finish(mid, [])
        host, port = (c["path"], 1) if c["transport"] == "unix" else (c["host"], c["port"])
        arguments = {"clean_start": c["clean"], "properties": wire.connect_properties(c)} if self.version == 5 else {}
        client.connect(host, port, c["keepAlive"], **arguments)
        client.loop_start()

    def on_connect(self, _client, _data, flags, code, properties):
        if code.is_failure:
            wire.done(self.connect_req, error=str(code), codes=[code.value])
            return
        wire.done(
            self.connect_req,
            sessionPresent=flags.session_present,
            assignedClientId=getattr(properties, "AssignedClientIdentifier", None),
            topicAliasMaximum=getattr(properties, "TopicAliasMaximum", 0),
        )

    def on_disconnect(self, _client, _data, flags, code, _properties):
        wire.report("closed", conn=self.conn, code=code.value if flags.is_disconnect_packet_from_server else None)

    def finish(self, mid, codes):
        codes = [code if isinstance(code, int) else code.value for code in codes]
        with self.lock:
            req = self.pending.pop(mid, None)
            if req is None:
                self.early[mid] = codes
                return
        wire.done(req, codes=codes)

    def subscribe(self, c):
        if self.version == 5:
            options = SubscribeOptions(c["qos"], c["noLocal"], c["retainAsPublished"], c["retainHandling"])
            properties = Properties(PacketTypes.SUBSCRIBE)
            if c["subscriptionId"] is not None:
                properties.SubscriptionIdentifier = c["subscriptionId"]
            arguments = {"options": options, "properties": properties}
        else:
            arguments = {"qos": c["qos"]}
        result, mid = self.client.subscribe(c["filter"], **arguments)
        self.started(result, mid, c)

    def unsubscribe(self, c):
        result, mid = self.client.unsubscribe(c["filter"])
        self.started(result, mid, c)

    def publish(self, c):
        arguments = {"properties": wire.publish_properties(c["properties"])} if self.version == 5 else {}
        info = self.client.publish(c["topic"], bytes.fromhex(c["payload"]), c["qos"], c["retain"], **arguments)
        self.started(info.rc, info.mid, c)

    def started(self, result, mid, c):
        if result != paho.MQTT_ERR_SUCCESS:
            wire.done(c["req"], error=paho.error_string(result))
            return
        with self.lock:
            if mid not in self.early:
                self.pending[mid] = c["req"]
                return
            codes = self.early.pop(mid)
        wire.done(c["req"], codes=codes)

    def disconnect(self, c):
        self.client.disconnect()
        self.client.loop_stop()
        wire.done(c["req"])

    def kill(self, c):
        self.client.socket().shutdown(socket.SHUT_RDWR)
        wire.done(c["req"])


def main():
    connections = {}
    for line in sys.stdin:
        c = json.loads(line)
        try:
            if c["op"] == "connect":
                connections[c["conn"]] = Connection(c)
            else:
                getattr(connections[c["conn"]], c["op"])(c)
        except Exception as error:  # the driver decides what a failure means
            wire.done(c["req"], error=repr(error))


main()
