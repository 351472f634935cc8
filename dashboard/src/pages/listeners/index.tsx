import { useMemo, useState } from "preact/hooks";

import { get } from "../../api/client";
import type { Listener } from "../../api/types";
import { useLoad } from "../../api/use";
import { count, NOTHING, protocolName } from "../../format";
import { t } from "../../i18n";
import { go, link } from "../../route";
import { Button } from "../../ui/button";
import { Empty, Head, Show } from "../../ui/states";
import { type Column, Table } from "../../ui/table";
import type { PageProps } from "../registry";
import { Ends, ListenerDrawer } from "./drawer";
import { Edit } from "./edit";
import { isRunning, State, turn } from "./state";

const EVERY_MS = 2000;

export default function Listeners({ rest }: PageProps) {
  const listeners = useLoad("listeners", (signal) => get<Listener[]>("/listeners", undefined, signal), EVERY_MS);
  const [edited, setEdited] = useState<Listener | "new" | null>(null);
  const columns = useMemo((): Column<Listener>[] => {
    const act = async (of: Listener, verb: "start" | "stop" | "restart") => {
      if (await turn(of, verb)) listeners.reload();
    };
    return [
      {
        key: "id",
        head: t("listeners.listener"),
        sort: (row) => row.id,
        cell: (row) => (
          <a class="mono" href={link(["listeners", row.id])}>
            {row.id}
          </a>
        ),
      },
      { key: "protocol", head: t("listeners.protocol"), sort: (row) => row.protocol, cell: (row) => <span class="nowrap">{protocolName(row.protocol)}</span> },
      { key: "bind", head: t("listeners.bind"), cell: (row) => <span class="mono break">{row.bind}</span> },
      { key: "state", head: t("listeners.state"), sort: (row) => Number(isRunning(row)), cell: (row) => <State of={row} /> },
      {
        key: "connections",
        head: t("listeners.connections"),
        end: true,
        sort: (row) => row.status.current_connections,
        cell: (row) => (
          <span>
            {count(row.status.current_connections)} {typeof row.status.max_connections === "number" && <small class="soft">{t("listeners.of", { n: count(row.status.max_connections) })}</small>}
          </span>
        ),
      },
      { key: "accepted", head: t("listeners.accepted"), end: true, sort: (row) => row.accepted, cell: (row) => count(row.accepted) },
      { key: "refused", head: t("listeners.refused"), end: true, sort: (row) => row.refused, cell: (row) => count(row.refused) },
      { key: "certificate", head: t("listeners.certificate"), cell: (row) => (row.certificate ? <Ends of={row} /> : NOTHING) },
      {
        key: "actions",
        head: t("shell.actions"),
        actions: true,
        cell: (row) =>
          isRunning(row) ? (
            <>
              <Button small kind="quiet" icon="refresh" changes label={`${t("listeners.restart")}: ${row.id}`} onClick={() => act(row, "restart")} />
              <Button small changes label={`${t("listeners.stop")}: ${row.id}`} onClick={() => act(row, "stop")}>
                {t("listeners.stop")}
              </Button>
            </>
          ) : (
            <Button small changes label={`${t("listeners.start")}: ${row.id}`} onClick={() => act(row, "start")}>
              {t("listeners.start")}
            </Button>
          ),
      },
    ];
  }, [listeners.reload]);
  const shown = listeners.data?.find((one) => one.id === rest[0]);
  return (
    <>
      <Head title={t("nav.listeners")} about={t("listeners.about")}>
        <Button icon="plus" kind="primary" changes onClick={() => setEdited("new")}>
          {t("listeners.add")}
        </Button>
      </Head>
      <Show of={listeners} rows={8}>
        {(rows) => (
          <Table label={t("nav.listeners")} columns={columns} rows={rows} keyOf={(row) => row.id} onRow={(row) => go(["listeners", row.id])} empty={<Empty icon="plug" title={t("listeners.none")} />} />
        )}
      </Show>
      {shown && !edited && <ListenerDrawer key={shown.id} of={shown} onClose={() => go(["listeners"])} onEdit={() => setEdited(shown)} onChanged={listeners.reload} />}
      {edited && (
        <Edit
          of={edited === "new" ? null : edited}
          onClose={() => setEdited(null)}
          onDone={() => {
            setEdited(null);
            listeners.reload();
          }}
        />
      )}
    </>
  );
}
