import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import { download, get, part, post, put, remove } from "../api/client";
import { onlyLooks } from "../api/session";
import { asApiError, useLoad } from "../api/use";
import { bytes } from "../format";
import { t } from "../i18n";
import { sayShortly } from "../i18n/said";
import { amend, go } from "../route";
import { Button } from "../ui/button";
import { confirm, Dialog } from "../ui/dialog";
import { CheckField, Form, SelectField, TextField } from "../ui/form";
import { Moment } from "../ui/moment";
import { Empty, Head, Note, Show, Tag } from "../ui/states";
import { type Column, Table } from "../ui/table";
import "../styles/control.css";
import type { PageProps } from "./registry";

const EVERY_MS = 5000;
const TAIL_EVERY_MS = 1000;
const PIECE_BYTES = 64 * 1024;
/** Characters of a log that are shown. The start goes when there are more. */
const SHOWN_MAX = 256 * 1024;
const KINDS = ["clientid", "topic", "ip_address"] as const;
type Kind = (typeof KINDS)[number];

interface Trace {
  name: string;
  type: Kind;
  status: "running" | "waiting" | "stopped";
  start_at: string;
  end_at: string;
  log_size: Record<string, number>;
  clientid?: string;
  topic?: string;
  ip_address?: string;
}

function Add({ clientid, onClose, onDone }: { clientid: string; onClose: () => void; onDone: () => void }) {
  const [name, setName] = useState(/^[A-Za-z][\w-]{0,63}$/.test(clientid) ? clientid : "");
  const [kind, setKind] = useState<Kind>("clientid");
  const [value, setValue] = useState(clientid);
  const [minutes, setMinutes] = useState<"10" | "30" | "60">("10");
  const [encode, setEncode] = useState<"text" | "hex" | "hidden">("text");
  const submit = async () => {
    const end = new Date(Date.now() + Number(minutes) * 60_000).toISOString();
    await post("/trace", { name, type: kind, [kind]: value, end_at: end, payload_encode: encode });
    onDone();
  };
  return (
    <Dialog title={t("trace.add")} onClose={onClose}>
      <Form action={t("trace.add")} onCancel={onClose} onSubmit={submit}>
        <TextField label={t("trace.name")} value={name} onInput={setName} required autofocus />
        <div class="form-row">
          <SelectField label={t("trace.what")} value={kind} options={KINDS.map((key) => [key, t(`trace.${key}`)] as const)} onChange={setKind} />
          <TextField label={t("trace.value")} value={value} onInput={setValue} required mono />
        </div>
        <div class="form-row">
          <SelectField label={t("trace.minutes")} value={minutes} options={(["10", "30", "60"] as const).map((n) => [n, t("trace.minutes_n", { n })] as const)} onChange={setMinutes} />
          <SelectField label={t("trace.payload")} value={encode} options={(["text", "hex", "hidden"] as const).map((key) => [key, t(`trace.payload_${key}`)] as const)} onChange={setEncode} />
        </div>
      </Form>
    </Dialog>
  );
}

interface Piece {
  meta: { position: number; bytes: number };
  items: string;
}

/** A log as it grows. */
function Log({ name, onClose }: { name: string; onClose: () => void }) {
  const [text, setText] = useState("");
  const [error, setError] = useState<string>();
  const [follows, setFollows] = useState(true);
  const box = useRef<HTMLPreElement>(null);
  useEffect(() => {
    const stop = new AbortController();
    let [timer, position] = [0, 0];
    const read = async () => {
      let more = false;
      try {
        const piece = await get<Piece>(`/trace/${part(name)}/log`, { position, bytes: PIECE_BYTES }, stop.signal);
        if (stop.signal.aborted) return;
        more = piece.meta.position > position && piece.items !== "";
        position = Math.max(position, piece.meta.position);
        if (piece.items !== "") setText((before) => (before + piece.items).slice(-SHOWN_MAX));
        setError(undefined);
      } catch (cause) {
        if (stop.signal.aborted) return;
        setError(sayShortly(asApiError(cause)));
      }
      timer = window.setTimeout(read, more ? 0 : TAIL_EVERY_MS);
    };
    void read();
    return () => {
      stop.abort();
      window.clearTimeout(timer);
    };
  }, [name]);
  useEffect(() => {
    if (follows && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [text, follows]);
  return (
    <Dialog title={t("trace.log_of", { name })} wide onClose={onClose}>
      <div class="toolbar">
        <CheckField label={t("trace.follow")} checked={follows} onChange={setFollows} />
        <Button small icon="download" onClick={() => download(`/trace/${part(name)}/download`, `${name}.log`, { format: "text" })}>
          {t("trace.download")}
        </Button>
        {text.length >= SHOWN_MAX && <span class="soft">{t("trace.bounded", { n: bytes(SHOWN_MAX) })}</span>}
      </div>
      {error && <Note kind="bad">{error}</Note>}
      <pre class="trace-log" ref={box} tabIndex={0} aria-label={t("trace.log_of", { name })}>
        {text || t("trace.nothing")}
      </pre>
    </Dialog>
  );
}

export default function Traces({ rest, query }: PageProps) {
  const traces = useLoad("traces", (signal) => get<Trace[]>("/trace", undefined, signal), EVERY_MS);
  const asked = query.get("clientid") ?? "";
  const [adds, setAdds] = useState(asked !== "" && !onlyLooks.value);
  const close = () => {
    setAdds(false);
    amend({ clientid: undefined });
  };
  const discard = async (row: Trace) => {
    const yes = await confirm({ title: t("trace.delete_title", { name: row.name }), text: t("trace.delete_text"), action: t("shell.delete") });
    if (!yes) return;
    await remove(`/trace/${part(row.name)}`);
    traces.reload();
  };
  const columns = useMemo(
    (): Column<Trace>[] => [
      { key: "name", head: t("trace.name"), sort: (row) => row.name, cell: (row) => row.name },
      {
        key: "what",
        head: t("trace.what"),
        sort: (row) => row.type,
        cell: (row) => (
          <span>
            {t(`trace.${row.type}`)} <span class="mono break">{row[row.type]}</span>
          </span>
        ),
      },
      { key: "status", head: t("trace.status"), sort: (row) => row.status, cell: (row) => <Tag kind={row.status === "running" ? "good" : "plain"}>{t(`trace.${row.status}`)}</Tag> },
      { key: "time", head: t("trace.time"), cell: (row) => (
          <span>
            <Moment at={row.start_at} /> – <Moment at={row.end_at} />
          </span>
        ) },
      { key: "size", head: t("trace.size"), end: true, cell: (row) => bytes(Object.values(row.log_size).reduce((sum, one) => sum + one, 0)) },
      {
        key: "actions",
        head: t("shell.actions"),
        actions: true,
        cell: (row) => (
          <>
            <Button small onClick={() => go(["trace", row.name])}>
              {t("trace.look")}
            </Button>
            {row.status !== "stopped" && (
              <Button
                small
                changes
                onClick={async () => {
                  await put(`/trace/${part(row.name)}/stop`);
                  traces.reload();
                }}
              >
                {t("trace.stop")}
              </Button>
            )}
            <Button small kind="quiet" icon="download" label={`${t("trace.download")}: ${row.name}`} onClick={() => download(`/trace/${part(row.name)}/download`, `${row.name}.log`, { format: "text" })} />
            <Button small kind="quiet" icon="trash" changes label={`${t("shell.delete")}: ${row.name}`} onClick={() => discard(row)} />
          </>
        ),
      },
    ],
    [],
  );
  return (
    <>
      <Head title={t("nav.trace")} about={t("trace.about")}>
        <Button icon="plus" kind="primary" changes onClick={() => setAdds(true)}>
          {t("trace.add")}
        </Button>
      </Head>
      <Show of={traces} rows={4}>
        {(rows) => (
          <Table
            label={t("nav.trace")}
            columns={columns}
            rows={rows}
            keyOf={(row) => row.name}
            empty={
              <Empty icon="eye" title={t("trace.none")}>
                {t("trace.none_text")}
              </Empty>
            }
          />
        )}
      </Show>
      {rest[0] && <Log key={rest[0]} name={rest[0]} onClose={() => go(["trace"])} />}
      {adds && (
        <Add
          clientid={asked}
          onClose={close}
          onDone={() => {
            close();
            traces.reload();
          }}
        />
      )}
    </>
  );
}
