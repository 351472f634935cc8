import { expect, test, vi } from "vitest";

// The catalogue asks the browser for its language when it is loaded.
vi.stubGlobal("localStorage", { getItem: () => null, setItem: () => undefined });
vi.stubGlobal("navigator", { language: "en" });
const { clock, localTime, moment, NOTHING, protocolName } = await import("./format");

test("what is of today is told by its time alone", () => {
  const now = Date.now();
  expect(moment(now)).toBe(clock(now));
  expect(moment("2020-03-01T12:00:00Z")).toContain("2020");
  expect(moment(null)).toBe(NOTHING);
  expect(moment("infinity")).toBe("infinity");
});

test("a time is filled in as it is here, and read as the same time", () => {
  const secs = 4_102_444_800;
  expect(new Date(localTime(secs)).getTime() / 1000).toBe(secs);
  expect(localTime(null)).toBe("");
});

test("protocols are written as people write them", () => {
  expect(["COAP", "mqtt-sn", "MQTT", "stomp"].map(protocolName)).toEqual(["CoAP", "MQTT-SN", "MQTT", "stomp"]);
});
