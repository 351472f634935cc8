import { useMemo, useState } from "preact/hooks";

import { api, get, part, remove } from "../api/client";
import { useListing, useSettled } from "../api/listing";
import type { RetainedInfo } from "../api/types";
import { useLoad } from "../api/use";
import { bytes, when } from "../format";
import { t } from "../i18n";
import { amend, go, link } from "../route";
import { Button } from "../ui/button";
import { confirm, Dialog } from "../ui/dialog";
import { AreaField, CheckField, Form, SearchBox, SelectField, TextField } from "../ui/form";
import { KeptMessage } from "../ui/message";
import { Moment } from "../ui/moment";
import { Empty, Head, Show } from "../ui/states";
import { type Column, ListingPager, Table } from "../ui/table";
import { toast } from "../ui/toast";
import type { PageProps } from "./registry";

const EVERY_MS = 5000;
const SETTLED_MS = 250;

async function discard(topic: string): Promise<boolean> {
  const yes = await confirm({ title: t("retained.delete_title", { topic }), text: t("retained.delete_text"), action: t("shell.delete") });
  if (!yes) return false;
  await remove(`/mqtt/retainer/message/${part(topic)}`);
  toast("good", t("shell.deleted"));
  return true;
}

export default function Retained({ rest, query }: PageProps) {
  const filter = query.get("topic") ?? "";
  const [typed, setTyped] = useState(filter);
  const [publishing, setPublishing] = useState(false);
  const settle = useSettled(SETTLED_MS, (value) => amend({ topic: value || undefined }));
  // Without a filter those of the gateway itself, below $SYS, are left out.
  const listing = useListing<RetainedInfo>("/mqtt/retainer/messages", { topic: filter || "#" }, EVERY_MS);
  const here = { topic: filter };
  const columns = useMemo(
    (): Column<RetainedInfo>[] => [
      {
        key: "topic",
        head: t("retained.topic"),
        sort: (row) => row.topic,
        cell: (row) => (
          <a class="mono break" href={link(["retained", row.topic], here)}>
            {row.topic}
          </a>
        ),
      },
      { key: "qos", head: "QoS", sort: (row) => row.qos, cell: (row) => row.qos },
      { key: "size", head: t("retained.size"), end: true, sort: (row) => row.payload_size, cell: (row) => bytes(row.payload_size) },
      { key: "at", head: t("retained.published"), sort: (row) => row.publish_at, cell: (row) => <Moment at={row.publish_at} /> },
      { key: "until", head: t("retained.expires"), cell: (row) => <Moment at={row.expires_at} /> },
      {
        key: "actions",
        head: t("shell.actions"),
        actions: true,
        cell: (row) => <Button small kind="quiet" icon="trash" changes label={`${t("shell.delete")}: ${row.topic}`} onClick={async () => (await discard(row.topic)) && listing.reload()} />,
      },
    ],
    [filter, listing.reload],
  );
  const close = () => go(["retained"], here);
  return (
    <>
      <Head title={t("nav.retained")} about={t("retained.about")}>
        <Button icon="send" changes onClick={() => setPublishing(true)}>
          {t("retained.publish")}
        </Button>
        <Button
          icon="trash"
          changes
          onClick={async () => {
            const yes = await confirm({ title: t("retained.delete_all_title"), text: t("retained.delete_all_text"), action: t("retained.delete_all") });
            if (!yes) return;
            await remove("/mqtt/retainer/messages");
            toast("good", t("shell.deleted"));
            listing.reload();
          }}
        >
          {t("retained.delete_all")}
        </Button>
        <Button icon="refresh" onClick={listing.reload}>
          {t("shell.refresh")}
        </Button>
      </Head>
      <div class="toolbar">
        <SearchBox
          label={t("retained.search")}
          value={typed}
          onInput={(value) => {
            setTyped(value);
            settle(value);
          }}
        />
      </div>
      <Show of={listing} rows={8}>
        {(told) => (
          <Table label={t("nav.retained")} columns={columns} rows={told.data} keyOf={(row) => row.topic} onRow={(row) => go(["retained", row.topic], here)} empty={<Empty icon="pin" title={t("retained.none")} />} />
        )}
      </Show>
      <ListingPager of={listing} />
      {rest[0] !== undefined && (
        <Message
          key={rest[0]}
          topic={rest[0]}
          onClose={close}
          onDeleted={() => {
            close();
            listing.reload();
          }}
        />
      )}
      {publishing && (
        <Publish
          onClose={() => setPublishing(false)}
          onDone={() => {
            setPublishing(false);
            listing.reload();
          }}
        />
      )}
    </>
  );
}

function Message({ topic, onClose, onDeleted }: { topic: string; onClose: () => void; onDeleted: () => void }) {
  const path = `/mqtt/retainer/message/${part(topic)}`;
  const message = useLoad(path, (signal) => get<RetainedInfo & { payload: string }>(path, undefined, signal));
  return (
    <Dialog drawer title={topic} onClose={onClose}>
      <Show of={message}>
        {(told) => (
          <KeptMessage
            of={told}
            facts={[
              [t("retained.published"), when(told.publish_at)],
              [t("retained.expires"), when(told.expires_at)],
            ]}
          >
            <Button kind="danger" icon="trash" changes onClick={async () => (await discard(topic)) && onDeleted()}>
              {t("shell.delete")}
            </Button>
          </KeptMessage>
        )}
      </Show>
    </Dialog>
  );
}

function Publish({ onClose, onDone }: { onClose: () => void; onDone: () => void }) {
  const [topic, setTopic] = useState("");
  const [payload, setPayload] = useState("");
  const [qos, setQos] = useState("0");
  const [retain, setRetain] = useState(true);
  const submit = async () => {
    const told = await api<{ reason_code?: number }>("POST", "/publish", { body: { topic, payload, qos: Number(qos), retain } });
    toast("good", t(told?.reason_code === 16 ? "retained.nobody" : "retained.published_to", { topic }));
    onDone();
  };
  return (
    <Dialog title={t("retained.publish_title")} onClose={onClose}>
      <Form action={t("retained.publish")} disabled={topic === ""} onSubmit={submit} onCancel={onClose}>
        <TextField label={t("retained.topic")} mono autofocus value={topic} onInput={setTopic} />
        <AreaField label={t("retained.payload")} value={payload} onInput={setPayload} />
        <div class="form-row">
          <SelectField label="QoS" value={qos} onChange={setQos} options={["0", "1", "2"].map((n) => [n, n] as const)} />
        </div>
        <CheckField label={t("retained.retain")} checked={retain} onChange={setRetain} />
      </Form>
    </Dialog>
  );
}
