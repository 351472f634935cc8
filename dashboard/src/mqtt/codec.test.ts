import { expect, test } from "vitest";

import { acknowledge, connect, Malformed, Packets, type Publication, publish, type Received, subscribe, unsubscribe } from "./codec";

const BYTES_MAX = 1 << 20;
const read = (...bytes: number[]): Received[] => [...new Packets(BYTES_MAX).feed(Uint8Array.from(bytes))];
const message = (more: Partial<Publication> = {}): Publication => ({ topic: "a/b", payload: new TextEncoder().encode("hi"), qos: 0, retain: false, properties: {}, ...more });

test("CONNECT is written as in 3.1", () => {
  const bytes = connect({ clientId: "c", username: "u", password: "p", keepAliveSecs: 30, receiveMax: 64, packetBytesMax: 1024 });
  expect([...bytes]).toEqual([0x10, 28, 0, 4, 0x4d, 0x51, 0x54, 0x54, 5, 0xc2, 0, 30, 8, 0x21, 0, 64, 0x27, 0, 0, 4, 0, 0, 1, 0x63, 0, 1, 0x75, 0, 1, 0x70]);
});

test("SUBSCRIBE and UNSUBSCRIBE carry filter and options", () => {
  expect([...subscribe(10, "a", { qos: 1, noLocal: true, retainHandling: 2 })]).toEqual([0x82, 7, 0, 10, 0, 0, 1, 0x61, 0x25]);
  expect([...unsubscribe(10, "a")]).toEqual([0xa2, 6, 0, 10, 0, 0, 1, 0x61]);
});

test("acknowledgements are short when all is well", () => {
  expect([...acknowledge("puback", 258)]).toEqual([0x40, 2, 1, 2]);
  expect([...acknowledge("pubrel", 1)]).toEqual([0x62, 2, 0, 1]);
  expect([...acknowledge("pubrec", 1, 0x97)]).toEqual([0x50, 3, 0, 1, 0x97]);
});

test("a publication is read as it was written", () => {
  const whole = message({
    qos: 2,
    retain: true,
    dup: true,
    payload: Uint8Array.from({ length: 300 }, (_, at) => at % 256),
    properties: { payloadFormat: 1, expiry: 4_000_000_000, contentType: "application/json", responseTopic: "r", correlationData: Uint8Array.of(1, 2), userProperties: [["k", "v"], ["k", "w"]] },
  });
  expect([...new Packets(BYTES_MAX).feed(publish(7, whole))]).toEqual([{ kind: "publish", id: 7, message: whole }]);
});

test("packets come out the same however they are cut", () => {
  const all = [publish(0, message()), Uint8Array.of(0xd0, 0), publish(9, message({ qos: 1, payload: new Uint8Array(200) })), acknowledge("pubcomp", 3)];
  const stream = Uint8Array.from(all.flatMap((one) => [...one]));
  const wanted = [...new Packets(BYTES_MAX).feed(stream)];
  expect(wanted.map((one) => one.kind)).toEqual(["publish", "pingresp", "publish", "pubcomp"]);
  for (let size = 1; size < 40; size += 1) {
    const packets = new Packets(BYTES_MAX);
    const told: Received[] = [];
    for (let at = 0; at < stream.length; at += size) told.push(...packets.feed(stream.slice(at, at + size)));
    expect(told, `pieces of ${size}`).toEqual(wanted);
  }
});

test("CONNACK, SUBACK and DISCONNECT tell their reasons", () => {
  expect(read(0x20, 3, 1, 0, 0)).toMatchObject([{ kind: "connack", sessionPresent: true, reason: 0 }]);
  expect(read(0x90, 4, 0, 1, 0, 0x87)).toMatchObject([{ kind: "suback", id: 1, reasons: [0x87] }]);
  expect(read(0xe0, 7, 0x98, 5, 0x1f, 0, 2, 0x68, 0x69)).toMatchObject([{ kind: "disconnect", reason: 0x98, text: "hi" }]);
  expect(read(0xe0, 0)).toMatchObject([{ kind: "disconnect", reason: 0 }]);
});

test("what is malformed is refused", () => {
  expect(() => read(0x36, 4, 0, 1, 0x61, 0)).toThrow(Malformed);
  expect(() => read(0x30, 3, 0, 9, 0x61)).toThrow("ends too early");
  expect(() => read(0x30, 0xff, 0xff, 0xff, 0xff)).toThrow("more than four bytes");
  expect(() => read(0x10, 0)).toThrow("none that a client gets");
  expect(() => read(0x20, 5, 0, 0, 2, 0x7e, 0)).toThrow("no property 126");
  expect(() => read(0x30, 5, 0, 2, 0xff, 0xfe, 0)).toThrow("no UTF-8");
  expect(() => [...new Packets(16).feed(Uint8Array.of(0x30, 100))]).toThrow("larger than");
});
