import { useEffect, useRef, useState } from "preact/hooks";

import { asApiError } from "../../api/use";
import { clock, count, bytes as size } from "../../format";
import { t } from "../../i18n";
import type { Publication, Qos } from "../../mqtt/codec";
import { type Connection, ConnectionFields, useConnection } from "../../mqtt/connection";
import { glance } from "../../payload";
import { Button } from "../../ui/button";
import { AreaField, CheckField, Field, SelectField, TextField } from "../../ui/form";
import { Payload } from "../../ui/payload";
import { Card, Empty, Facts, Head, Tag } from "../../ui/states";
import { toast, toastError } from "../../ui/toast";
import type { PageProps } from "../registry";
import { isFilter, userProperties, type Wanted } from "./elsewhere";
import { add, EMPTY, type Entry, ENTRIES_MAX, type Log } from "./log";
import { Elsewhere, Receivers } from "./others";
import "../../styles/topics.css";
import "../../styles/playground.css";

const DRAWN_MS = 200;
/** Messages that may wait to be drawn: more than the log keeps would be thrown away at once. */
const WAITING_MAX = ENTRIES_MAX;
const QOS = ["0", "1", "2"].map((n) => [n, n] as const);

export interface Draft extends Wanted {
  responseTopic: string;
  correlation: string;
  userProperties: string;
}

export default function Playground({ query }: PageProps) {
  const [log, setLog] = useState<Log>(EMPTY);
  const waiting = useRef<Omit<Entry, "id">[]>([]);
  const [paused, setPaused] = useState(false);
  const isPaused = useRef(paused);
  isPaused.current = paused;
  const [draft, setDraft] = useState<Draft>({
    topic: query.get("topic") ?? "", payload: "", qos: 0, retain: false, contentType: "", isText: true, expiry: "", responseTopic: "", correlation: "", userProperties: "",
  });
  const note = (message: Publication, isOut: boolean) => {
    if (waiting.current.length >= WAITING_MAX) waiting.current.shift();
    waiting.current.push({ at: Date.now(), isOut, message });
  };
  const connection = useConnection((message) => note(message, false));
  useEffect(() => {
    const drawing = setInterval(() => {
      if (waiting.current.length === 0 || isPaused.current) return;
      const more = waiting.current;
      waiting.current = [];
      setLog((before) => add(before, more));
    }, DRAWN_MS);
    return () => clearInterval(drawing);
  }, []);
  const set = (change: Partial<Draft>) => setDraft((before) => ({ ...before, ...change }));
  return (
    <>
      <Head title={t("nav.playground")} about={t("playground.about")} />
      <div class="columns">
        <div class="stack">
          <Card title={t("mqtt.connection")}>
            <ConnectionFields connection={connection} action={t("mqtt.connect")} />
          </Card>
          <PublishCard draft={draft} set={set} connection={connection} onSent={(message) => note(message, true)} />
          <SubscribeCard connection={connection} key={connection.state === "open" ? "open" : "closed"} />
        </div>
        <div class="stack">
          <LogCard log={log} paused={paused} onPause={() => setPaused(!paused)} onClear={() => setLog(EMPTY)} />
          <Elsewhere wanted={draft} />
          <Receivers topic={draft.topic} />
        </div>
      </div>
    </>
  );
}

function PublishCard({ draft, set, connection, onSent }: { draft: Draft; set: (change: Partial<Draft>) => void; connection: Connection; onSent: (message: Publication) => void }) {
  const client = connection.state === "open" ? connection.client : null;
  const wrong = isFilter(draft.topic);
  const publish = async () => {
    if (!client) return;
    const encoder = new TextEncoder();
    const expiry = Number.parseInt(draft.expiry, 10);
    const message: Publication = {
      topic: draft.topic,
      payload: encoder.encode(draft.payload),
      qos: draft.qos as Qos,
      retain: draft.retain,
      properties: {
        payloadFormat: draft.isText ? 1 : undefined,
        expiry: Number.isNaN(expiry) ? undefined : expiry,
        contentType: draft.contentType || undefined,
        responseTopic: draft.responseTopic || undefined,
        correlationData: draft.correlation === "" ? undefined : encoder.encode(draft.correlation),
        userProperties: userProperties(draft.userProperties),
      },
    };
    const reason = await client.publish(message);
    onSent(message);
    toast("good", t(message.qos === 0 ? "playground.sent" : reason === 0x10 ? "playground.nobody" : "playground.acknowledged"));
  };
  return (
    <Card title={t("playground.publish")}>
      <div class="form">
        <TextField label={t("playground.topic")} mono value={draft.topic} error={wrong ? t("playground.topic_wrong") : undefined} onInput={(topic) => set({ topic })} />
        <AreaField label={t("playground.payload")} value={draft.payload} onInput={(payload) => set({ payload })} />
        <div class="form-row">
          <SelectField label={t("mqtt.qos")} value={String(draft.qos)} options={QOS} onChange={(qos) => set({ qos: Number(qos) })} />
          <Field label={t("playground.content_type")}>
            {(ids) => (
              <>
                <input {...ids} list="content-types" value={draft.contentType} spellcheck={false} autocomplete="off" onInput={(event) => set({ contentType: event.currentTarget.value })} />
                <datalist id="content-types">
                  {["application/json", "application/cbor", "application/octet-stream", "application/senml+json", "text/plain;charset=utf-8"].map((name) => (
                    <option key={name} value={name} />
                  ))}
                </datalist>
              </>
            )}
          </Field>
        </div>
        <div class="row wide">
          <CheckField label={t("mqtt.retain")} checked={draft.retain} onChange={(retain) => set({ retain })} />
          <CheckField label={t("playground.utf8")} checked={draft.isText} onChange={(isText) => set({ isText })} />
        </div>
        <details>
          <summary>{t("playground.properties")}</summary>
          <div class="form">
            <div class="form-row">
              <TextField label={t("playground.expiry")} type="number" min={0} value={draft.expiry} onInput={(expiry) => set({ expiry })} />
              <TextField label={t("playground.response_topic")} mono value={draft.responseTopic} onInput={(responseTopic) => set({ responseTopic })} />
              <TextField label={t("playground.correlation")} value={draft.correlation} onInput={(correlation) => set({ correlation })} />
            </div>
            <AreaField label={t("playground.user_properties")} hint={t("playground.user_properties_hint")} rows={2} value={draft.userProperties} onInput={(text) => set({ userProperties: text })} />
          </div>
        </details>
        <div class="row">
          <Button kind="primary" icon="send" disabled={!client || wrong || draft.topic === ""} onClick={publish}>
            {t("playground.publish")}
          </Button>
          {!client && <span class="soft">{t("playground.connect_first")}</span>}
        </div>
      </div>
    </Card>
  );
}

const SUBSCRIPTIONS_MAX = 50;

function SubscribeCard({ connection }: { connection: Connection }) {
  const [filter, setFilter] = useState("#");
  const [qos, setQos] = useState("0");
  const [all, setAll] = useState<readonly { filter: string; granted: number }[]>([]);
  const client = connection.state === "open" ? connection.client : null;
  const subscribe = async (event: Event) => {
    event.preventDefault();
    if (!client) return;
    try {
      const granted = await client.subscribe(filter, { qos: Number(qos) as Qos, retainAsPublished: true });
      setAll((before) => [...before.filter((one) => one.filter !== filter), { filter, granted }]);
    } catch (error) {
      toastError(asApiError(error));
    }
  };
  const unsubscribe = async (gone: string) => {
    await client?.unsubscribe(gone);
    setAll((before) => before.filter((one) => one.filter !== gone));
  };
  return (
    <Card title={t("playground.subscriptions")}>
      <form class="subscribe" onSubmit={subscribe}>
        <TextField label={t("playground.filter")} mono value={filter} onInput={setFilter} />
        <SelectField label={t("mqtt.qos")} value={qos} options={QOS} onChange={setQos} />
        <Button type="submit" disabled={!client || filter === "" || all.length >= SUBSCRIPTIONS_MAX}>
          {t("playground.subscribe")}
        </Button>
      </form>
      {!client && <p class="soft">{t("playground.connect_first")}</p>}
      <ul class="lines">
        {all.map((one) => (
          <li key={one.filter}>
            <span class="mono break grow">{one.filter}</span>
            <Tag>{t("playground.granted", { n: one.granted })}</Tag>
            <Button small kind="quiet" icon="close" label={t("playground.unsubscribe", { filter: one.filter })} onClick={() => unsubscribe(one.filter)} />
          </li>
        ))}
      </ul>
    </Card>
  );
}

const DRAWN_MAX = 100;

function LogCard({ log, paused, onPause, onClear }: { log: Log; paused: boolean; onPause: () => void; onClear: () => void }) {
  const [opened, setOpened] = useState<number | null>(null);
  return (
    <Card
      title={t("playground.log")}
      actions={
        <>
          <Button small kind="quiet" icon={paused ? "play" : "pause"} pressed={paused} onClick={onPause}>
            {t(paused ? "topics.resume" : "topics.pause")}
          </Button>
          <Button small kind="quiet" icon="trash" onClick={onClear}>
            {t("playground.clear")}
          </Button>
        </>
      }
    >
      {log.entries.length === 0 ? (
        <Empty title={t("playground.log_empty")}>{t("playground.log_empty_text")}</Empty>
      ) : (
        <ul class="log">
          {log.entries.slice(-DRAWN_MAX).reverse().map((entry) => (
            <LogEntry key={entry.id} entry={entry} isOpen={entry.id === opened} onToggle={() => setOpened(entry.id === opened ? null : entry.id)} />
          ))}
        </ul>
      )}
      {log.dropped > 0 && <p class="soft">{t("playground.log_limit", { n: count(log.entries.length), dropped: count(log.dropped) })}</p>}
    </Card>
  );
}

function LogEntry({ entry, isOpen, onToggle }: { entry: Entry; isOpen: boolean; onToggle: () => void }) {
  const { message } = entry;
  const { contentType, expiry, responseTopic, correlationData, userProperties: own } = message.properties;
  return (
    <li>
      <button type="button" class="topic-row" aria-expanded={isOpen} onClick={onToggle}>
        <Tag kind={entry.isOut ? "plain" : "accent"}>{t(entry.isOut ? "playground.out" : "playground.in")}</Tag>
        <span class="topic-name mono">{message.topic}</span>
        <span class="topic-value">{glance(message.payload, 60)}</span>
        <time class="topic-count soft">{clock(entry.at)}</time>
      </button>
      {isOpen && (
        <div class="stack-small log-open">
          <Facts
            of={[
              ["QoS", String(message.qos)],
              [t("mqtt.retain"), message.retain ? t("shell.yes") : t("shell.no")],
              [t("topics.size"), size(message.payload.length)],
              ...(contentType ? [[t("playground.content_type"), contentType] as const] : []),
              ...(expiry === undefined ? [] : [[t("playground.expiry"), count(expiry)] as const]),
              ...(responseTopic ? [[t("playground.response_topic"), responseTopic] as const] : []),
              ...(correlationData ? [[t("playground.correlation"), glance(correlationData, 60)] as const] : []),
              ...(own ?? []).map(([name, value]) => [name, value] as const),
            ]}
          />
          <Payload bytes={message.payload} />
        </div>
      )}
    </li>
  );
}
