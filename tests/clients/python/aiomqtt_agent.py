"""aiomqtt: commands come on standard input, reports go to standard output, one JSON object a line."""

import asyncio
import json
import sys

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

import wire

VERSIONS = {3: aiomqtt.ProtocolVersion.V31, 4: aiomqtt.ProtocolVersion.V311, 5: aiomqtt.ProtocolVersion.V5}
TRANSPORTS = {"tcp": "tcp", "quic": "tcp", "tls": "tcp", "ws": "websockets", "wss": "websockets", "unix": "unix"}


class Connection:
    def __init__(self, c):
        self.conn = c["conn"]
        self.version = c["version"]
        options = {}
        if c["transport"] in ("tls", "wss"):
            options["tls_params"] = aiomqtt.TLSParameters(ca_certs=c["ca"])
        if c["transport"] in ("ws", "wss"):
            options["websocket_path"] = c["path"]
        if self.version == 5:
            options["clean_start"] = c["clean"]
            options["properties"] = wire.connect_properties(c)
        else:
            options["clean_session"] = c["clean"]
        if c["will"] is not None:
            will = c["will"]
            options["will"] = aiomqtt.Will(will["topic"], bytes.fromhex(will["payload"]), will["qos"], will["retain"])
        self.client = aiomqtt.Client(
            c["path"] if c["transport"] == "unix" else c["host"],
            1 if c["transport"] == "unix" else c["port"],
            identifier=c["clientId"],
            username=c["username"],
            password=c["password"],
            protocol=VERSIONS[self.version],
            transport=TRANSPORTS[c["transport"]],
            keepalive=c["keepAlive"],
            **options,
        )

    async def connect(self, c):
        await self.client.__aenter__()
        self.reader = asyncio.create_task(self.read())
        wire.done(c["req"])

    async def read(self):
        try:
            async for m in self.client.messages:
                wire.message(self.conn, m)
        except aiomqtt.MqttError as error:
            code = getattr(error.__cause__ or error, "rc", None)
            wire.report("closed", conn=self.conn, code=getattr(code, "value", None))

    async def subscribe(self, c):
        arguments = {"qos": c["qos"]}
        if self.version == 5:
            options = SubscribeOptions(c["qos"], c["noLocal"], c["retainAsPublished"], c["retainHandling"])
            arguments = {"options": options}
            if c["subscriptionId"] is not None:
                arguments["properties"] = Properties(PacketTypes.SUBSCRIBE)
                arguments["properties"].SubscriptionIdentifier = c["subscriptionId"]
        codes = await self.client.subscribe(c["filter"], **arguments)
        wire.done(c["req"], codes=[code if isinstance(code, int) else code.value for code in codes])

    async def unsubscribe(self, c):
        await self.client.unsubscribe(c["filter"])
        wire.done(c["req"])

    async def publish(self, c):
        properties = wire.publish_properties(c["properties"]) if self.version == 5 else None
        payload = bytes.fromhex(c["payload"])
        await self.client.publish(c["topic"], payload, c["qos"], c["retain"], properties=properties)
        wire.done(c["req"], codes=[0])

    async def disconnect(self, c):
        self.reader.cancel()
        await self.client.__aexit__(None, None, None)
        wire.report("closed", conn=self.conn, code=None)
        wire.done(c["req"])


async def run(connections, c):
    try:
        if c["op"] == "connect":
            connections[c["conn"]] = Connection(c)
        await getattr(connections[c["conn"]], c["op"])(c)
    except Exception as error:  # the driver decides what a failure means
        wire.done(c["req"], error=repr(error))


async def main():
    connections = {}
    tasks = set()
    reader = asyncio.StreamReader(limit=16 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        task = asyncio.create_task(run(connections, json.loads(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


asyncio.run(main())
