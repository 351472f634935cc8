import type { ComponentChildren } from "preact";
import { useMemo, useState } from "preact/hooks";

import { get } from "../../api/client";
import type { Current, Listener, NodeInfo, Sample } from "../../api/types";
import { useLoad } from "../../api/use";
import { bytes, count, NOTHING, protocolName, short, span, when } from "../../format";
import { t } from "../../i18n";
import { sayShortly } from "../../i18n/said";
import { current, history, mode, tick } from "../../live/live";
import { type Drops, type Problem, problems, useAlarms, useDrops } from "../../live/problems";
import { urlOf } from "../../mqtt/address";
import { link } from "../../route";
import { Choice } from "../../ui/button";
import { Chart } from "../../ui/chart";
import { Copyable } from "../../ui/copy";
import { Card, Facts, Failed, Head, Loading, Note } from "../../ui/states";
import { ratesOf, type Rates } from "../../live/rates";
import { Counters } from "./counters";
import "../../styles/overview.css";

type Range = "live" | "hour" | "day" | "week";
const SECONDS: Record<Range, number> = { live: 300, hour: 3600, day: 86_400, week: 604_800 };
const REFRESH_MS: Record<Range, number> = { live: 0, hour: 10_000, day: 60_000, week: 300_000 };
const SLOW_MS = 15_000;

export default function Overview() {
  const node = useLoad("nodes", (signal) => get<NodeInfo[]>("/nodes", undefined, signal), SLOW_MS);
  const listeners = useLoad("listeners", (signal) => get<Listener[]>("/listeners", undefined, signal), SLOW_MS);
  const alarms = useAlarms();
  const drops = useDrops();
  const [range, setRange] = useState<Range>("live");
  const now = current.value;
  const info = node.data?.[0];
  const found = problems(listeners.data ?? [], alarms.data?.data ?? [], drops);
  // What is not known is not well.
  const refused = [node, listeners, alarms].find(({ error }) => error && !error.isMissing && !error.isUnreachable)?.error;
  if (refused) found.unshift({ kind: "bad", text: t("overview.incomplete"), detail: sayShortly(refused) });
  // Old news is no good news.
  if (now && (mode.value === "off" || node.error?.isUnreachable)) found.unshift({ kind: "bad", text: t("shell.stale") });
  return (
    <>
      <Head title={t("nav.overview")} about={info && t("overview.about", { node: info.node, time: span(now?.node_uptime ?? info.uptime / 1000) })} />
      {now || info ? <Health found={found} /> : null}
      {!now && node.error ? <Failed error={node.error} retry={node.reload} /> : !now ? <Loading rows={3} /> : <Tiles now={now} info={info} drops={drops} />}
      <div class="stack overview-below">
        <div class="row">
          <Choice
            label={t("overview.range")}
            value={range}
            onChange={setRange}
            options={[
              ["live", t("overview.range_live")],
              ["hour", t("overview.range_hour")],
              ["day", t("overview.range_day")],
              ["week", t("overview.range_week")],
            ]}
          />
        </div>
        {range === "live" ? <LiveCharts /> : <PastCharts key={range} range={range} />}
        <div class="columns">
          <Protocols now={now} listeners={listeners.data ?? []} />
          {info && <NodeCard info={info} />}
        </div>
        <Counters />
      </div>
    </>
  );
}

function Health({ found }: { found: Problem[] }) {
  return (
    <section class="health" aria-label={t("overview.node")} aria-live="polite">
      {found.length === 0 && <Note kind="good">{t("overview.well")}</Note>}
      {found.map((problem) => (
        <Note key={problem.text} kind={problem.kind}>
          {problem.page ? <a href={link([problem.page])}>{problem.text}</a> : problem.text}
          {problem.detail && <span class="soft"> {problem.detail}</span>}
        </Note>
      ))}
    </section>
  );
}

function Tile({ name, value, about, to, bad }: { name: string; value: string; about?: ComponentChildren; to?: string; bad?: boolean }) {
  const inside = (
    <>
      <span>{name}</span>
      <strong>{value}</strong>
      <span>{about}</span>
    </>
  );
  const look = bad ? "tile bad" : "tile";
  return to ? (
    <a class={look} href={link([to])}>
      {inside}
    </a>
  ) : (
    <div class={look}>{inside}</div>
  );
}

function Tiles({ now, info, drops }: { now: Current; info: NodeInfo | undefined; drops: Drops }) {
  const rate = (value: number) => t("overview.bytes_rate", { n: bytes(value) });
  return (
    <div class="tiles">
      <Tile name={t("overview.in")} value={short(now.received_msg_rate)} about={`${t("overview.per_second")} · ${rate(now.received_bytes_rate)}`} />
      <Tile name={t("overview.out")} value={short(now.sent_msg_rate)} about={`${t("overview.per_second")} · ${rate(now.sent_bytes_rate)}`} />
      <Tile name={t("overview.dropped")} value={short(now.dropped_msg_rate)} about={t("overview.dropped_about")} bad={Object.keys(drops).length > 0} />
      <Tile name={t("overview.connections")} value={count(now.live_connections)} about={t("overview.sessions", { n: count(now.connections) })} to="clients" />
      <Tile name={t("overview.subscriptions")} value={count(now.subscriptions)} about={t("overview.filters", { n: count(now.topics), shared: count(now.shared_subscriptions) })} to="subscriptions" />
      <Tile name={t("overview.retained")} value={count(now.retained_msg_count)} about={t("overview.retained_about")} to="retained" />
      <Tile name={t("overview.memory")} value={bytes(now.memory_used ?? info?.memory_used)} about={info ? t("overview.memory_of", { total: bytes(info.memory_total) }) : NOTHING} />
      <Tile name={t("overview.load")} value={info?.load1?.toFixed(2) ?? NOTHING} about={info ? `${info.load5?.toFixed(2) ?? NOTHING} · ${info.load15?.toFixed(2) ?? NOTHING}` : NOTHING} />
    </div>
  );
}

function Charts({ rates, seconds }: { rates: Rates; seconds: number }) {
  const empty = t("overview.no_data");
  return (
    <div class="columns">
      <Card title={t("overview.messages")}>
        <Chart
          label={t("overview.messages")}
          lines={[
            { label: t("overview.in"), color: "--series-1", fill: true },
            { label: t("overview.out"), color: "--series-2" },
            { label: t("overview.dropped"), color: "--series-3" },
          ]}
          data={rates.messages}
          format={short}
          spanSecs={seconds}
          empty={empty}
        />
      </Card>
      <Card title={t("overview.connections")}>
        <Chart label={t("overview.connections")} lines={[{ label: t("overview.connections"), color: "--series-1", fill: true }]} data={rates.connections} format={short} spanSecs={seconds} empty={empty} />
      </Card>
      <Card title={t("overview.bytes")}>
        <Chart
          label={t("overview.bytes")}
          lines={[
            { label: t("overview.bytes_in"), color: "--series-1", fill: true },
            { label: t("overview.bytes_out"), color: "--series-2" },
          ]}
          data={rates.bytes}
          format={bytes}
          binary
          spanSecs={seconds}
          empty={empty}
        />
      </Card>
      <Card title={t("overview.memory")}>
        <Chart label={t("overview.memory")} lines={[{ label: t("overview.memory"), color: "--series-4", fill: true }]} data={rates.memory} format={bytes} binary spanSecs={seconds} empty={empty} />
      </Card>
    </div>
  );
}

function LiveCharts() {
  const turn = tick.value;
  const rates = useMemo((): Rates => {
    const column = (at: number) => Array.from(history.column(at), (value) => (Number.isNaN(value) ? null : value));
    const times = history.column(0);
    return {
      messages: [times, column(1), column(2), column(3)],
      connections: [times, column(4)],
      memory: [times, column(5)],
      bytes: [times, column(6), column(7)],
    };
  }, [turn]);
  return <Charts rates={rates} seconds={SECONDS.live} />;
}

function PastCharts({ range }: { range: Exclude<Range, "live"> }) {
  const seconds = SECONDS[range];
  const past = useLoad(`monitor ${range}`, (signal) => get<Sample[]>("/monitor", { latest: seconds }, signal), REFRESH_MS[range]);
  const rates = useMemo(() => past.data && ratesOf(past.data), [past.data]);
  if (rates) return <Charts rates={rates} seconds={seconds} />;
  return <Card>{past.error ? <Failed error={past.error} retry={past.reload} /> : <Loading rows={6} />}</Card>;
}

function Protocols({ now, listeners }: { now: Current | null; listeners: Listener[] }) {
  const counts = now?.protocols ? { ...now.protocols } : {};
  if (!now?.protocols) for (const listener of listeners) counts[listener.protocol] = (counts[listener.protocol] ?? 0) + listener.status.current_connections;
  const rows = Object.entries(counts).filter(([, amount]) => amount > 0).sort((a, b) => b[1] - a[1]);
  const most = Math.max(1, ...rows.map(([, amount]) => amount));
  return (
    <Card title={t("overview.by_protocol")}>
      {rows.length === 0 ? (
        <div class="stack-small">
          <p class="soft">{t("overview.no_connections")}</p>
          {listeners.map((listener) => {
            const url = urlOf(listener, location.hostname);
            return url && <Copyable key={listener.id} label={protocolName(listener.protocol)} text={url} />;
          })}
        </div>
      ) : (
        <ul class="bars">
          {rows.map(([name, amount]) => (
            <li key={name}>
              <div>
                <a href={link(["clients"], { proto_name: name })}>{protocolName(name)}</a>
                <span>{count(amount)}</span>
              </div>
              <i style={{ "--part": `${(100 * amount) / most}%` }} />
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}

function NodeCard({ info }: { info: NodeInfo }) {
  return (
    <Card title={t("overview.node")}>
      <Facts
        of={[
          [t("overview.name"), info.node],
          [t("overview.version"), info.version],
          [t("overview.files"), count(info.max_fds)],
          [t("overview.memory"), `${bytes(info.memory_used)} / ${bytes(info.memory_total)}`],
          [t("overview.connections"), count(info.live_connections)],
          [t("overview.started"), when(Date.now() - info.uptime)],
        ]}
      />
    </Card>
  );
}
