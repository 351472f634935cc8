import { useMemo, useState } from "preact/hooks";

import { get, part, post, put, remove } from "../api/client";
import { useLoad } from "../api/use";
import { count, short } from "../format";
import { t } from "../i18n";
import { Button } from "../ui/button";
import { Dialog } from "../ui/dialog";
import { Form, TextField } from "../ui/form";
import { Moment } from "../ui/moment";
import { Empty, Head, Show } from "../ui/states";
import { type Column, Table } from "../ui/table";

const EVERY_MS = 2000;

interface Counted {
  topic: string;
  create_time: string;
  reset_time?: string;
  metrics: Record<string, number>;
}

function Add({ onClose, onDone }: { onClose: () => void; onDone: () => void }) {
  const [topic, setTopic] = useState("");
  return (
    <Dialog title={t("topic_metrics.add")} onClose={onClose}>
      <Form
        action={t("shell.create")}
        onCancel={onClose}
        onSubmit={async () => {
          await post("/mqtt/topic_metrics", { topic });
          onDone();
        }}
      >
        <TextField label={t("topic_metrics.topic")} hint={t("topic_metrics.hint")} value={topic} onInput={setTopic} required autofocus mono />
      </Form>
    </Dialog>
  );
}

export default function TopicMetrics() {
  const counted = useLoad("topic_metrics", (signal) => get<Counted[]>("/mqtt/topic_metrics", undefined, signal), EVERY_MS);
  const [adds, setAdds] = useState(false);
  const columns = useMemo((): Column<Counted>[] => {
    const number = (key: string, head: string, name: string): Column<Counted> => ({
      key,
      head,
      end: true,
      sort: (row) => row.metrics[name] ?? 0,
      cell: (row) => (name.endsWith(".rate") ? short(row.metrics[name]) : count(row.metrics[name])),
    });
    return [
      { key: "topic", head: t("topic_metrics.topic"), sort: (row) => row.topic, cell: (row) => <span class="mono break">{row.topic}</span> },
      number("in", t("topic_metrics.in"), "messages.in.count"),
      number("rate_in", t("topic_metrics.rate_in"), "messages.in.rate"),
      number("out", t("topic_metrics.out"), "messages.out.count"),
      number("rate_out", t("topic_metrics.rate_out"), "messages.out.rate"),
      number("dropped", t("topic_metrics.dropped"), "messages.dropped.count"),
      { key: "qos", head: t("topic_metrics.qos"), end: true, cell: (row) => [0, 1, 2].map((qos) => short(row.metrics[`messages.qos${qos}.in.count`])).join(" / ") },
      { key: "since", head: t("topic_metrics.since"), cell: (row) => <Moment at={row.reset_time ?? row.create_time} /> },
      {
        key: "actions",
        head: t("shell.actions"),
        actions: true,
        cell: (row) => (
          <>
            <Button
              small
              kind="quiet"
              icon="refresh"
              changes
              label={`${t("topic_metrics.reset")}: ${row.topic}`}
              onClick={async () => {
                await put("/mqtt/topic_metrics", { topic: row.topic, action: "reset" });
                counted.reload();
              }}
            />
            <Button
              small
              kind="quiet"
              icon="trash"
              changes
              label={`${t("shell.delete")}: ${row.topic}`}
              onClick={async () => {
                await remove(`/mqtt/topic_metrics/${part(row.topic)}`);
                counted.reload();
              }}
            />
          </>
        ),
      },
    ];
  }, []);
  return (
    <>
      <Head title={t("nav.topic_metrics")} about={t("topic_metrics.about")}>
        <Button icon="plus" kind="primary" changes onClick={() => setAdds(true)}>
          {t("topic_metrics.add")}
        </Button>
      </Head>
      <Show of={counted} rows={4}>
        {(rows) => (
          <Table
            label={t("nav.topic_metrics")}
            columns={columns}
            rows={rows}
            keyOf={(row) => row.topic}
            empty={
              <Empty icon="chart" title={t("topic_metrics.none")}>
                {t("topic_metrics.none_text")}
              </Empty>
            }
          />
        )}
      </Show>
      {adds && (
        <Add
          onClose={() => setAdds(false)}
          onDone={() => {
            setAdds(false);
            counted.reload();
          }}
        />
      )}
    </>
  );
}
