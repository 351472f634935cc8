import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { Client, type Options, type Socket } from "./client";
import { acknowledge, type Publication, publish } from "./codec";

class FakeSocket {
  sent: number[][] = [];
  binaryType: BinaryType = "blob";
  bufferedAmount = 0;
  isClosed = false;
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  onerror: (() => void) | null = null;

  send(bytes: Uint8Array): void {
    this.sent.push([...bytes]);
  }
  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.onclose?.({ code: 1000, reason: "" });
  }
  tell(...bytes: number[]): void {
    this.onmessage?.({ data: Uint8Array.from(bytes).buffer });
  }
  last(): number[] {
    return this.sent[this.sent.length - 1] ?? [];
  }
}

const CONNACK = [0x20, 3, 0, 0, 0];
const message = (qos: 0 | 1 | 2): Publication => ({ topic: "t", payload: Uint8Array.of(1), qos, retain: false, properties: {} });

function open(more: Partial<Options> = {}) {
  const socket = new FakeSocket();
  const got: Publication[] = [];
  const closed: string[] = [];
  const client = new Client({ url: "ws://x", clientId: "c", packetBytesMax: 1 << 20, onMessage: (one) => got.push(one), onClosed: (why) => closed.push(why), open: () => socket as unknown as Socket, ...more });
  const connected = client.connect();
  socket.onopen?.();
  return { socket, client, connected, got, closed };
}

async function opened(more: Partial<Options> = {}) {
  const all = open(more);
  all.socket.tell(...CONNACK);
  await all.connected;
  return all;
}

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

test("it connects when the gateway says so", async () => {
  const { socket } = await opened();
  expect(socket.sent[0]?.[0]).toBe(0x10);
});

test("a refusal is told by its name", async () => {
  const { socket, connected } = open();
  socket.tell(0x20, 3, 0, 0x86, 0);
  await expect(connected).rejects.toThrow("Bad user name or password (0x86)");
  expect(socket.isClosed).toBe(true);
});

test("a gateway that says nothing is not waited for longer than it may take", async () => {
  const { connected } = open();
  const told = expect(connected).rejects.toThrow("no answer to CONNECT");
  vi.advanceTimersByTime(10_000);
  await told;
});

test("publications are done when they are acknowledged", async () => {
  const { socket, client } = await opened();
  await expect(client.publish(message(0))).resolves.toBe(0);
  const one = client.publish(message(1));
  socket.tell(0x40, 3, 0, 1, 0x10);
  await expect(one).resolves.toBe(0x10);
  const two = client.publish(message(2));
  socket.tell(0x50, 2, 0, 2);
  expect(socket.last()).toEqual([0x62, 2, 0, 2]);
  socket.tell(0x70, 2, 0, 2);
  await expect(two).resolves.toBe(0);
  const refused = client.publish(message(2));
  socket.tell(0x50, 3, 0, 3, 0x87);
  await expect(refused).rejects.toThrow("Not authorized");
});

test("subscriptions are granted or refused", async () => {
  const { socket, client } = await opened();
  const granted = client.subscribe("a/#", { qos: 2 });
  socket.tell(0x90, 4, 0, 1, 0, 1);
  await expect(granted).resolves.toBe(1);
  const refused = client.subscribe("a/#/b", { qos: 0 });
  socket.tell(0x90, 4, 0, 2, 0, 0x8f);
  await expect(refused).rejects.toThrow("Topic filter invalid");
});

test("messages are acknowledged as their QoS asks, and QoS 2 comes once", async () => {
  const { socket, got } = await opened();
  socket.tell(...publish(0, message(0)));
  socket.tell(...publish(5, message(1)));
  expect(socket.last()).toEqual([...acknowledge("puback", 5)]);
  socket.tell(...publish(6, message(2)));
  socket.tell(...publish(6, { ...message(2), dup: true }));
  expect(socket.last()).toEqual([...acknowledge("pubrec", 6)]);
  expect(got).toHaveLength(3);
  socket.tell(0x62, 2, 0, 6);
  expect(socket.last()).toEqual([...acknowledge("pubcomp", 6)]);
  socket.tell(...publish(6, message(2)));
  expect(got).toHaveLength(4);
});

test("it shows that it is there, and notices when the gateway does not", async () => {
  const { socket, closed } = await opened({ keepAliveSecs: 30 });
  vi.advanceTimersByTime(15_000);
  expect(socket.last()).toEqual([0xc0, 0]);
  socket.tell(0xd0, 0);
  vi.advanceTimersByTime(15_000);
  expect(socket.isClosed).toBe(false);
  vi.advanceTimersByTime(45_000);
  expect(closed).toEqual(["no answer to PINGREQ"]);
});

test("what waits is told when the connection ends", async () => {
  const { socket, client, closed } = await opened();
  const waiting = client.publish(message(1));
  socket.tell(0xe0, 1, 0x98);
  await expect(waiting).rejects.toThrow("Administrative action");
  expect(closed).toEqual(["Administrative action (0x98)"]);
  await expect(client.publish(message(1))).rejects.toThrow("not connected");
});

test("no more waits than may, and none has another's identifier", async () => {
  const { socket, client } = await opened();
  const all = Array.from({ length: 200 }, () => client.publish(message(1)));
  await expect(client.publish(message(1))).rejects.toThrow("too many");
  const ids = new Set(socket.sent.slice(1).map((bytes) => `${bytes[5]} ${bytes[6]}`));
  expect(ids.size).toBe(200);
  client.close();
  await Promise.allSettled(all);
});

test("what no gateway may send ends the connection", async () => {
  const { socket, closed } = await opened();
  socket.tell(...CONNACK);
  expect(closed).toEqual(["a second CONNACK came"]);
  const other = await opened();
  other.socket.onmessage?.({ data: "text" });
  expect(other.closed).toEqual(["a frame of text came"]);
});
