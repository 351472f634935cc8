import { useEffect, useMemo } from "preact/hooks";

import { remove } from "../api/client";
import { useListing } from "../api/listing";
import type { Alarm } from "../api/types";
import { span } from "../format";
import { t } from "../i18n";
import { onAlarm } from "../live/live";
import { alarmName } from "../live/problems";
import { amend } from "../route";
import { Button, Choice } from "../ui/button";
import { confirm } from "../ui/dialog";
import { Moment } from "../ui/moment";
import { Empty, Head, Show } from "../ui/states";
import { type Column, ListingPager, Table } from "../ui/table";
import type { PageProps } from "./registry";

/** How long an alarm lasts is told anew; that one comes or ends is told by the stream. */
const EVERY_MS = 10_000;

type Which = "now" | "past";

function AlarmName({ of }: { of: string }) {
  return (
    <span>
      {alarmName(of)} <small class="soft mono break">{of}</small>
    </span>
  );
}

export default function Alarms({ query }: PageProps) {
  const which: Which = query.get("which") === "past" ? "past" : "now";
  const listing = useListing<Alarm>("/alarms", { activated: which === "now" }, EVERY_MS);
  useEffect(() => onAlarm(listing.reload), [listing.reload]);
  const clear = async () => {
    const yes = await confirm({ title: t("alarms.clear_title"), text: t("alarms.clear_text"), action: t("alarms.clear") });
    if (!yes) return;
    await remove("/alarms");
    listing.reload();
  };
  const columns = useMemo((): Column<Alarm>[] => {
    const shown: Column<Alarm>[] = [
      { key: "name", head: t("alarms.name"), sort: (row) => row.name, cell: (row) => <AlarmName of={row.name} /> },
      { key: "message", head: t("alarms.message"), cell: (row) => <span class="break">{row.message}</span> },
      { key: "since", head: t("alarms.since"), sort: (row) => row.activate_at, cell: (row) => <Moment at={row.activate_at} /> },
    ];
    if (which === "past") shown.push({ key: "until", head: t("alarms.until"), cell: (row) => <Moment at={row.deactivate_at} /> });
    // EMQX tells milliseconds.
    shown.push({ key: "duration", head: t("alarms.duration"), end: true, sort: (row) => row.duration, cell: (row) => span(row.duration / 1000) });
    return shown;
  }, [which]);
  return (
    <>
      <Head title={t("nav.alarms")} about={t("alarms.about")}>
        {which === "past" && (
          <Button icon="trash" changes onClick={clear}>
            {t("alarms.clear")}
          </Button>
        )}
        <Button icon="refresh" onClick={listing.reload}>
          {t("shell.refresh")}
        </Button>
      </Head>
      <div class="toolbar">
        <Choice
          label={t("alarms.which")}
          value={which}
          options={[
            ["now", t("alarms.now")],
            ["past", t("alarms.past")],
          ]}
          onChange={(value) => amend({ which: value })}
        />
      </div>
      <Show of={listing} rows={4}>
        {(told) => <Table label={t("nav.alarms")} columns={columns} rows={told.data} keyOf={(row) => `${row.name} ${row.activate_at}`} empty={<Empty icon={which === "now" ? "check" : "bell"} title={t(`alarms.none_${which}`)} />} />}
      </Show>
      <ListingPager of={listing} />
    </>
  );
}
