import type { Listener } from "../api/types";

/** The port of an address such as `127.0.0.1:1883`. */
export function portOf(bind: string): string | null {
  return /:(\d+)$/.exec(bind)?.[1] ?? null;
}

const SCHEMES: Record<string, string> = { tcp: "mqtt", tls: "mqtts", ws: "ws", wss: "wss", quic: "quic" };

/** Where clients of a listener connect, as they write it. */
export function urlOf(listener: Listener, host: string): string | null {
  const { type, protocol, bind, path } = listener;
  const port = portOf(bind);
  const scheme = type === "udp" ? protocol : SCHEMES[type];
  if (!(listener.running ?? listener.status.running) || !scheme || !port) return null;
  return `${scheme}://${host}:${port}${path ?? ""}`;
}
