import { signal } from "@preact/signals";

import { ApiError, ask, get } from "../api/client";
import type { Alarm, ClientEvent, Current, NodeInfo, Sample } from "../api/types";
import { asApiError } from "../api/use";
import { ratesOf } from "./rates";
import { Ring } from "./ring";
import { Parser } from "./sse";

/** How the page hears of changes: by the gateway's stream, by asking each second, or not at all. */
export type Mode = "stream" | "poll" | "off";

/** Ten minutes, a row each second. */
const SECONDS = 600;
/** As much as the live charts show. */
const RECALLED_SECS = 300;
const BACK_OFF_MS = [500, 1000, 2000, 5000, 10_000, 15_000];
/** While it polls, how often it looks whether there is a stream after all. */
const LOOK_AGAIN_MS = 60_000;
/** The stream tells something each second; silent for so long, it is dead. */
const SILENT_MAX_MS = 8000;

export const COLUMNS = ["at", "received", "sent", "dropped", "connections", "memory", "received_bytes", "sent_bytes"] as const;

export const mode = signal<Mode>("off");
/** What was told last. */
export const current = signal<Current | null>(null);
/** Counts up with each row of `history`. */
export const tick = signal(0);
export const history = new Ring(COLUMNS.length, SECONDS);
/** Counts up when the gateway has left events out, because this page did not take them fast enough. */
export const lagged = signal(0);

type Listen<T> = (event: T) => void;
const clientListeners = new Set<Listen<ClientEvent>>();
const alarmListeners = new Set<Listen<Alarm>>();

export function onClientEvent(listen: Listen<ClientEvent>): () => void {
  clientListeners.add(listen);
  return () => clientListeners.delete(listen);
}

export function onAlarm(listen: Listen<Alarm>): () => void {
  alarmListeners.add(listen);
  return () => alarmListeners.delete(listen);
}

let stop: AbortController | null = null;

export function startLive(): void {
  stopLive();
  stop = new AbortController();
  void recall(stop.signal);
  void run(stop.signal);
}

/** What was recorded of the last minutes, so that charts do not begin empty. */
async function recall(signal: AbortSignal): Promise<void> {
  let samples: Sample[];
  try {
    samples = await get<Sample[]>("/monitor", { latest: RECALLED_SECS }, signal);
  } catch {
    // Charts begin with what the stream tells, then.
    return;
  }
  if (signal.aborted || !Array.isArray(samples)) return;
  const columns = COLUMNS.map((_, at) => history.column(at));
  const heard = Array.from({ length: history.length }, (_, row) => columns.map((column) => column[row] ?? Number.NaN));
  const first = heard[0]?.[0] ?? Number.POSITIVE_INFINITY;
  const { messages, connections, memory, bytes } = ratesOf(samples);
  const recalled = [...messages, connections[1], memory[1], bytes[1], bytes[2]];
  history.clear();
  Array.from(messages[0]).forEach((at, row) => {
    if (at < first) history.push(recalled.map((column) => column?.[row] ?? Number.NaN));
  });
  heard.forEach((row) => history.push(row));
  tick.value += 1;
}

export function stopLive(): void {
  stop?.abort();
  stop = null;
  mode.value = "off";
  current.value = null;
  history.clear();
}

function take(told: Current): void {
  current.value = told;
  history.push([
    (told.time_stamp ?? Date.now()) / 1000,
    told.received_msg_rate,
    told.sent_msg_rate,
    told.dropped_msg_rate,
    told.live_connections,
    told.memory_used ?? Number.NaN,
    told.received_bytes_rate,
    told.sent_bytes_rate,
  ]);
  tick.value += 1;
}

function hand(name: string, data: string): void {
  if (name === "monitor") take(JSON.parse(data) as Current);
  else if (name === "client") clientListeners.forEach((listen) => listen(JSON.parse(data) as ClientEvent));
  else if (name === "alarm") alarmListeners.forEach((listen) => listen(JSON.parse(data) as Alarm));
  else if (name === "lagged") lagged.value += 1;
}

async function run(signal: AbortSignal): Promise<void> {
  let failed = 0;
  while (!signal.aborted) {
    try {
      await stream(signal, () => (failed = 0));
    } catch (error) {
      if (signal.aborted) return;
      const cause = asApiError(error);
      if (cause.status === 401) return;
      // No such path, or as many streams as there may be.
      if (cause.isMissing || cause.status === 503) {
        await poll(signal, Date.now() + LOOK_AGAIN_MS);
        continue;
      }
    }
    if (signal.aborted) return;
    mode.value = "off";
    await pause(BACK_OFF_MS[Math.min(failed, BACK_OFF_MS.length - 1)] ?? 1000, signal);
    failed += 1;
  }
}

async function stream(signal: AbortSignal, onOpen: () => void): Promise<void> {
  const silent = new AbortController();
  const both = AbortSignal.any([signal, silent.signal]);
  let timer = 0;
  const heard = () => {
    window.clearTimeout(timer);
    timer = window.setTimeout(() => silent.abort(), SILENT_MAX_MS);
  };
  heard();
  try {
    const response = await ask("GET", "/live", { signal: both, query: { events: "monitor,client,alarm" } }, null);
    if (!response.body || !response.headers.get("content-type")?.startsWith("text/event-stream")) throw new ApiError(404, "NO_STREAM", "not a stream");
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const parser = new Parser();
    mode.value = "stream";
    onOpen();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heard();
      for (const event of parser.feed(value)) hand(event.name, event.data);
    }
  } finally {
    window.clearTimeout(timer);
  }
}

async function poll(signal: AbortSignal, until: number): Promise<void> {
  let memory: number | undefined;
  for (let turn = 0; !signal.aborted && Date.now() < until; turn += 1) {
    try {
      if (turn % 5 === 0) memory = (await get<NodeInfo[]>("/nodes", undefined, signal))[0]?.memory_used;
      const told = await get<Current>("/monitor_current", undefined, signal);
      mode.value = "poll";
      take({ memory_used: memory, ...told });
      await pause(1000, signal);
    } catch (error) {
      if (signal.aborted || asApiError(error).status === 401) return;
      mode.value = "off";
      await pause(3000, signal);
    }
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    }, { once: true });
  });
}
