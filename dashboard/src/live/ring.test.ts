import { expect, test } from "vitest";

import { Ring } from "./ring";

test("a ring keeps the newest rows, oldest first", () => {
  const ring = new Ring(2, 3);
  expect(Array.from(ring.column(0))).toEqual([]);
  for (let at = 1; at <= 5; at += 1) ring.push([at, at * 10]);
  expect(ring.length).toBe(3);
  expect(Array.from(ring.column(0))).toEqual([3, 4, 5]);
  expect(Array.from(ring.column(1))).toEqual([30, 40, 50]);
  ring.clear();
  expect(ring.length).toBe(0);
});

test("what a row does not have is not a number", () => {
  const ring = new Ring(2, 3);
  ring.push([1]);
  expect(ring.column(1)[0]).toBeNaN();
});

test("a day of rows takes no more room than there is", () => {
  const ring = new Ring(1, 600);
  for (let second = 0; second < 86_400; second += 1) ring.push([second]);
  expect(ring.column(0)).toHaveLength(600);
  expect(ring.column(0)[599]).toBe(86_399);
});
