import type { Publication } from "../../mqtt/codec";

export const ENTRIES_MAX = 500;
export const BYTES_MAX = 4 * 1024 * 1024;

export interface Entry {
  id: number;
  at: number;
  isOut: boolean;
  message: Publication;
}

/** The newest messages, within limits; older ones go. A change is a new object. */
export interface Log {
  entries: readonly Entry[];
  bytes: number;
  dropped: number;
  next: number;
}

export const EMPTY: Log = { entries: [], bytes: 0, dropped: 0, next: 0 };

export function add(log: Log, more: readonly Omit<Entry, "id">[]): Log {
  const entries = [...log.entries, ...more.map((one, at) => ({ ...one, id: log.next + at }))];
  let bytes = log.bytes + more.reduce((sum, one) => sum + one.message.payload.length, 0);
  let first = 0;
  while (entries.length - first > ENTRIES_MAX || (bytes > BYTES_MAX && first < entries.length)) {
    bytes -= entries[first]?.message.payload.length ?? 0;
    first += 1;
  }
  return { entries: entries.slice(first), bytes, dropped: log.dropped + first, next: log.next + more.length };
}
