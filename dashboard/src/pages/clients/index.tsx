import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import { get, part, remove } from "../../api/client";
import { useListing, useSettled } from "../../api/listing";
import type { Client, Paged } from "../../api/types";
import { useLoad } from "../../api/use";
import { count, NOTHING, protocolName } from "../../format";
import { t } from "../../i18n";
import { onClientEvent } from "../../live/live";
import { amend, go, link } from "../../route";
import { Button } from "../../ui/button";
import { confirm } from "../../ui/dialog";
import { SearchBox } from "../../ui/form";
import { Moment } from "../../ui/moment";
import { Empty, Head, Show, Tag } from "../../ui/states";
import { type Column, ListingPager, Table } from "../../ui/table";
import { toast } from "../../ui/toast";
import type { PageProps } from "../registry";
import { ClientDrawer } from "./drawer";

const PROTOCOLS = ["MQTT", "MQTT-SN", "COAP"];
/** What a row shows: for other fields each client's connection would be asked. */
const FIELDS = "clientid,connected,connected_at,proto_name,proto_ver,username,ip_address,subscriptions_cnt,mqueue_len";
const SETTLED_MS = 250;
const EVERY_MS = 5000;
/** Of the client ids in one question. */
const ASKED_CHARS_MAX = 6000;

export async function kick(id: string): Promise<boolean> {
  const yes = await confirm({ title: t("clients.kick_title", { id }), text: t("clients.kick_text"), action: t("clients.kick") });
  if (!yes) return false;
  await remove(`/clients/${part(id)}`);
  toast("good", t("clients.kicked", { id }));
  return true;
}

export default function Clients({ rest, query }: PageProps) {
  const q = query.get("q") ?? "";
  const protocol = (query.get("proto_name") ?? "").toUpperCase();
  const state = query.get("conn_state") ?? "";
  const [typed, setTyped] = useState(q);
  const settle = useSettled(SETTLED_MS, (text) => amend({ q: text || undefined }));
  const listing = useListing<Client>("/clients", { q, proto_name: protocol, conn_state: state, fields: FIELDS });
  const changes = useChanges(listing.data);
  const now = useNow(listing.data);
  const filtered = q !== "" || protocol !== "" || state !== "";
  const here = { q, proto_name: protocol, conn_state: state };
  const reload = () => {
    changes.refresh();
    listing.reload();
  };

  const columns = useMemo(
    (): Column<Client>[] => [
      { key: "id", head: t("clients.id"), cut: true, sort: (row) => row.clientid, cell: (row) => <a href={link(["clients", row.clientid], here)}>{row.clientid}</a> },
      { key: "state", head: t("clients.state"), sort: (row) => Number(row.connected), cell: (row) => <State client={row} gone={changes.gone.has(row.clientid)} /> },
      { key: "protocol", head: t("clients.protocol"), sort: (row) => row.proto_name ?? "", cell: (row) => (row.proto_name ? <span class="nowrap">{version(row)}</span> : NOTHING) },
      { key: "username", head: t("clients.username"), cut: true, sort: (row) => row.username ?? "", cell: (row) => row.username ?? NOTHING },
      { key: "address", head: t("clients.address"), sort: (row) => row.ip_address ?? "", cell: (row) => row.ip_address ?? NOTHING },
      { key: "subscriptions", head: t("clients.subscriptions"), end: true, sort: (row) => row.subscriptions_cnt, cell: (row) => count(row.subscriptions_cnt) },
      { key: "queue", head: t("clients.queue"), end: true, sort: (row) => row.mqueue_len, cell: (row) => count(row.mqueue_len) },
      { key: "since", head: t("clients.since"), sort: (row) => row.connected_at ?? "", cell: (row) => <Moment at={row.connected_at} /> },
      {
        key: "actions",
        head: t("shell.actions"),
        actions: true,
        cell: (row) =>
          row.connected && (
            <Button small kind="quiet" icon="plug" changes label={`${t("clients.kick")}: ${row.clientid}`} onClick={async () => (await kick(row.clientid)) && reload()} />
          ),
      },
    ],
    [changes.gone, q, protocol, state],
  );

  return (
    <>
      <Head title={t("nav.clients")} about={t("clients.about")}>
        {changes.count > 0 && (
          <span class="tag accent" role="status">
            {t("clients.changes", { n: changes.count >= CHANGES_MAX ? `${CHANGES_MAX}+` : changes.count })}
          </span>
        )}
        <Button icon="refresh" onClick={reload}>
          {t("shell.refresh")}
        </Button>
      </Head>
      <div class="toolbar">
        <SearchBox
          label={t("clients.search")}
          value={typed}
          onInput={(text) => {
            setTyped(text);
            settle(text);
          }}
        />
        <select aria-label={t("clients.protocol")} value={protocol} onChange={(event) => amend({ proto_name: event.currentTarget.value || undefined })}>
          <option value="">
            {t("clients.protocol")}: {t("shell.all")}
          </option>
          {PROTOCOLS.map((name) => (
            <option key={name} value={name}>
              {protocolName(name)}
            </option>
          ))}
        </select>
        <select aria-label={t("clients.state")} value={state} onChange={(event) => amend({ conn_state: event.currentTarget.value || undefined })}>
          <option value="">
            {t("clients.state")}: {t("shell.all")}
          </option>
          <option value="connected">{t("clients.connected")}</option>
          <option value="disconnected">{t("clients.disconnected")}</option>
        </select>
      </div>
      <Show of={listing} rows={8}>
        {(told) => (
          <Table
            label={t("nav.clients")}
            columns={columns}
            rows={told.data.map((row) => now.get(row.clientid) ?? row)}
            keyOf={(row) => row.clientid}
            classOf={(row) => (changes.gone.has(row.clientid) ? "gone" : changes.fresh.has(row.clientid) ? "new" : undefined)}
            onRow={(row) => go(["clients", row.clientid], here)}
            empty={<Empty title={filtered ? t("clients.none") : t("clients.none_yet")}>{!filtered && t("clients.none_text")}</Empty>}
          />
        )}
      </Show>
      <ListingPager of={listing} />
      {rest[0] !== undefined && <ClientDrawer key={rest[0]} id={rest[0]} onClose={() => go(["clients"], here)} />}
    </>
  );
}

function version(client: Client): string {
  if (client.proto_name !== "MQTT") return protocolName(client.proto_name ?? NOTHING);
  return `MQTT ${{ 3: "3.1", 4: "3.1.1", 5: "5.0" }[client.proto_ver ?? 0] ?? ""}`;
}

function State({ client, gone }: { client: Client; gone: boolean }) {
  return client.connected && !gone ? <Tag kind="good">{t("clients.connected")}</Tag> : <Tag>{t("clients.disconnected")}</Tag>;
}

/** What the rows that are shown tell now: queues and states change, and no row comes or goes. */
function useNow(shown: Paged<Client> | undefined): ReadonlyMap<string, Client> {
  const ids: string[] = [];
  let chars = 0;
  for (const { clientid } of shown?.data ?? []) {
    chars += encodeURIComponent(clientid).length;
    if (chars <= ASKED_CHARS_MAX) ids.push(clientid);
  }
  const told = useLoad(
    `now ${ids.join("\n")}`,
    async (signal) => (ids.length === 0 ? [] : (await get<Paged<Client>>("/clients", { clientid: ids, limit: ids.length, fields: FIELDS }, signal)).data),
    EVERY_MS,
  );
  return useMemo(() => new Map(told.data?.map((row) => [row.clientid, row])), [told.data]);
}

const CHANGES_MAX = 999;

/**
 * What has happened since the rows were read. Rows do not jump: those whose client has left are marked, what is new is
 * counted, and stands out once the rows are read again.
 */
function useChanges(shown: Paged<Client> | undefined) {
  const [total, setTotal] = useState(0);
  const [gone, setGone] = useState<ReadonlySet<string>>(new Set());
  const [fresh, setFresh] = useState<ReadonlySet<string>>(new Set());
  const known = useRef<ReadonlySet<string> | null>(null);
  const ids = useRef<ReadonlySet<string>>(new Set());

  useEffect(() => {
    ids.current = new Set(shown?.data.map((row) => row.clientid));
    const before = known.current;
    setFresh(new Set(before && shown ? shown.data.filter((row) => !before.has(row.clientid)).map((row) => row.clientid) : []));
    known.current = null;
    setTotal(0);
    setGone(new Set());
  }, [shown]);

  useEffect(
    () =>
      onClientEvent(({ event, clientid }) => {
        if (event !== "connected" && event !== "disconnected") return;
        setTotal((before) => Math.min(before + 1, CHANGES_MAX));
        if (!ids.current.has(clientid)) return;
        setGone((before) => {
          const next = new Set(before);
          if (event === "disconnected") next.add(clientid);
          else next.delete(clientid);
          return next;
        });
      }),
    [],
  );
  return { count: total, gone, fresh, refresh: () => (known.current = ids.current) };
}
