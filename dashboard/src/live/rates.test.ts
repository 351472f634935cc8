import { expect, test } from "vitest";

import type { Sample } from "../api/types";
import { ratesOf } from "./rates";

const sample = (secs: number, received: number): Sample => ({
  time_stamp: secs * 1000, received, sent: 0, dropped: 0, connections: 2, live_connections: 1, subscriptions: 0, retained: 0, memory_used: 5, received_bytes: 0, sent_bytes: 0,
});

test("counts of an interval become rates, in the order of time", () => {
  const { messages, connections } = ratesOf([sample(20, 300), sample(10, 100), sample(30, 0)]);
  expect(messages[0]).toEqual([10, 20, 30]);
  expect(messages[1]).toEqual([10, 30, 0]);
  expect(connections[1]).toEqual([1, 1, 1]);
});

test("a gap is not taken for an interval", () => {
  const { messages } = ratesOf([sample(10, 100), sample(20, 100), sample(30, 100), sample(3600, 200)]);
  expect(messages[1]?.[3]).toBe(10);
});

test("nothing gives nothing", () => {
  expect(ratesOf([]).messages[0]).toEqual([]);
});
