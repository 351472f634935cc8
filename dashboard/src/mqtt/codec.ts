/** MQTT 5 packets as bytes: those that a client writes, and those that it reads. OASIS MQTT 5.0, section by section. */

export type Qos = 0 | 1 | 2;

export interface PublishProperties {
  payloadFormat?: 0 | 1;
  expiry?: number;
  contentType?: string;
  responseTopic?: string;
  correlationData?: Uint8Array;
  userProperties?: [string, string][];
}

export interface Publication {
  topic: string;
  payload: Uint8Array;
  qos: Qos;
  retain: boolean;
  dup?: boolean;
  properties: PublishProperties;
}

export type Received =
  | { kind: "connack"; sessionPresent: boolean; reason: number; properties: Properties }
  | { kind: "publish"; id: number; message: Publication }
  | { kind: "puback" | "pubrec" | "pubrel" | "pubcomp"; id: number; reason: number; text?: string }
  | { kind: "suback" | "unsuback"; id: number; reasons: number[]; text?: string }
  | { kind: "pingresp" }
  | { kind: "disconnect"; reason: number; text?: string };

/** What the gateway did wrong. */
export class Malformed extends Error {}

/** By their identifiers (2.2.2.2). */
export type Properties = Map<number, number | string | Uint8Array | [string, string][]>;

type Shape = "byte" | "two" | "four" | "varint" | "text" | "bytes" | "pair";
const SHAPES: Record<number, Shape> = {
  0x01: "byte", 0x02: "four", 0x03: "text", 0x08: "text", 0x09: "bytes", 0x0b: "varint", 0x11: "four", 0x12: "text", 0x13: "two",
  0x15: "text", 0x16: "bytes", 0x17: "byte", 0x18: "four", 0x19: "byte", 0x1a: "text", 0x1c: "text", 0x1f: "text", 0x21: "two",
  0x22: "two", 0x23: "two", 0x24: "byte", 0x25: "byte", 0x26: "pair", 0x27: "four", 0x28: "byte", 0x29: "byte", 0x2a: "byte",
};
export const ID = { payloadFormat: 0x01, expiry: 0x02, contentType: 0x03, responseTopic: 0x08, correlationData: 0x09, clientId: 0x12, keepAlive: 0x13, reasonText: 0x1f, receiveMax: 0x21, userProperty: 0x26, packetMax: 0x27 };

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

class Writer {
  private readonly out: number[] = [];

  byte(value: number): this {
    this.out.push(value & 0xff);
    return this;
  }
  two(value: number): this {
    return this.byte(value >> 8).byte(value);
  }
  four(value: number): this {
    return this.two(value >>> 16).two(value & 0xffff);
  }
  varint(value: number): this {
    let rest = value;
    do {
      const low = rest % 128;
      rest = Math.floor(rest / 128);
      this.byte(rest > 0 ? low | 0x80 : low);
    } while (rest > 0);
    return this;
  }
  raw(bytes: Uint8Array): this {
    for (const byte of bytes) this.out.push(byte);
    return this;
  }
  bytes(bytes: Uint8Array): this {
    if (bytes.length > 0xffff) throw new RangeError("longer than 65,535 bytes");
    return this.two(bytes.length).raw(bytes);
  }
  text(text: string): this {
    return this.bytes(encoder.encode(text));
  }
  /** Behind their length. */
  properties(write: (into: Writer) => void): this {
    const inner = new Writer();
    write(inner);
    return this.varint(inner.out.length).raw(inner.take());
  }
  take(): Uint8Array<ArrayBuffer> {
    return Uint8Array.from(this.out);
  }
}

/** A payload is set in as it is: it is not gone through byte by byte. */
function packet(first: number, body: Writer, payload: Uint8Array = new Uint8Array()): Uint8Array<ArrayBuffer> {
  const head = body.take();
  const start = new Writer().byte(first).varint(head.length + payload.length).take();
  const whole = new Uint8Array(start.length + head.length + payload.length);
  whole.set(start, 0);
  whole.set(head, start.length);
  whole.set(payload, start.length + head.length);
  return whole;
}

export interface Connect {
  clientId: string;
  username?: string;
  password?: string;
  keepAliveSecs: number;
  receiveMax: number;
  packetBytesMax: number;
}

/** 3.1: always with a clean start; the session ends with the connection. */
export function connect(of: Connect): Uint8Array<ArrayBuffer> {
  const flags = 0x02 | (of.username !== undefined ? 0x80 : 0) | (of.password !== undefined ? 0x40 : 0);
  const body = new Writer().text("MQTT").byte(5).byte(flags).two(of.keepAliveSecs);
  body.properties((into) => into.byte(ID.receiveMax).two(of.receiveMax).byte(ID.packetMax).four(of.packetBytesMax));
  body.text(of.clientId);
  if (of.username !== undefined) body.text(of.username);
  if (of.password !== undefined) body.text(of.password);
  return packet(0x10, body);
}

/** 3.3 */
export function publish(id: number, message: Publication): Uint8Array<ArrayBuffer> {
  const { payloadFormat, expiry, contentType, responseTopic, correlationData, userProperties } = message.properties;
  const body = new Writer().text(message.topic);
  if (message.qos > 0) body.two(id);
  body.properties((into) => {
    if (payloadFormat) into.byte(ID.payloadFormat).byte(payloadFormat);
    if (expiry !== undefined) into.byte(ID.expiry).four(expiry);
    if (contentType) into.byte(ID.contentType).text(contentType);
    if (responseTopic) into.byte(ID.responseTopic).text(responseTopic);
    if (correlationData?.length) into.byte(ID.correlationData).bytes(correlationData);
    for (const [name, value] of userProperties ?? []) into.byte(ID.userProperty).text(name).text(value);
  });
  return packet(0x30 | (message.dup ? 8 : 0) | (message.qos << 1) | (message.retain ? 1 : 0), body, message.payload);
}

/** 3.4 to 3.7: PUBACK, PUBREC, PUBREL, PUBCOMP. */
export function acknowledge(kind: "puback" | "pubrec" | "pubrel" | "pubcomp", id: number, reason = 0): Uint8Array<ArrayBuffer> {
  const first = { puback: 0x40, pubrec: 0x50, pubrel: 0x62, pubcomp: 0x70 }[kind];
  const body = new Writer().two(id);
  if (reason !== 0) body.byte(reason);
  return packet(first, body);
}

export interface SubscribeOptions {
  qos: Qos;
  noLocal?: boolean;
  retainAsPublished?: boolean;
  retainHandling?: 0 | 1 | 2;
}

/** 3.8 */
export function subscribe(id: number, filter: string, options: SubscribeOptions): Uint8Array<ArrayBuffer> {
  const flags = options.qos | (options.noLocal ? 4 : 0) | (options.retainAsPublished ? 8 : 0) | ((options.retainHandling ?? 0) << 4);
  return packet(0x82, new Writer().two(id).varint(0).text(filter).byte(flags));
}

/** 3.10 */
export function unsubscribe(id: number, filter: string): Uint8Array<ArrayBuffer> {
  return packet(0xa2, new Writer().two(id).varint(0).text(filter));
}

export const pingreq = (): Uint8Array<ArrayBuffer> => Uint8Array.of(0xc0, 0);
export const disconnect = (): Uint8Array<ArrayBuffer> => Uint8Array.of(0xe0, 0);

class Reader {
  private at = 0;
  constructor(private readonly from: Uint8Array) {}

  get left(): number {
    return this.from.length - this.at;
  }
  raw(length: number): Uint8Array {
    if (length > this.left) throw new Malformed("a packet ends too early");
    this.at += length;
    return this.from.subarray(this.at - length, this.at);
  }
  byte(): number {
    return this.raw(1)[0] ?? 0;
  }
  two(): number {
    return this.byte() * 256 + this.byte();
  }
  four(): number {
    return this.two() * 65_536 + this.two();
  }
  varint(): number {
    let value = 0;
    for (let shift = 0; shift < 4; shift += 1) {
      const byte = this.byte();
      value += (byte & 0x7f) * 128 ** shift;
      if (byte < 0x80) return value;
    }
    throw new Malformed("a length has more than four bytes");
  }
  bytes(): Uint8Array {
    return this.raw(this.two());
  }
  text(): string {
    try {
      return decoder.decode(this.bytes());
    } catch (error) {
      throw error instanceof Malformed ? error : new Malformed("a text is no UTF-8");
    }
  }
  properties(): Properties {
    const inner = new Reader(this.raw(this.varint()));
    const all: Properties = new Map();
    while (inner.left > 0) {
      const id = inner.varint();
      const shape = SHAPES[id];
      if (!shape) throw new Malformed(`there is no property ${id}`);
      if (shape === "pair") {
        const pairs = (all.get(id) ?? []) as [string, string][];
        pairs.push([inner.text(), inner.text()]);
        all.set(id, pairs);
      } else all.set(id, inner[shape]());
    }
    return all;
  }
}

const ACKS = { 4: "puback", 5: "pubrec", 6: "pubrel", 7: "pubcomp" } as const;

function decode(first: number, body: Uint8Array): Received {
  const from = new Reader(body);
  const kind = first >> 4;
  const reasonText = (properties: Properties) => properties.get(ID.reasonText) as string | undefined;
  switch (kind) {
    case 2: {
      const sessionPresent = (from.byte() & 1) === 1;
      return { kind: "connack", sessionPresent, reason: from.byte(), properties: from.properties() };
    }
    case 3: {
      const qos = (first >> 1) & 3;
      if (qos === 3) throw new Malformed("there is no QoS 3");
      const topic = from.text();
      const id = qos > 0 ? from.two() : 0;
      const all = from.properties();
      const properties: PublishProperties = {
        payloadFormat: all.get(ID.payloadFormat) as 0 | 1 | undefined,
        expiry: all.get(ID.expiry) as number | undefined,
        contentType: all.get(ID.contentType) as string | undefined,
        responseTopic: all.get(ID.responseTopic) as string | undefined,
        correlationData: (all.get(ID.correlationData) as Uint8Array | undefined)?.slice(),
        userProperties: all.get(ID.userProperty) as [string, string][] | undefined,
      };
      // A copy: what a message keeps is its own bytes, not the whole of what came with it.
      const payload = from.raw(from.left).slice();
      return { kind: "publish", id, message: { topic, payload, qos: qos as Qos, retain: (first & 1) === 1, dup: (first & 8) === 8, properties } };
    }
    case 4:
    case 5:
    case 6:
    case 7: {
      const id = from.two();
      const reason = from.left > 0 ? from.byte() : 0;
      return { kind: ACKS[kind], id, reason, text: from.left > 0 ? reasonText(from.properties()) : undefined };
    }
    case 9:
    case 11: {
      const id = from.two();
      const text = reasonText(from.properties());
      return { kind: kind === 9 ? "suback" : "unsuback", id, reasons: Array.from(from.raw(from.left)), text };
    }
    case 13:
      return { kind: "pingresp" };
    case 14: {
      const reason = from.left > 0 ? from.byte() : 0;
      return { kind: "disconnect", reason, text: from.left > 0 ? reasonText(from.properties()) : undefined };
    }
    default:
      throw new Malformed(`packet type ${kind} is none that a client gets`);
  }
}

/** Packets out of bytes, however WebSocket frames cut them (6.0). */
export class Packets {
  private pieces: Uint8Array[] = [];
  private held = 0;

  constructor(private readonly bytesMax: number) {}

  *feed(bytes: Uint8Array): Generator<Received> {
    this.pieces.push(bytes);
    this.held += bytes.length;
    for (;;) {
      const head = this.front(5);
      const length = lengthOf(head);
      if (length === null) return;
      if (length.start + length.body > this.bytesMax) throw new Malformed("a packet is larger than was asked for");
      if (this.held < length.start + length.body) return;
      const whole = this.front(length.start + length.body, true);
      yield decode(head[0] ?? 0, whole.subarray(length.start));
    }
  }

  /** So many bytes from the front, or all that there are. */
  private front(count: number, take = false): Uint8Array {
    let first = this.pieces[0] ?? new Uint8Array();
    if (first.length < count && this.pieces.length > 1) {
      const joined = new Uint8Array(this.held);
      let at = 0;
      for (const piece of this.pieces) {
        joined.set(piece, at);
        at += piece.length;
      }
      first = joined;
      this.pieces = [joined];
    }
    const part = first.subarray(0, count);
    if (take) {
      this.pieces[0] = first.subarray(part.length);
      if (part.length === first.length) this.pieces.shift();
      this.held -= part.length;
    }
    return part;
  }
}

function lengthOf(head: Uint8Array): { start: number; body: number } | null {
  let body = 0;
  for (let at = 1; at < 5; at += 1) {
    const byte = head[at];
    if (byte === undefined) return null;
    body += (byte & 0x7f) * 128 ** (at - 1);
    if (byte < 0x80) return { start: at + 1, body };
  }
  throw new Malformed("a length has more than four bytes");
}
