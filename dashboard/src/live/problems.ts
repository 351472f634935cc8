import { useEffect } from "preact/hooks";

import { get } from "../api/client";
import type { Alarm, Current, Listener, Paged } from "../api/types";
import { useLoad } from "../api/use";
import { count, when } from "../format";
import { t } from "../i18n";
import { onAlarm } from "./live";

const SOON_MS = 14 * 86_400_000;
const EVERY_MS = 20_000;

/** Something that an operator should know of first. */
export interface Problem {
  kind: "bad" | "warn";
  text: string;
  detail?: string;
  /** Where more is said about it. */
  page?: string;
}

/** Alarms that are on; none while the gateway has no such interface. */
export function useAlarms(): Alarm[] {
  const alarms = useLoad("alarms", (signal) => get<Paged<Alarm>>("/alarms", { activated: true, limit: 20 }, signal), EVERY_MS);
  useEffect(() => onAlarm(alarms.reload), [alarms.reload]);
  return alarms.data?.data ?? [];
}

export function problems(now: Current | null, listeners: readonly Listener[], alarms: readonly Alarm[], nowMs = Date.now()): Problem[] {
  const found: Problem[] = alarms.map((alarm) => ({ kind: "bad", text: t("overview.alarm", { name: alarm.name }), detail: alarm.message, page: "alarms" }));
  for (const { id, enable, status, running, failure, certificate } of listeners) {
    if (enable && !(running ?? status.running)) found.push({ kind: "bad", text: t("overview.listener_down", { id }), detail: failure ?? undefined, page: "listeners" });
    if (typeof status.max_connections === "number" && status.current_connections >= status.max_connections) {
      found.push({ kind: "bad", text: t("overview.connections_full", { id, n: count(status.max_connections) }), page: "listeners" });
    }
    const ends = certificate ? Date.parse(certificate.not_after) : Number.NaN;
    if (ends < nowMs) found.push({ kind: "bad", text: t("overview.certificate_over", { id, when: when(ends) }), page: "listeners" });
    else if (ends < nowMs + SOON_MS) found.push({ kind: "warn", text: t("overview.certificate", { id, when: when(ends) }), page: "listeners" });
  }
  if (now && now.dropped_msg_rate > 0) found.push({ kind: "warn", text: t("overview.dropping", { n: count(now.dropped_msg_rate) }) });
  return found;
}
