import { expect, test, vi } from "vitest";

import type { Listener } from "../api/types";

// The catalogue asks the browser for its language when it is loaded.
vi.stubGlobal("localStorage", { getItem: () => null, setItem: () => undefined });
vi.stubGlobal("sessionStorage", { getItem: () => null });
vi.stubGlobal("navigator", { language: "en" });
const { dropsBetween, problems } = await import("./problems");

const NOW = Date.parse("2026-06-01T00:00:00Z");
const listener = (more: Partial<Listener>): Listener => ({
  id: "tcp:default", type: "tcp", name: "default", protocol: "mqtt", enable: true, running: true, bind: ":1883", accepted: 0, refused: 0,
  status: { running: true, max_connections: "infinity", current_connections: 9 }, ...more,
});
const texts = (one: Listener) => problems([one], [], {}, NOW).map((problem) => problem.text);
const certificate = (not_after: string) => ({ subject: "CN=gw", issuer: "CN=ca", not_after, names: [] });

test("a gateway that is well has no problems", () => {
  expect(texts(listener({ certificate: certificate("2026-12-01T00:00:00Z") }))).toEqual([]);
  expect(texts(listener({ enable: false, running: false }))).toEqual([]);
});

test("listeners that are down or full, and certificates that end, are problems", () => {
  expect(texts(listener({ running: false }))).toEqual(["The listener tcp:default is stopped"]);
  expect(texts(listener({ status: { running: true, max_connections: 9, current_connections: 9 } }))[0]).toContain("as many connections as it may");
  expect(texts(listener({ certificate: certificate("2026-06-10T00:00:00Z") }))[0]).toContain("ends");
  expect(texts(listener({ certificate: certificate("2026-05-10T00:00:00Z") }))[0]).toContain("ended");
});

test("what was dropped is told by its reason, and what nobody wanted is not", () => {
  const before = { "delivery.dropped.queue_full": 5, "messages.dropped.no_subscribers": 1, "delivery.dropped.expired": 4 };
  const drops = dropsBetween(before, { ...before, "delivery.dropped.queue_full": 8, "messages.dropped.no_subscribers": 100, "delivery.dropped.expired": 0 });
  expect(drops).toEqual({ "delivery.dropped.queue_full": 3 });
  expect(problems([], [], drops, NOW)[0]?.text).toContain("3 messages were dropped");
});
