"""mqttsn, the Python client of Eclipse's RSMB: commands come on standard input, reports go to standard output, one JSON object a line.

Where version 0.0.4 does not do what it says, the agent does it with the library's own packets. docs/testing.md says where.
"""

import json
import os
import socket
import sys
import threading
from types import SimpleNamespace

import wire

# The library prints what it sends.
sys.stdout = open(os.devnull, "w")

import mqttsn.client as library
from mqttsn import internal
from mqttsn.lib.connects import Connacks
from mqttsn.lib.names import UNSUBACK
from mqttsn.lib.unsubscribes import Unsubscribes

# It waits for CONNACK for ever otherwise; its receiver goes on after a time-out.
socket.setdefaulttimeout(3)

_process_puback = internal.Receivers._process_puback


def process_puback(self, packet, callback, *rest):
    # Otherwise its return code is not told to anybody.
    callback.codes[packet.msg_id] = packet.return_code
    _process_puback(self, packet, callback, *rest)


internal.Receivers._process_puback = process_puback


class Callback(library.Callback):
    def __init__(self, conn):
        super().__init__()
        self.conn = conn
        self.codes = {}
        self.lock = threading.Lock()
        self.pending = {}
        self.early = set()

    def message_arrived(self, topic_name, payload, qos, retained, msgid):
        # Of a topic id the library tells nothing: the name is empty then.
        topic = topic_name if isinstance(topic_name, str) else topic_name.decode()
        wire.message(self.conn, SimpleNamespace(topic=topic, payload=payload, qos=qos, retain=retained))
        return True

    def published(self, msgid):
        with self.lock:
            req = self.pending.pop(msgid, None)
            if req is None:
                self.early.add(msgid)
                return
        wire.done(req, codes=[self.codes.get(msgid, 0)])


class Connection:
    def __init__(self, c):
        self.callback = Callback(c["conn"])
        # Its CONNECT takes bytes alone.
        self.client = library.Client(c["clientId"].encode(), host=c["host"], port=c["port"])
        self.client.register_callback(self.callback)
        code = None
        unpack = library.unpack_packet

        def unpack_and_note(*arguments):
            nonlocal code
            packet, address = unpack(*arguments)
            if isinstance(packet, Connacks):
                code = packet.return_code
            return packet, address

        library.unpack_packet = unpack_and_note
        try:
            self.client.connect(clean_session=c["clean"])
        finally:
            library.unpack_packet = unpack
        if code == 0:
            wire.done(c["req"])
        else:
            wire.done(c["req"], error=f"CONNACK {code}", codes=[code])

    def subscribe(self, c):
        code, _topic_id = self.client.subscribe(c["filter"], c["qos"])
        wire.done(c["req"], codes=[code])

    def unsubscribe(self, c):
        # Its unsubscribe() leaves the topic name out.
        unsubscribe = Unsubscribes()
        unsubscribe.topic_name = c["filter"]
        unsubscribe.msg_id = 60_000
        receiver = self.client._Client__receiver
        receiver.lookfor(UNSUBACK)
        self.client.sock.send(unsubscribe.pack())
        answered = self.client.waitfor(UNSUBACK, unsubscribe.msg_id) is not None
        wire.done(c["req"], error=None if answered else "no UNSUBACK")

    def publish(self, c):
        payload = bytes.fromhex(c["payload"])
        if c["qos"] == 255:
            library.publish(c["topic"], payload, c["retain"], self.client.port_, self.client.host_)
            wire.done(c["req"], codes=[0])
            return
        topic = c["topic"] if len(c["topic"]) == 2 else self.client.register(c["topic"].encode())
        msgid = self.client.publish(topic, payload, c["qos"], c["retain"])
        with self.callback.lock:
            if msgid != 0 and msgid not in self.callback.early:
                self.callback.pending[msgid] = c["req"]
                return
            self.callback.early.discard(msgid)
        wire.done(c["req"], codes=[self.callback.codes.get(msgid, 0)])

    def disconnect(self, c):
        # Its DISCONNECT without a duration cannot be packed: two bytes are too few for it.
        self.client.sock.send(b"\x02\x18")
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
