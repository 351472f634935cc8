import { useMemo, useState } from "preact/hooks";

import { useListing, useSettled } from "../api/listing";
import type { Subscription } from "../api/types";
import { t } from "../i18n";
import { amend, link } from "../route";
import { Button } from "../ui/button";
import { SearchBox } from "../ui/form";
import { Empty, Head, Show, Tag } from "../ui/states";
import { type Column, ListingPager, Table } from "../ui/table";
import { Options } from "./clients/drawer";
import type { PageProps } from "./registry";

const PARAMETERS = { match: "match_topic", filter: "topic", client: "clientid", group: "share_group" } as const;
type By = keyof typeof PARAMETERS;
const EVERY_MS = 5000;
const SETTLED_MS = 250;

export default function Subscriptions({ query }: PageProps) {
  const asked = query.get("by") ?? "match";
  const by: By = asked in PARAMETERS ? (asked as By) : "match";
  const text = query.get("text") ?? "";
  const [typed, setTyped] = useState(text);
  const settle = useSettled(SETTLED_MS, (value) => amend({ text: value || undefined }));
  const listing = useListing<Subscription>("/subscriptions", { [PARAMETERS[by]]: text }, EVERY_MS);
  const columns = useMemo(
    (): Column<Subscription>[] => [
      {
        key: "topic",
        head: t("clients.filter"),
        sort: (row) => row.topic,
        cell: (row) => (
          <span class="mono break">
            {row.topic} {row.topic.startsWith("$share/") && <Tag kind="accent">{t("subscriptions.shared")}</Tag>}
          </span>
        ),
      },
      { key: "client", head: t("clients.id"), cut: true, sort: (row) => row.clientid, cell: (row) => <a href={link(["clients", row.clientid])}>{row.clientid}</a> },
      { key: "options", head: t("clients.options"), sort: (row) => row.qos, cell: (row) => <Options of={row} /> },
    ],
    [],
  );
  const hints = { match: "subscriptions.hint_match", filter: "subscriptions.hint_filter", client: "subscriptions.hint_client", group: "subscriptions.hint_group" } as const;
  return (
    <>
      <Head title={t("nav.subscriptions")} about={t("subscriptions.about")}>
        <Button icon="refresh" onClick={listing.reload}>
          {t("shell.refresh")}
        </Button>
      </Head>
      <div class="toolbar">
        <select aria-label={t("subscriptions.by")} value={by} onChange={(event) => amend({ by: event.currentTarget.value })}>
          <option value="match">{t("subscriptions.by_match")}</option>
          <option value="filter">{t("subscriptions.by_filter")}</option>
          <option value="client">{t("subscriptions.by_client")}</option>
          <option value="group">{t("subscriptions.by_group")}</option>
        </select>
        <SearchBox
          label={t(hints[by])}
          value={typed}
          onInput={(value) => {
            setTyped(value);
            settle(value);
          }}
        />
      </div>
      <Show of={listing} rows={8}>
        {(told) => <Table label={t("nav.subscriptions")} columns={columns} rows={told.data} keyOf={(row) => `${row.clientid} ${row.topic}`} empty={<Empty title={t("subscriptions.none")} />} />}
      </Show>
      <ListingPager of={listing} />
    </>
  );
}
