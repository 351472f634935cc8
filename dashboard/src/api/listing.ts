import { useCallback, useRef, useState } from "preact/hooks";

import { get, type Query } from "./client";
import type { Paged } from "./types";
import { type Loaded, useLoad } from "./use";

/** Pages that can be gone back to; further back is the first. */
const STEPS_MAX = 1000;

/** A listing that is read page by page: behind a cursor where the gateway gives one, by number else. With `everyMs` the page is read again. */
export interface Listing<T> extends Loaded<Paged<T>> {
  /** Which page it is, from 1. */
  number: number;
  /** How many there are in all, as the first page said. */
  count: number | undefined;
  isFirst: boolean;
  next: () => void;
  previous: () => void;
}

type Step = { cursor: string } | { page: number };

export function useListing<T>(path: string, filters: Query, everyMs?: number, limit = 50): Listing<T> {
  const key = `${path} ${JSON.stringify(filters)} ${limit}`;
  const [way, setWay] = useState<{ key: string; steps: Step[] }>({ key, steps: [] });
  const counts = useRef<{ key: string; count: number | undefined }>({ key, count: undefined });
  // Other filters begin at the first page.
  const steps = way.key === key ? way.steps : [];
  const step = steps[steps.length - 1];
  const loaded = useLoad(`${key} ${JSON.stringify(step ?? null)}`, (signal) => get<Paged<T>>(path, { ...filters, limit, ...step }, signal), everyMs);
  const meta = loaded.data?.meta;
  if (counts.current.key !== key) counts.current = { key, count: undefined };
  if (meta?.count !== undefined) counts.current.count = meta.count;

  const next = useCallback(() => {
    if (!meta?.hasnext) return;
    const to: Step = meta.cursor ? { cursor: meta.cursor } : { page: steps.length + 2 };
    setWay({ key, steps: [...steps, to].slice(-STEPS_MAX) });
  }, [key, meta, steps]);
  const previous = useCallback(() => setWay({ key, steps: steps.slice(0, -1) }), [key, steps]);
  return { ...loaded, number: steps.length + 1, count: counts.current.count, isFirst: steps.length === 0, next, previous };
}

/** A value that is taken over when it has not changed for a moment: for search boxes. */
export function useSettled(wait: number, take: (value: string) => void): (value: string) => void {
  const timer = useRef(0);
  const latest = useRef(take);
  latest.current = take;
  return useCallback(
    (value: string) => {
      window.clearTimeout(timer.current);
      timer.current = window.setTimeout(() => latest.current(value), wait);
    },
    [wait],
  );
}
