"""aiocoap: requests come on standard input, responses and notifications go to standard output, one JSON object a line.

A request has req, method, uri, payload (hexadecimal), and where they are wanted format, confirmable and observe. A response has the
request's req, its code, payload and options; so have notifications, which say so.
"""

import asyncio
import json
import sys

import aiocoap

# aiocoap warns there.
_output = sys.stdout
sys.stdout = sys.stderr


def report(req, message, notification=False):
    options = message.opt
    line = {
        "req": req,
        "code": message.code.dotted,
        "payload": message.payload.hex(),
        "format": None if options.content_format is None else int(options.content_format),
        "maxAge": options.max_age,
        "etag": None if options.etag is None else options.etag.hex(),
        "notification": notification,
    }
    _output.write(json.dumps(line) + "\n")
    _output.flush()


async def run(context, observed, c):
    if c["method"] == "cancel":
        observed.pop(c["uri"]).observation.cancel()
        return
    confirmable = aiocoap.Reliable if c["confirmable"] else aiocoap.Unreliable
    message = aiocoap.Message(
        code=getattr(aiocoap, c["method"].upper()),
        uri=c["uri"],
        payload=bytes.fromhex(c["payload"]),
        transport_tuning=confirmable,
    )
    if c["format"] is not None:
        message.opt.content_format = c["format"]
    if c["etag"] is not None:
        message.opt.etags = [bytes.fromhex(c["etag"])]
    if c["observe"]:
        message.opt.observe = 0
    request = context.request(message)
    report(c["req"], await request.response)
    if c["observe"]:
        observed[c["uri"]] = request
        async for notification in request.observation:
            report(c["req"], notification, True)


async def main():
    context = await aiocoap.Context.create_client_context()
    observed = {}
    tasks = set()
    reader = asyncio.StreamReader(limit=16 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        task = asyncio.create_task(run(context, observed, json.loads(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await context.shutdown()


asyncio.run(main())
