import { expect, test } from "vitest";

import { type Described, matches, parsed, rowsOf, type Setting, written } from "./value";

const described = (kind: string, path = "mqtt.a"): Described => ({ name: "a", path, doc: "", expected: "", kind });

test("names that operators choose stand for one part of a path", () => {
  expect(matches("listeners.tcp.{name}.bind", "listeners.tcp.default.bind")).toBe(true);
  expect(matches("listeners.tcp.{name}.bind", "listeners.tcp.default.tls.bind")).toBe(false);
  expect(matches("listeners.tcp.{name}.bind", "listeners.tls.default.bind")).toBe(false);
});

test("every named thing is a section of its own", () => {
  const setting: Setting = { value: 1, source: "default", settable: true, pending: false };
  const keys = [described("number", "l.{name}.a"), described("number", "l.{name}.b")];
  const rows = rowsOf([{ path: "l", doc: "", keys }], { "l.x.a": setting, "l.y.a": setting, "l.x.b": setting, "l.y.b": setting });
  expect([...rows].map(([section, its]) => [section, its.map((row) => row.path)])).toEqual([
    ["l.x", ["l.x.a", "l.x.b"]],
    ["l.y", ["l.y.a", "l.y.b"]],
  ]);
});

test("what is written is read as it was", () => {
  for (const [kind, value] of [
    ["number", 7],
    ["text", "1h"],
    ["list", ["a", "b"]],
    ["list", []],
    ["list", [{ path: "acl.conf" }]],
    ["text", 12],
  ] as const) {
    expect(parsed(described(kind), value, written(described(kind), value))).toEqual({ value });
  }
});

test("what cannot be read says why", () => {
  expect(parsed(described("number"), 1, "x")).toEqual({ wrong: "settings.not_number" });
  expect(parsed(described("number"), 1, "")).toEqual({ wrong: "settings.not_number" });
  expect(parsed(described("list"), [{}], "[{")).toEqual({ wrong: "settings.not_json" });
  expect(parsed(described("secrets"), "***", '{"a": "b"}')).toEqual({ value: { a: "b" } });
  expect(parsed(described("secrets"), "***", "a=b")).toEqual({ wrong: "settings.not_json" });
  expect(parsed(described("text"), 12, "infinity")).toEqual({ value: "infinity" });
});
