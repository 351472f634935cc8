import { expect, test } from "vitest";

import english from "./english.json";
import { translated } from "./value";
import { doc, docs, expected, keysOf } from "./zh";

/** What is written the same in every language: values, names and placeholders. */
function literals(text: string): string[] {
  return (text.match(/"[^"]*"|`[^`]*`|\$\{[^}]*\}|\{ [^}]* \}/g) ?? []).sort();
}

test("what was translated is what english.json has", () => {
  expect(Object.keys(docs).sort()).toEqual(Object.keys(english).sort());
});

test("a translation is Chinese, and keeps the values that may be written", () => {
  for (const [key, text] of Object.entries(docs)) {
    expect(text, key).toMatch(/[\u4e00-\u9fff]/);
    const kept = new Set(literals(text));
    const missing = literals((english as Record<string, string>)[key] ?? "").filter((literal) => !kept.has(literal));
    expect(missing, key).toEqual([]);
  }
});

test("alike settings share a translation, and what a listener overrides has that of what it overrides", () => {
  expect(doc("listeners.quic.{name}.max_connections")).toBe(docs["listeners.*.{name}.max_connections"]);
  expect(doc("listeners.tcp.{name}.total_rate.bytes")).toBe(docs["listeners.*.{name}.*.bytes"]);
  expect(doc("listeners.udp.{name}.mqtt.max_qos")).toBe(docs["mqtt.max_qos"]);
  expect(doc("access.mysql.{name}.server")).toBe(docs["access.*.{name}.server"]);
  expect(doc("access.redis.{name}.server")).toBe(docs["access.redis.{name}.server"]);
  expect(doc("mqtt.nothing_of_that_name")).toBeUndefined();
  expect(keysOf("mqtt.max_qos")).toContain("mqtt.max_qos");
});

test("what may be written is told in Chinese", () => {
  expect(expected("a whole number from 0 to 65535")).toBe("整数，0 到 65535");
  expect(expected('a number of bytes such as "64KiB" or "1MiB", or "infinity"')).toBe('字节数，例如 "64KiB" 或 "1MiB"，或 "infinity"');
  expect(expected('one of "qos", "con", "non"')).toBe('取值 "qos", "con", "non"');
});

test("a setting without a translation stays as it is", () => {
  const section = { path: "mqtt", doc: "What MQTT clients may do.", keys: [{ name: "new", path: "mqtt.new", doc: "New.", expected: "a whole number", kind: "number" }] };
  const [told] = translated([section], { doc, expected });
  expect([told?.doc, told?.keys[0]?.doc, told?.keys[0]?.expected]).toEqual([docs.mqtt, "New.", "整数"]);
});
