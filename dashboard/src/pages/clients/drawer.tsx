import { useEffect, useState } from "preact/hooks";

import { get, part, post, remove } from "../../api/client";
import { onlyLooks } from "../../api/session";
import type { Client, Subscription } from "../../api/types";
import { useLoad } from "../../api/use";
import { bytes, count, NOTHING, protocolName, span, when } from "../../format";
import { t } from "../../i18n";
import { onClientEvent } from "../../live/live";
import { link } from "../../route";
import { Button } from "../../ui/button";
import { confirm, Dialog } from "../../ui/dialog";
import { CheckField, Form, SelectField, TextField } from "../../ui/form";
import { Empty, Facts, Show, Tag } from "../../ui/states";
import { toast } from "../../ui/toast";
import { kick } from "./index";
import { Waiting } from "./waiting";

const EVERY_MS = 5000;
const NEVER_SECS = 0xffff_ffff;

/** A client beside the list: its connection, its session, its subscriptions. */
export function ClientDrawer({ id, onClose }: { id: string; onClose: () => void }) {
  const path = `/clients/${part(id)}`;
  const client = useLoad(path, (signal) => get<Client>(path, undefined, signal), EVERY_MS);
  const subscriptions = useLoad(`${path}/subscriptions`, (signal) => get<Subscription[]>(`${path}/subscriptions`, undefined, signal), EVERY_MS);
  const reload = () => {
    client.reload();
    subscriptions.reload();
  };
  useEffect(() => onClientEvent((event) => event.clientid === id && reload()), [id]);
  if (client.error?.status === 404 && !client.error.isMissing) {
    return (
      <Dialog drawer title={id} onClose={onClose}>
        <Empty icon="plug" title={t("clients.over")} />
      </Dialog>
    );
  }
  return (
    <Dialog drawer title={id} onClose={onClose}>
      <Show of={client}>
        {(told) => (
          <div class="stack">
            <div class="row">
              {told.connected ? <Tag kind="good">{t("clients.connected")}</Tag> : <Tag>{t("clients.disconnected")}</Tag>}
              {told.proto_name && <Tag>{protocolName(told.proto_name)}</Tag>}
              <span class="grow" />
              {told.connected && (
                <Button small kind="danger" icon="plug" changes onClick={async () => (await kick(id)) && reload()}>
                  {t("clients.kick")}
                </Button>
              )}
            </div>
            {told.connected && (
              <section class="stack-small">
                <h3>{t("clients.connection")}</h3>
                <Facts
                  of={[
                    [t("clients.username"), told.username ?? NOTHING],
                    [t("clients.address"), told.ip_address === null ? NOTHING : `${told.ip_address}:${told.port}`],
                    [t("clients.listener"), told.listener ?? NOTHING],
                    [t("clients.since"), when(told.connected_at)],
                    [t("clients.keepalive"), told.keepalive === null ? NOTHING : t("clients.secs", { n: told.keepalive })],
                    [t("clients.clean_start"), told.clean_start ? t("shell.yes") : t("shell.no")],
                  ]}
                />
              </section>
            )}
            <section class="stack-small">
              <h3>{t("clients.session")}</h3>
              <Facts
                of={[
                  [t("clients.expiry"), expiry(told.expiry_interval)],
                  [t("clients.durable"), told.durable ? t("shell.yes") : t("shell.no")],
                  [t("clients.queue"), `${count(told.mqueue_len)} / ${count(told.mqueue_max)}`],
                  [t("clients.queued_bytes"), bytes(told.total_payload_bytes)],
                  ...(told.mqueue_dropped === undefined ? [] : [[t("clients.queue_dropped"), count(told.mqueue_dropped)] as const]),
                  ...(told.inflight_cnt === undefined ? [] : [[t("clients.inflight"), `${count(told.inflight_cnt)} / ${count(told.inflight_max)}`] as const]),
                  ...(told.created_at ? [[t("clients.created"), when(told.created_at)] as const] : []),
                  ...(!told.connected && told.disconnected_at ? [[t("clients.away_since"), when(told.disconnected_at)] as const] : []),
                ]}
              />
            </section>
            <Traffic of={told} />
            <section class="stack-small">
              <h3>{t("clients.subscriptions")}</h3>
              <Show of={subscriptions} rows={2}>
                {(all) => <Subscriptions id={id} all={all} reload={reload} />}
              </Show>
            </section>
            {!onlyLooks.value && <Subscribe id={id} onDone={reload} />}
            <Waiting id={id} />
            <Elsewhere of={told} />
          </div>
        )}
      </Show>
    </Dialog>
  );
}

/** What the connection has carried, where the gateway tells it. */
function Traffic({ of }: { of: Client }) {
  const both = (received: number | undefined, sent: number | undefined, as: (value: number) => string) =>
    received === undefined && sent === undefined ? null : `${received === undefined ? NOTHING : as(received)} / ${sent === undefined ? NOTHING : as(sent)}`;
  const rows = [
    [t("clients.messages"), both(of.recv_msg, of.send_msg, count)],
    [t("clients.packets"), both(of.recv_pkt, of.send_pkt, count)],
    [t("clients.bytes"), both(of.recv_oct, of.send_oct, bytes)],
  ] as const;
  const known = rows.filter((row): row is readonly [string, string] => row[1] !== null);
  if (known.length === 0) return null;
  return (
    <section class="stack-small">
      <h3>{t("clients.traffic")}</h3>
      <Facts of={known} />
    </section>
  );
}

/** Where more is found out about the client. */
function Elsewhere({ of }: { of: Client }) {
  const about = { clientid: of.clientid, username: of.username ?? undefined, peerhost: of.ip_address ?? undefined, listener: of.listener ?? undefined, protocol: of.proto_name?.toLowerCase() };
  if (onlyLooks.value) return null;
  return (
    <div class="row">
      <a class="button small" href={link(["access"], { part: "explain", ...about })}>
        {t("clients.explain")}
      </a>
      <a class="button small" href={link(["trace"], { clientid: of.clientid })}>
        {t("clients.trace")}
      </a>
      {of.connected && (
        <Button
          small
          changes
          onClick={async () => {
            await remove(`/clients/${part(of.clientid)}/authorization/cache`);
            toast("good", t("clients.cache_cleared"));
          }}
        >
          {t("access.clear_cache")}
        </Button>
      )}
    </div>
  );
}

function expiry(secs: number): string {
  if (secs === 0) return t("clients.expiry_none");
  return secs === NEVER_SECS ? t("clients.expiry_never") : span(secs);
}

function Subscriptions({ id, all, reload }: { id: string; all: Subscription[]; reload: () => void }) {
  if (all.length === 0) return <p class="soft">{t("clients.no_subscriptions")}</p>;
  const end = async (topic: string) => {
    const yes = await confirm({ title: t("clients.unsubscribe_title", { topic }), text: t("clients.unsubscribe_text", { id }), action: t("clients.unsubscribe") });
    if (!yes) return;
    await post(`/clients/${part(id)}/unsubscribe`, { topic });
    reload();
  };
  return (
    <ul class="lines">
      {all.map((one) => (
        <li key={one.topic}>
          <a class="mono break grow" href={link(["subscriptions"], { by: "filter", text: one.topic })}>
            {one.topic}
          </a>
          <Options of={one} />
          <Button small kind="quiet" icon="trash" changes label={`${t("clients.unsubscribe")}: ${one.topic}`} onClick={() => end(one.topic)} />
        </li>
      ))}
    </ul>
  );
}

export function Options({ of }: { of: Subscription }) {
  return (
    <span class="row tight">
      <Tag>QoS {of.qos}</Tag>
      {of.nl === 1 && <Tag>{t("clients.no_local")}</Tag>}
      {of.rap === 1 && <Tag>{t("clients.as_published")}</Tag>}
      {of.rh !== 0 && <Tag>{t("clients.retain_handling", { n: of.rh })}</Tag>}
    </span>
  );
}

function Subscribe({ id, onDone }: { id: string; onDone: () => void }) {
  const [topic, setTopic] = useState("");
  const [qos, setQos] = useState("0");
  const [noLocal, setNoLocal] = useState(false);
  const submit = async () => {
    await post(`/clients/${part(id)}/subscribe`, { topic, qos: Number(qos), nl: noLocal ? 1 : 0 });
    setTopic("");
    onDone();
  };
  return (
    <section class="stack-small">
      <h3>{t("clients.subscribe")}</h3>
      <Form action={t("clients.subscribe")} disabled={topic === ""} onSubmit={submit}>
        <div class="form-row">
          <TextField label={t("clients.filter")} mono hint={t("clients.subscribe_text")} value={topic} onInput={setTopic} />
          <SelectField label={t("clients.qos")} value={qos} onChange={setQos} options={["0", "1", "2"].map((n) => [n, n] as const)} />
        </div>
        <CheckField label={t("clients.no_local")} checked={noLocal} onChange={setNoLocal} />
      </Form>
    </section>
  );
}
