import type { AlignedData } from "uplot";

import type { Sample } from "../api/types";

/** What the charts show: the time, and a column for each line. */
export interface Rates {
  messages: AlignedData;
  connections: AlignedData;
  memory: AlignedData;
  bytes: AlignedData;
}

/** Samples tell how much there was since the one before; charts show how much there was a second. */
export function ratesOf(samples: readonly Sample[]): Rates {
  const sorted = [...samples].sort((a, b) => a.time_stamp - b.time_stamp);
  const times = sorted.map((sample) => sample.time_stamp / 1000);
  const usual = median(times.slice(1).map((time, at) => time - (times[at] ?? time)));
  const per = (of: (sample: Sample) => number) =>
    sorted.map((sample, at) => {
      const before = times[at - 1];
      const passed = before === undefined ? usual : (times[at] ?? 0) - before;
      // Behind a gap the count is of one interval, not of the gap.
      const secs = Math.min(passed, usual * 2) || usual;
      return secs > 0 ? of(sample) / secs : null;
    });
  return {
    messages: [times, per((sample) => sample.received), per((sample) => sample.sent), per((sample) => sample.dropped)],
    bytes: [times, per((sample) => sample.received_bytes), per((sample) => sample.sent_bytes)],
    connections: [times, sorted.map((sample) => sample.live_connections ?? sample.connections)],
    memory: [times, sorted.map((sample) => sample.memory_used ?? null)],
  };
}

function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 10;
}
