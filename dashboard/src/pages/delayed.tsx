import { useMemo } from "preact/hooks";

import { get, part, remove } from "../api/client";
import { useListing } from "../api/listing";
import { useLoad } from "../api/use";
import { bytes, span, when } from "../format";
import { t } from "../i18n";
import { Button } from "../ui/button";
import { confirm } from "../ui/dialog";
import { Empty, Head, Note, Show } from "../ui/states";
import { type Column, ListingPager, Table } from "../ui/table";

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

export default function Delayed() {
  const listing = useListing<DelayedMessage>("/mqtt/delayed/messages", {});
  const status = useLoad("delayed", (signal) => get<{ enable: boolean }>("/mqtt/delayed", undefined, signal));
  const discard = async (row: DelayedMessage) => {
    const yes = await confirm({ title: t("delayed.delete_title", { topic: row.topic }), text: t("delayed.delete_text"), action: t("shell.delete") });
    if (!yes) return;
    await remove(`/mqtt/delayed/messages/${part(row.node)}/${part(row.msgid)}`);
    listing.reload();
  };
  const columns = useMemo(
    (): Column<DelayedMessage>[] => [
      { key: "topic", head: t("delayed.topic"), sort: (row) => row.topic, cell: (row) => <span class="mono break">{row.topic}</span> },
      { key: "qos", head: "QoS", cell: (row) => row.qos },
      { key: "size", head: t("retained.size"), end: true, sort: (row) => row.payload_size, cell: (row) => bytes(row.payload_size) },
      { key: "interval", head: t("delayed.interval"), end: true, sort: (row) => row.delayed_interval, cell: (row) => span(row.delayed_interval) },
      { key: "left", head: t("delayed.left"), end: true, sort: (row) => row.delayed_remaining, cell: (row) => span(row.delayed_remaining) },
      { key: "due", head: t("delayed.due"), sort: (row) => row.expected_at, cell: (row) => <span class="nowrap">{when(row.expected_at)}</span> },
      {
        key: "actions",
        head: t("shell.actions"),
        actions: true,
        cell: (row) => <Button small kind="quiet" icon="trash" changes label={`${t("shell.delete")}: ${row.topic}`} onClick={() => discard(row)} />,
      },
    ],
    [],
  );
  return (
    <>
      <Head title={t("nav.delayed")} about={t("delayed.about")}>
        <Button icon="refresh" onClick={listing.reload}>
          {t("shell.refresh")}
        </Button>
      </Head>
      {status.data?.enable === false && <Note kind="warn">{t("delayed.off")}</Note>}
      <Show of={listing} rows={5}>
        {(told) => <Table label={t("nav.delayed")} columns={columns} rows={told.data} keyOf={(row) => row.msgid} empty={<Empty icon="clock" title={t("delayed.none")} />} />}
      </Show>
      <ListingPager of={listing} />
    </>
  );
}
