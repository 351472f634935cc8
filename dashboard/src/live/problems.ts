import { useEffect, useRef, useState } from "preact/hooks";

import { get } from "../api/client";
import type { Alarm, Listener, Paged } from "../api/types";
import { type Loaded, useLoad } from "../api/use";
import { count, when } from "../format";
import { type Key, t } from "../i18n";
import { onAlarm } from "./live";

const SOON_MS = 14 * 86_400_000;
const EVERY_MS = 15_000;

/** Something that an operator should know of first. */
export interface Problem {
  kind: "bad" | "warn";
  text: string;
  detail?: string;
  /** Where more is said about it. */
  page?: string;
}

/** Alarms that are on; none while the gateway has no such interface. */
export function useAlarms(): Loaded<Paged<Alarm>> {
  const alarms = useLoad("alarms", (signal) => get<Paged<Alarm>>("/alarms", { activated: true, limit: 20 }, signal), EVERY_MS);
  useEffect(() => onAlarm(alarms.reload), [alarms.reload]);
  return alarms;
}

const ALARMS = {
  high_system_memory_usage: "alarms.memory",
  high_cpu_usage: "alarms.cpu",
  high_open_files: "alarms.files",
  store_failing: "alarms.store_failing",
  store_behind: "alarms.store_behind",
  listener_full: "alarms.listener_full",
  access_service_down: "alarms.service_down",
  certificate_ends: "alarms.certificate",
} as const satisfies Record<string, Key>;

/** What an alarm is called, with what it is about. */
export function alarmName(name: string): string {
  const [kind = "", ...about] = name.split(":");
  if (!(kind in ALARMS)) return name;
  return [t(ALARMS[kind as keyof typeof ALARMS]), ...about].join(" ");
}

/** Why deliveries were dropped of late, and how many for each reason: not those that nobody subscribed to. */
export type Drops = Partial<Record<keyof typeof REASONS, number>>;

const REASONS = {
  "delivery.dropped.queue_full": "overview.drop_queue_full",
  "delivery.dropped.qos0_msg": "overview.drop_qos0",
  "delivery.dropped.expired": "overview.drop_expired",
  "delivery.dropped.too_large": "overview.drop_too_large",
  "messages.dropped.quota_exceeded": "overview.drop_quota",
} as const;

export function dropsBetween(before: Record<string, number>, after: Record<string, number>): Drops {
  const drops: Drops = {};
  for (const name of Object.keys(REASONS) as (keyof typeof REASONS)[]) {
    const more = (after[name] ?? 0) - (before[name] ?? 0);
    // Counters that are smaller than they were are those of a gateway that has started anew.
    if (more > 0) drops[name] = more;
  }
  return drops;
}

/** What was dropped between the last two looks. */
export function useDrops(): Drops {
  const metrics = useLoad("metrics", (signal) => get<Record<string, number>>("/metrics", { aggregate: true }, signal), EVERY_MS);
  const before = useRef<Record<string, number> | null>(null);
  const [drops, setDrops] = useState<Drops>({});
  useEffect(() => {
    if (!metrics.data) return;
    if (before.current) setDrops(dropsBetween(before.current, metrics.data));
    before.current = metrics.data;
  }, [metrics.data]);
  return drops;
}

export function problems(listeners: readonly Listener[], alarms: readonly Alarm[], drops: Drops, nowMs = Date.now()): Problem[] {
  const found: Problem[] = alarms.map((alarm) => ({ kind: "bad", text: t("overview.alarm", { name: alarmName(alarm.name) }), detail: alarm.message, page: "alarms" }));
  for (const { id, enable, status, running, failure, certificate } of listeners) {
    if (enable && !(running ?? status.running)) found.push({ kind: "bad", text: t("overview.listener_down", { id }), detail: failure ?? undefined, page: "listeners" });
    if (typeof status.max_connections === "number" && status.current_connections >= status.max_connections) {
      found.push({ kind: "bad", text: t("overview.connections_full", { id, n: count(status.max_connections) }), page: "listeners" });
    }
    const ends = certificate ? Date.parse(certificate.not_after) : Number.NaN;
    if (ends < nowMs) found.push({ kind: "bad", text: t("overview.certificate_over", { id, when: when(ends) }), page: "listeners" });
    else if (ends < nowMs + SOON_MS) found.push({ kind: "warn", text: t("overview.certificate", { id, when: when(ends) }), page: "listeners" });
  }
  for (const [name, amount] of Object.entries(drops) as [keyof typeof REASONS, number][]) {
    found.push({ kind: "warn", text: t(REASONS[name], { n: count(amount), secs: EVERY_MS / 1000 }) });
  }
  return found;
}
