import { expect, test } from "vitest";

import { add, BYTES_MAX, EMPTY, ENTRIES_MAX, type Entry } from "./log";

const entry = (bytes: number): Omit<Entry, "id"> => ({ at: 0, isOut: false, message: { topic: "t", payload: new Uint8Array(bytes), qos: 0, retain: false, properties: {} } });

test("the newest messages are kept", () => {
  let log = EMPTY;
  for (let at = 0; at < ENTRIES_MAX + 3; at += 1) log = add(log, [entry(1)]);
  expect(log.entries).toHaveLength(ENTRIES_MAX);
  expect(log).toMatchObject({ dropped: 3, bytes: ENTRIES_MAX });
  expect(log.entries[0]?.id).toBe(3);
  expect(new Set(log.entries.map((one) => one.id)).size).toBe(ENTRIES_MAX);
});

test("and no more of them than there are bytes for", () => {
  const log = add(EMPTY, [entry(BYTES_MAX - 1), entry(1), entry(1)]);
  expect(log.entries).toHaveLength(2);
  expect(log).toMatchObject({ bytes: 2, dropped: 1 });
  expect(add(EMPTY, [entry(BYTES_MAX + 1)])).toMatchObject({ entries: [], bytes: 0, dropped: 1 });
});
