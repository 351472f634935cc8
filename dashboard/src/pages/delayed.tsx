import { useEffect, useMemo, useState } from "preact/hooks";

import { get, part, remove } from "../api/client";
import { useListing } from "../api/listing";
import { useLoad } from "../api/use";
import { bytes, count, span, when } from "../format";
import { t } from "../i18n";
import { go, link } from "../route";
import { Button } from "../ui/button";
import { confirm, Dialog } from "../ui/dialog";
import { KeptMessage } from "../ui/message";
import { Moment } from "../ui/moment";
import { Empty, Head, Note, Show } from "../ui/states";
import { type Column, ListingPager, Table } from "../ui/table";
import { toast } from "../ui/toast";
import type { PageProps } from "./registry";

const EVERY_MS = 5000;

interface DelayedMessage {
  msgid: string;
  node: string;
  topic: string;
  qos: number;
  publish_at: string;
  expected_at: string;
  delayed_interval: number;
  delayed_remaining: number;
  payload_size: number;
}

async function discard(message: DelayedMessage): Promise<boolean> {
  const yes = await confirm({ title: t("delayed.delete_title", { topic: message.topic }), text: t("delayed.delete_text"), action: t("shell.delete") });
  if (!yes) return false;
  await remove(`/mqtt/delayed/messages/${part(message.node)}/${part(message.msgid)}`);
  toast("good", t("shell.deleted"));
  return true;
}

/** How long it is until then, second by second, from what the gateway's clock said. */
function Left({ message }: { message: DelayedMessage }) {
  const [left, setLeft] = useState(message.delayed_remaining);
  useEffect(() => {
    const start = performance.now();
    const show = () => setLeft(Math.max(0, message.delayed_remaining - (performance.now() - start) / 1000));
    show();
    const timer = setInterval(show, 1000);
    return () => clearInterval(timer);
  }, [message]);
  return <span class="nowrap">{span(left)}</span>;
}

export default function Delayed({ rest }: PageProps) {
  const listing = useListing<DelayedMessage>("/mqtt/delayed/messages", {}, EVERY_MS);
  const status = useLoad("delayed", (signal) => get<{ enable: boolean; max_delayed_messages: number }>("/mqtt/delayed", undefined, signal));
  const columns = useMemo(
    (): Column<DelayedMessage>[] => [
      {
        key: "topic",
        head: t("delayed.topic"),
        sort: (row) => row.topic,
        cell: (row) => (
          <a class="mono break" href={link(["delayed", row.node, row.msgid])}>
            {row.topic}
          </a>
        ),
      },
      { key: "qos", head: "QoS", cell: (row) => row.qos },
      { key: "size", head: t("retained.size"), end: true, sort: (row) => row.payload_size, cell: (row) => bytes(row.payload_size) },
      { key: "interval", head: t("delayed.interval"), end: true, sort: (row) => row.delayed_interval, cell: (row) => span(row.delayed_interval) },
      { key: "left", head: t("delayed.left"), end: true, sort: (row) => row.delayed_remaining, cell: (row) => <Left message={row} /> },
      { key: "due", head: t("delayed.due"), sort: (row) => row.expected_at, cell: (row) => <Moment at={row.expected_at} /> },
      {
        key: "actions",
        head: t("shell.actions"),
        actions: true,
        cell: (row) => <Button small kind="quiet" icon="trash" changes label={`${t("shell.delete")}: ${row.topic}`} onClick={async () => (await discard(row)) && listing.reload()} />,
      },
    ],
    [listing.reload],
  );
  const close = () => go(["delayed"]);
  const [node, msgid] = rest;
  return (
    <>
      <Head title={t("nav.delayed")} about={t("delayed.about")}>
        <Button icon="refresh" onClick={listing.reload}>
          {t("shell.refresh")}
        </Button>
      </Head>
      {status.data?.enable === false && <Note kind="warn">{t("delayed.off")}</Note>}
      <Show of={listing} rows={5}>
        {(told) => (
          <Table
            label={t("nav.delayed")}
            columns={columns}
            rows={told.data}
            keyOf={(row) => row.msgid}
            onRow={(row) => go(["delayed", row.node, row.msgid])}
            empty={
              <Empty icon="clock" title={t("delayed.none")}>
                {status.data?.enable && t("delayed.at_most", { n: count(status.data.max_delayed_messages) })}
              </Empty>
            }
          />
        )}
      </Show>
      <ListingPager of={listing} />
      {node !== undefined && msgid !== undefined && (
        <Message
          key={`${node} ${msgid}`}
          node={node}
          msgid={msgid}
          onClose={close}
          onDeleted={() => {
            close();
            listing.reload();
          }}
        />
      )}
    </>
  );
}

function Message({ node, msgid, onClose, onDeleted }: { node: string; msgid: string; onClose: () => void; onDeleted: () => void }) {
  const path = `/mqtt/delayed/messages/${part(node)}/${part(msgid)}`;
  const message = useLoad(path, (signal) => get<DelayedMessage & { payload: string }>(path, undefined, signal), EVERY_MS);
  if (message.error?.code === "MESSAGE_ID_NOT_FOUND") {
    return (
      <Dialog drawer title={t("nav.delayed")} onClose={onClose}>
        <Empty icon="clock" title={t("delayed.over")} />
      </Dialog>
    );
  }
  return (
    <Dialog drawer title={message.data?.topic ?? t("nav.delayed")} onClose={onClose}>
      <Show of={message}>
        {(told) => (
          <KeptMessage
            of={told}
            facts={[
              [t("retained.published"), when(told.publish_at)],
              [t("delayed.interval"), span(told.delayed_interval)],
              [t("delayed.left"), <Left message={told} />],
              [t("delayed.due"), when(told.expected_at)],
            ]}
          >
            <Button kind="danger" icon="trash" changes onClick={async () => (await discard(told)) && onDeleted()}>
              {t("shell.delete")}
            </Button>
          </KeptMessage>
        )}
      </Show>
    </Dialog>
  );
}
