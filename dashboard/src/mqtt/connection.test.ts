import { expect, test, vi } from "vitest";

import type { Listener } from "../api/types";

// The catalogue asks the browser for its language when it is loaded.
vi.stubGlobal("localStorage", { getItem: () => null, setItem: () => undefined });
vi.stubGlobal("sessionStorage", { getItem: () => null });
vi.stubGlobal("navigator", { language: "en" });
const { webSocketUrl } = await import("./connection");

const listener = (type: string, bind: string, running = true): Listener => ({
  id: `${type}:default`, type, name: "default", protocol: "mqtt", enable: true, bind, accepted: 0, refused: 0, status: { running, max_connections: "infinity", current_connections: 0 },
});

test("the listener is found that the browser lets the page use", () => {
  const all = [listener("tcp", ":1883"), listener("ws", "0.0.0.0:8083"), listener("wss", "[::]:8084")];
  expect(webSocketUrl(all, { protocol: "http:", hostname: "gw" })).toBe("ws://gw:8083/mqtt");
  expect(webSocketUrl(all, { protocol: "https:", hostname: "gw" })).toBe("wss://gw:8084/mqtt");
  expect(webSocketUrl([listener("ws", ":8083", false)], { protocol: "http:", hostname: "gw" })).toBeNull();
});
