import { expect, test } from "vitest";

import { Parser } from "./sse";

test("events are the same however their bytes are cut", () => {
  const text = ": welcome\r\n\r\nevent: monitor\r\ndata: {\"a\":1}\r\n\r\nevent:client\ndata: one\ndata:two\nid: 7\n\ndata: plain\n\n";
  const wanted = [
    { name: "monitor", data: '{"a":1}' },
    { name: "client", data: "one\ntwo" },
    { name: "message", data: "plain" },
  ];
  expect(new Parser().feed(text)).toEqual(wanted);
  for (let size = 1; size < 20; size += 1) {
    const parser = new Parser();
    const events = [];
    for (let at = 0; at < text.length; at += size) events.push(...parser.feed(text.slice(at, at + size)));
    expect(events, `pieces of ${size}`).toEqual(wanted);
  }
});

test("an event that is not whole is not told", () => {
  expect(new Parser().feed("event: monitor\ndata: {}\n")).toEqual([]);
});

test("a line without an end is an error, and not memory", () => {
  const parser = new Parser();
  expect(() => {
    for (let at = 0; at < 100; at += 1) parser.feed("x".repeat(100_000));
  }).toThrow("too long");
});
