import { expect, test } from "vitest";

import type { Listener } from "../api/types";
import { portOf, urlOf } from "./address";

const listener = (type: string, more: Partial<Listener> = {}): Listener => ({
  id: `${type}:default`, type, name: "default", protocol: "mqtt", enable: true, bind: "0.0.0.0:1883", accepted: 0, refused: 0,
  status: { running: true, max_connections: "infinity", current_connections: 0 }, ...more,
});

test("the port of what a listener is bound to", () => {
  for (const [bind, port] of [[":1883", "1883"], ["0.0.0.0:8083", "8083"], ["[::1]:1", "1"], ["/run/mqtt.sock", null]] as const) expect(portOf(bind)).toBe(port);
});

test("clients are told where to connect", () => {
  expect(urlOf(listener("tcp"), "gw")).toBe("mqtt://gw:1883");
  expect(urlOf(listener("ws", { path: "/mqtt", bind: ":8083" }), "gw")).toBe("ws://gw:8083/mqtt");
  expect(urlOf(listener("udp", { protocol: "mqtt-sn", bind: ":1884" }), "gw")).toBe("mqtt-sn://gw:1884");
  expect(urlOf(listener("udp", { protocol: "coap", bind: ":5683" }), "gw")).toBe("coap://gw:5683");
});

test("but not to what does not run, or has no port", () => {
  expect(urlOf(listener("tcp", { running: false }), "gw")).toBeNull();
  expect(urlOf(listener("unix", { bind: "/run/mqtt.sock" }), "gw")).toBeNull();
});
