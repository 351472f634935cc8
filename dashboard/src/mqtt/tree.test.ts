import { expect, test } from "vitest";

import type { Publication } from "./codec";
import { LEVELS_MAX, PAYLOAD_BYTES_MAX, rows, TOTAL_BYTES_MAX, Tree } from "./tree";

const message = (topic: string, payload: Uint8Array = new Uint8Array()): Publication => ({ topic, payload, qos: 0, retain: false, properties: {} });

test("messages are counted at their topic and above it", () => {
  const tree = new Tree();
  for (const topic of ["a/b", "a/b", "a", "a//c"]) tree.take(message(topic), 1);
  expect(tree.find("a")).toMatchObject({ own: 1, all: 4 });
  expect(tree.find("a/b")).toMatchObject({ own: 2, all: 2, topic: "a/b" });
  expect(tree.find("a//c")).toMatchObject({ own: 1, name: "c" });
  expect(tree.find("a/b/c")).toBeUndefined();
  // "a/" is a level that nothing was published to.
  expect([tree.topics, tree.levels]).toEqual([3, 4]);
});

test("topics beyond the limit are counted and not kept", () => {
  const tree = new Tree();
  for (let at = 0; at < LEVELS_MAX + 50; at += 1) tree.take(message(`t${at}`), 1);
  expect(tree.topics).toBe(LEVELS_MAX);
  expect(tree.root.children.size).toBe(LEVELS_MAX);
  expect(tree.beyond).toBe(50);
  tree.take(message("t1"), 1);
  expect(tree.find("t1")?.own).toBe(2);
});

test("bytes beyond the limits are not kept", () => {
  const tree = new Tree();
  const large = new Uint8Array(PAYLOAD_BYTES_MAX * 2);
  for (let at = 0; at < 1000; at += 1) tree.take(message(`t${at}`, large), 1);
  let kept = 0;
  for (const one of tree.root.children.values()) kept += one.last?.payload.length ?? 0;
  expect(kept).toBe(TOTAL_BYTES_MAX);
  expect(tree.bytes).toBe(kept);
  expect(tree.find("t0")?.last?.size).toBe(large.length);
  tree.take(message("t0"), 2);
  expect(tree.bytes).toBe(TOTAL_BYTES_MAX - PAYLOAD_BYTES_MAX);
});

test("a rate follows what comes, and ends", () => {
  const tree = new Tree();
  for (let second = 0; second < 30; second += 1) {
    for (let at = 0; at < 10; at += 1) tree.take(message("a"), second);
    tree.second();
  }
  expect(tree.find("a")?.rate).toBeCloseTo(10, 2);
  for (let second = 0; second < 60; second += 1) tree.second();
  expect(tree.find("a")?.rate).toBe(0);
});

test("rows are those of open levels, a part of many, and not without end", () => {
  const tree = new Tree();
  for (let at = 0; at < 30; at += 1) tree.take(message(`a/${at}`), 1);
  tree.take(message("b"), 1);
  expect(rows(tree, () => false, () => 100, 100).rows.map((row) => row.level.topic)).toEqual(["a", "b"]);
  const open = rows(tree, () => true, () => 10, 100).rows;
  expect(open).toHaveLength(1 + 10 + 1 + 1);
  expect(open[3]?.level.topic).toBe("a/2");
  expect(open[11]).toMatchObject({ hidden: 20, depth: 1 });
  const few = rows(tree, () => true, () => 100, 5);
  expect(few.rows).toHaveLength(5);
  expect(few.left).toBe(27);
});
