import { useMemo } from "preact/hooks";

import { useListing } from "../api/listing";
import { count, NOTHING } from "../format";
import { t } from "../i18n";
import { Button } from "../ui/button";
import { Moment } from "../ui/moment";
import { Empty, Head, Show, Tag } from "../ui/states";
import { type Column, ListingPager, Table } from "../ui/table";

const EVERY_MS = 5000;

interface Entry {
  created_at: string;
  from: "dashboard" | "rest_api";
  source: string;
  source_ip: string | null;
  http_method: string;
  http_request: { path: string };
  http_status_code: number;
  duration_ms: number;
}

export default function Audit() {
  const listing = useListing<Entry>("/audit", {}, EVERY_MS);
  const columns = useMemo(
    (): Column<Entry>[] => [
      { key: "at", head: t("audit.at"), sort: (row) => row.created_at, cell: (row) => <Moment at={row.created_at} /> },
      { key: "who", head: t("audit.who"), sort: (row) => row.source, cell: (row) => row.source || NOTHING },
      {
        key: "from",
        head: t("audit.from"),
        sort: (row) => row.from,
        cell: (row) => (
          <span>
            {t(`audit.from_${row.from}`)} <small class="soft mono">{row.source_ip}</small>
          </span>
        ),
      },
      {
        key: "what",
        head: t("audit.what"),
        sort: (row) => row.http_request.path,
        cell: (row) => (
          <span class="mono break">
            {row.http_method.toUpperCase()} {row.http_request.path}
          </span>
        ),
      },
      { key: "result", head: t("audit.result"), sort: (row) => row.http_status_code, cell: (row) => <Tag kind={row.http_status_code < 400 ? "good" : "bad"}>{row.http_status_code}</Tag> },
      { key: "took", head: t("audit.took"), end: true, sort: (row) => row.duration_ms, cell: (row) => `${count(row.duration_ms)} ms` },
    ],
    [],
  );
  return (
    <>
      <Head title={t("nav.audit")} about={t("audit.about")}>
        <Button icon="refresh" onClick={listing.reload}>
          {t("shell.refresh")}
        </Button>
      </Head>
      <Show of={listing} rows={8}>
        {(told) => <Table label={t("nav.audit")} columns={columns} rows={told.data} keyOf={(row) => `${row.created_at} ${row.http_method} ${row.http_request.path}`} empty={<Empty icon="list" title={t("audit.none")} />} />}
      </Show>
      <ListingPager of={listing} />
    </>
  );
}
