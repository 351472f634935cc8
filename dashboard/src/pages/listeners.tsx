import { useMemo, useState } from "preact/hooks";

import { get, part, post } from "../api/client";
import type { Listener } from "../api/types";
import { useLoad } from "../api/use";
import { count, when } from "../format";
import { t } from "../i18n";
import { Button } from "../ui/button";
import { confirm, Dialog } from "../ui/dialog";
import { Empty, Facts, Head, Show, Tag } from "../ui/states";
import { type Column, Table } from "../ui/table";

const EVERY_MS = 5000;
const SOON_MS = 14 * 86_400_000;

function isRunning(of: Listener): boolean {
  return of.running ?? of.status.running;
}

function State({ of }: { of: Listener }) {
  if (isRunning(of)) return <Tag kind="good">{t("listeners.running")}</Tag>;
  if (of.failure) {
    return (
      <span>
        <Tag kind="bad">{t("listeners.failed")}</Tag> <span class="break">{of.failure}</span>
      </span>
    );
  }
  return of.enable ? <Tag kind="warn">{t("listeners.stopped")}</Tag> : <Tag>{t("listeners.off")}</Tag>;
}

export default function Listeners() {
  const listeners = useLoad("listeners", (signal) => get<Listener[]>("/listeners", undefined, signal), EVERY_MS);
  const [shown, setShown] = useState<Listener | null>(null);
  const turn = async (of: Listener, verb: "start" | "stop" | "restart") => {
    if (verb !== "start") {
      const n = count(of.status.current_connections);
      const yes = await confirm({ title: t(`listeners.${verb}_title`, { id: of.id }), text: t(`listeners.${verb}_text`, { n }), action: t(`listeners.${verb}`) });
      if (!yes) return;
    }
    await post(`/listeners/${part(of.id)}/${verb}`);
    listeners.reload();
  };
  const columns = useMemo(
    (): Column<Listener>[] => [
      { key: "id", head: t("listeners.listener"), sort: (row) => row.id, cell: (row) => <span class="mono">{row.id}</span> },
      { key: "protocol", head: t("listeners.protocol"), sort: (row) => row.protocol, cell: (row) => row.protocol },
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
      {
        key: "certificate",
        head: t("listeners.certificate"),
        cell: (row) => {
          if (!row.certificate) return "–";
          const ends = Date.parse(row.certificate.not_after);
          const kind = ends < Date.now() ? "bad" : ends < Date.now() + SOON_MS ? "warn" : "plain";
          const date = new Date(ends).toLocaleDateString();
          return (
            <Button small kind="quiet" onClick={() => setShown(row)}>
              <Tag kind={kind}>{t(kind === "bad" ? "listeners.ended" : "listeners.ends", { when: date })}</Tag>
            </Button>
          );
        },
      },
      {
        key: "actions",
        head: t("shell.actions"),
        actions: true,
        cell: (row) =>
          isRunning(row) ? (
            <>
              <Button small kind="quiet" icon="refresh" changes label={`${t("listeners.restart")}: ${row.id}`} onClick={() => turn(row, "restart")} />
              <Button small changes onClick={() => turn(row, "stop")}>
                {t("listeners.stop")}
              </Button>
            </>
          ) : (
            <Button small changes onClick={() => turn(row, "start")}>
              {t("listeners.start")}
            </Button>
          ),
      },
    ],
    [],
  );
  const certificate = shown?.certificate;
  return (
    <>
      <Head title={t("nav.listeners")} about={t("listeners.about")}>
        <Button icon="refresh" onClick={listeners.reload}>
          {t("shell.refresh")}
        </Button>
      </Head>
      <Show of={listeners} rows={8}>
        {(rows) => <Table label={t("nav.listeners")} columns={columns} rows={rows} keyOf={(row) => row.id} empty={<Empty icon="plug" title={t("listeners.none")} />} />}
      </Show>
      {shown && certificate && (
        <Dialog title={t("listeners.certificate_of", { id: shown.id })} onClose={() => setShown(null)}>
          <Facts
            of={[
              [t("listeners.subject"), <span class="break">{certificate.subject}</span>],
              [t("listeners.issuer"), <span class="break">{certificate.issuer}</span>],
              [t("listeners.not_after"), when(certificate.not_after)],
              [t("listeners.names"), <span class="break">{(certificate.names ?? []).join(", ")}</span>],
            ]}
          />
        </Dialog>
      )}
    </>
  );
}
