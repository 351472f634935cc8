import { acknowledge, connect, disconnect, ID, Malformed, Packets, type Publication, pingreq, publish, type Received, subscribe, type SubscribeOptions, unsubscribe } from "./codec";
import { reasonName } from "./reasons";

/** What of a WebSocket is needed. */
export type Socket = Pick<WebSocket, "send" | "close" | "binaryType" | "bufferedAmount"> & {
  onopen: (() => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
  onerror: (() => void) | null;
};

export interface Options {
  url: string;
  clientId: string;
  username?: string;
  password?: string;
  /** Larger packets the gateway is asked not to send. */
  packetBytesMax: number;
  keepAliveSecs?: number;
  onMessage: (message: Publication) => void;
  /** The connection has ended, for a reason that is for people. Called once, when it was open. */
  onClosed: (why: string) => void;
  open?: (url: string) => Socket;
}

const KEEP_ALIVE_SECS = 30;
const CONNECT_MAX_MS = 10_000;
/** Messages from the gateway that may be on their way unacknowledged. */
const RECEIVE_MAX = 64;
/** Own packets that may wait for an answer. */
const WAITING_MAX = 200;
/** Bytes that the browser may hold for the network. */
const BUFFERED_BYTES_MAX = 8 * 1024 * 1024;

/** What was asked for was refused, or cannot be sent. */
export class Refused extends Error {}

interface Waiting {
  /** Which packet answers; a QoS 2 publication waits for PUBREC and then for PUBCOMP. */
  kind: Received["kind"];
  resolve: (reason: number) => void;
  reject: (error: Error) => void;
}

/** A small client of MQTT 5 over WebSocket: one clean session, any QoS. It does not connect anew by itself. */
export class Client {
  private socket: Socket | null = null;
  private readonly waiting = new Map<number, Waiting>();
  /** QoS 2 messages that were handed on, until they are released (4.3.3). */
  private readonly unreleased = new Set<number>();
  private nextId = 1;
  private pinger: ReturnType<typeof setInterval> | undefined;
  private unanswered = 0;
  private isOpen = false;
  private why: string | null = null;
  /** Told by the gateway where none was given. */
  clientId: string;

  constructor(private readonly options: Options) {
    this.clientId = options.clientId;
  }

  /** Connects. It is rejected with what the gateway or the network said. */
  connect(): Promise<void> {
    const { open = (url: string) => new WebSocket(url, "mqtt") as Socket, url, packetBytesMax } = this.options;
    return new Promise((resolve, reject) => {
      let socket: Socket;
      try {
        socket = open(url);
      } catch (error) {
        reject(new Refused(error instanceof Error ? error.message : String(error)));
        return;
      }
      const packets = new Packets(packetBytesMax);
      const timer = setTimeout(() => this.end("no answer to CONNECT"), CONNECT_MAX_MS);
      this.socket = socket;
      socket.binaryType = "arraybuffer";
      socket.onopen = () => {
        const { username, password, keepAliveSecs = KEEP_ALIVE_SECS } = this.options;
        socket.send(connect({ clientId: this.options.clientId, username, password, keepAliveSecs, receiveMax: RECEIVE_MAX, packetBytesMax }));
      };
      socket.onmessage = ({ data }) => {
        // What comes behind the end is not looked at.
        if (this.why !== null) return;
        if (!(data instanceof ArrayBuffer)) return this.end("a frame of text came");
        try {
          for (const packet of packets.feed(new Uint8Array(data))) {
            if (this.why !== null) return;
            if (packet.kind === "connack" && !this.isOpen) {
              clearTimeout(timer);
              if (packet.reason !== 0) return this.end(reasonName(packet.reason));
              this.opened(packet.properties.get(ID.keepAlive) as number | undefined, packet.properties.get(ID.clientId) as string | undefined);
              resolve();
            } else if (this.isOpen) this.take(packet);
            else return this.end("the first packet is not CONNACK");
          }
        } catch (error) {
          this.end(error instanceof Malformed ? error.message : String(error));
        }
      };
      socket.onerror = () => undefined;
      socket.onclose = ({ code, reason }) => {
        clearTimeout(timer);
        const wasOpen = this.isOpen;
        const why = this.why ?? (reason || (wasOpen ? `the connection was lost (${code})` : `no connection to ${url} (${code})`));
        this.settle(why);
        if (wasOpen) this.options.onClosed(why);
        else reject(new Refused(why));
      };
    });
  }

  subscribe(filter: string, options: SubscribeOptions): Promise<number> {
    return this.ask("suback", (id) => subscribe(id, filter, options));
  }

  unsubscribe(filter: string): Promise<number> {
    return this.ask("unsuback", (id) => unsubscribe(id, filter));
  }

  /** With QoS 0 it is done when it is sent, else when it is acknowledged. */
  async publish(message: Publication): Promise<number> {
    if (message.qos > 0) return this.ask(message.qos === 1 ? "puback" : "pubrec", (id) => publish(id, message));
    this.send(publish(0, message));
    return 0;
  }

  close(): void {
    if (this.isOpen) this.socket?.send(disconnect());
    this.end("");
  }

  private opened(keepAliveSecs: number | undefined, assigned: string | undefined): void {
    this.isOpen = true;
    if (assigned) this.clientId = assigned;
    const secs = keepAliveSecs ?? this.options.keepAliveSecs ?? KEEP_ALIVE_SECS;
    if (secs === 0) return;
    this.pinger = setInterval(() => {
      if (this.unanswered > 1) return this.end("no answer to PINGREQ");
      this.unanswered += 1;
      this.socket?.send(pingreq());
    }, secs * 500);
  }

  private take(packet: Received): void {
    switch (packet.kind) {
      case "publish": {
        const { id, message } = packet;
        if (message.qos === 2) {
          if (!this.unreleased.has(id)) this.options.onMessage(message);
          this.unreleased.add(id);
          if (this.unreleased.size > RECEIVE_MAX) return this.end(reasonName(0x93));
          this.send(acknowledge("pubrec", id));
          return;
        }
        this.options.onMessage(message);
        if (message.qos === 1) this.send(acknowledge("puback", id));
        return;
      }
      case "pubrel":
        this.unreleased.delete(packet.id);
        this.send(acknowledge("pubcomp", packet.id));
        return;
      case "pubrec": {
        const waiting = this.waiting.get(packet.id);
        if (waiting?.kind !== "pubrec") return;
        if (packet.reason >= 0x80) return this.answer("pubrec", packet.id, packet.reason);
        waiting.kind = "pubcomp";
        this.send(acknowledge("pubrel", packet.id));
        return;
      }
      case "puback":
      case "pubcomp":
        return this.answer(packet.kind, packet.id, packet.reason, packet.text);
      case "suback":
      case "unsuback":
        return this.answer(packet.kind, packet.id, packet.reasons[0] ?? 0x80, packet.text);
      case "pingresp":
        this.unanswered = 0;
        return;
      case "disconnect":
        return this.end(packet.text ?? reasonName(packet.reason));
      case "connack":
        return this.end("a second CONNACK came");
    }
  }

  private answer(kind: Received["kind"], id: number, reason: number, text?: string): void {
    const waiting = this.waiting.get(id);
    if (waiting?.kind !== kind) return;
    this.waiting.delete(id);
    if (reason >= 0x80) waiting.reject(new Refused(text ? `${reasonName(reason)}: ${text}` : reasonName(reason)));
    else waiting.resolve(reason);
  }

  private ask(kind: Received["kind"], make: (id: number) => Uint8Array<ArrayBuffer>): Promise<number> {
    return new Promise((resolve, reject) => {
      if (this.waiting.size >= WAITING_MAX) throw new Refused("too many packets wait for an answer");
      while (this.waiting.has(this.nextId)) this.nextId = (this.nextId % 0xffff) + 1;
      const id = this.nextId;
      this.nextId = (id % 0xffff) + 1;
      this.send(make(id));
      this.waiting.set(id, { kind, resolve, reject });
    });
  }

  private send(bytes: Uint8Array<ArrayBuffer>): void {
    if (!this.socket || !this.isOpen) throw new Refused("not connected");
    if (this.socket.bufferedAmount > BUFFERED_BYTES_MAX) throw new Refused("the network is too slow for what is sent");
    this.socket.send(bytes);
  }

  private end(why: string): void {
    this.why ??= why;
    this.socket?.close();
  }

  private settle(why: string): void {
    this.isOpen = false;
    clearInterval(this.pinger);
    for (const waiting of this.waiting.values()) waiting.reject(new Refused(why || "the connection was closed"));
    this.waiting.clear();
    this.unreleased.clear();
  }
}
