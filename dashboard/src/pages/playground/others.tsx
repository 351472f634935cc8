import { get } from "../../api/client";
import type { Client, Listener, Paged, Subscription } from "../../api/types";
import { useLoad } from "../../api/use";
import { count, protocolName } from "../../format";
import { t } from "../../i18n";
import { portOf } from "../../mqtt/address";
import { link } from "../../route";
import { Copyable } from "../../ui/copy";
import { Card, Note, Show, Tag } from "../../ui/states";
import { type Command, coapCommands, contentFormat, isFilter, mqttSnCommands, type Wanted } from "./elsewhere";

const RECEIVERS_MAX = 50;
const EVERY_MS = 5000;

/** What the topic is called in the other protocols, and how to try it there. */
export function Elsewhere({ wanted }: { wanted: Wanted }) {
  const listeners = useLoad("listeners", (signal) => get<Listener[]>("/listeners", undefined, signal));
  if (wanted.topic === "") {
    return (
      <Card title={t("playground.elsewhere")}>
        <p class="soft">{t("playground.elsewhere_none")}</p>
      </Card>
    );
  }
  const port = (protocol: string) => {
    const found = listeners.data?.find((one) => one.protocol === protocol && one.type === "udp" && (one.running ?? one.status.running));
    return found ? portOf(found.bind) : null;
  };
  const coap = port("coap");
  const mqttSn = port("mqtt-sn");
  const format = contentFormat(wanted.contentType, wanted.isText);
  const type = wanted.contentType || "text/plain;charset=utf-8";
  return (
    <Card title={t("playground.elsewhere")}>
      <Show of={listeners} rows={3}>
        {() => (
          <div class="stack">
            <section class="stack-small">
              <h3>CoAP</h3>
              {coap === null ? <Note kind="warn">{t("playground.not_listening", { protocol: "CoAP" })}</Note> : <Commands of={coapCommands(location.hostname, coap, wanted)} />}
              {(wanted.contentType !== "" || wanted.isText) && (
                <p class="soft">{format === null ? t("playground.content_format_none", { type }) : t("playground.content_format_known", { type, n: format })}</p>
              )}
            </section>
            <section class="stack-small">
              <h3>MQTT-SN</h3>
              {mqttSn === null ? <Note kind="warn">{t("playground.not_listening", { protocol: "MQTT-SN" })}</Note> : <Commands of={mqttSnCommands(location.hostname, mqttSn, wanted)} />}
              {!isFilter(wanted.topic) && <p class="soft">{t(new TextEncoder().encode(wanted.topic).length === 2 ? "playground.sn_short" : "playground.sn_registered")}</p>}
            </section>
            <p class="soft">{t("playground.lost")}</p>
          </div>
        )}
      </Show>
    </Card>
  );
}

function Commands({ of }: { of: Command[] }) {
  const names = { uri: "playground.uri", read: "playground.read", observe: "playground.observe", put: "playground.put", sub: "playground.sub" } as const;
  return (
    <>
      {of.map((command) => (
        <Copyable key={command.name} label={t(names[command.name])} text={command.text} />
      ))}
    </>
  );
}

function protocolOf(name: string | null | undefined): string {
  return name ? protocolName(name) : t("clients.disconnected");
}

/** The clients, of every protocol, that a message to the topic would go to. */
export function Receivers({ topic }: { topic: string }) {
  const isTopic = topic !== "" && !isFilter(topic);
  const found = useLoad(
    `receivers ${isTopic ? topic : ""}`,
    async (signal): Promise<{ subscriptions: Paged<Subscription>; protocols: Map<string, string | null> } | null> => {
      if (!isTopic) return null;
      const subscriptions = await get<Paged<Subscription>>("/subscriptions", { match_topic: topic, limit: RECEIVERS_MAX }, signal);
      const ids = [...new Set(subscriptions.data.map((one) => one.clientid))];
      const clients = ids.length === 0 ? [] : (await get<Paged<Client>>("/clients", { clientid: ids, limit: RECEIVERS_MAX }, signal)).data;
      return { subscriptions, protocols: new Map(clients.map((client) => [client.clientid, client.proto_name])) };
    },
    isTopic ? EVERY_MS : undefined,
  );
  return (
    <Card title={t("playground.receivers")}>
      <Show of={found} rows={2}>
        {(told) =>
          told === null ? (
            <p class="soft">{t("playground.receivers_wild")}</p>
          ) : told.subscriptions.data.length === 0 ? (
            <p class="soft">{t("playground.receivers_none")}</p>
          ) : (
            <>
              <ul class="lines">
                {told.subscriptions.data.map((one) => (
                  <li key={`${one.clientid} ${one.topic}`} class="wrap">
                    <a class="break" href={link(["clients", one.clientid])}>
                      {one.clientid}
                    </a>
                    <span class="mono soft break grow">{one.topic}</span>
                    <Tag>{protocolOf(told.protocols.get(one.clientid))}</Tag>
                    <Tag>QoS {one.qos}</Tag>
                  </li>
                ))}
              </ul>
              {told.subscriptions.meta.hasnext && (
                <a href={link(["subscriptions"], { by: "match", text: topic })}>
                  {t("playground.receivers_more")}
                  {told.subscriptions.meta.count !== undefined && ` (${count(told.subscriptions.meta.count)})`}
                </a>
              )}
            </>
          )
        }
      </Show>
    </Card>
  );
}
