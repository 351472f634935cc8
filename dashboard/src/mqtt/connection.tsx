import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

import { get } from "../api/client";
import type { Listener } from "../api/types";
import { t } from "../i18n";
import { Button } from "../ui/button";
import { TextField } from "../ui/form";
import { Note } from "../ui/states";
import { portOf } from "./address";
import { Client } from "./client";
import type { Publication } from "./codec";

/** Larger messages are not sent to the page. */
const PACKET_BYTES_MAX = 1024 * 1024;

/** How the page connects as a client. It is kept while the page is open, and nowhere else. */
const settings = signal({ url: "", clientId: "", username: "", password: "" });

/** Where a WebSocket listener is found from here; the one whose kind the browser lets this page use. */
export function webSocketUrl(listeners: readonly Listener[], page: Pick<Location, "protocol" | "hostname">): string | null {
  const kinds = page.protocol === "https:" ? ["wss"] : ["ws", "wss"];
  for (const kind of kinds) {
    const found = listeners.find((one) => one.type === kind && one.protocol === "mqtt" && one.enable && (one.running ?? one.status.running));
    const port = found && portOf(found.bind);
    if (!port) continue;
    return `${kind}://${page.hostname}:${port}${found.path ?? "/mqtt"}`;
  }
  return null;
}

export type State = "idle" | "connecting" | "open";

export interface Connection {
  state: State;
  client: Client | null;
  /** Why there is no connection any more. */
  why: string | null;
  connect: () => Promise<Client | null>;
  close: () => void;
}

/** A client of MQTT that lives as long as the page that uses it. */
export function useConnection(onMessage: (message: Publication) => void): Connection {
  const [state, setState] = useState<State>("idle");
  const [why, setWhy] = useState<string | null>(null);
  const client = useRef<Client | null>(null);
  const take = useRef(onMessage);
  take.current = onMessage;
  useEffect(() => () => client.current?.close(), []);

  const connect = async () => {
    const { url, clientId, username, password } = settings.value;
    client.current?.close();
    setState("connecting");
    setWhy(null);
    const made = new Client({
      url,
      clientId,
      username: username === "" ? undefined : username,
      password: password === "" ? undefined : password,
      packetBytesMax: PACKET_BYTES_MAX,
      onMessage: (message) => take.current(message),
      onClosed: (reason) => {
        if (client.current !== made) return;
        client.current = null;
        setState("idle");
        setWhy(reason === "" ? null : t("mqtt.closed", { why: reason }));
      },
    });
    client.current = made;
    try {
      await made.connect();
      if (client.current !== made) return null;
      setState("open");
      return made;
    } catch (error) {
      if (client.current !== made) return null;
      client.current = null;
      setState("idle");
      setWhy(t("mqtt.failed", { why: error instanceof Error ? error.message : String(error) }));
      return null;
    }
  };
  const close = () => {
    client.current?.close();
    client.current = null;
    setState("idle");
  };
  return { state, client: client.current, why, connect, close };
}

/** Where to connect, and as whom. */
export function ConnectionFields({ connection, action, onOpen, children }: { connection: Connection; action: string; onOpen?: (client: Client) => void; children?: ComponentChildren }) {
  const [isMissing, setMissing] = useState(false);
  const now = settings.value;
  const set = (change: Partial<typeof now>) => (settings.value = { ...settings.value, ...change });
  useEffect(() => {
    if (settings.value.url !== "") return;
    const stop = new AbortController();
    get<Listener[]>("/listeners", undefined, stop.signal).then(
      (listeners) => {
        const url = webSocketUrl(listeners, location);
        if (url && settings.value.url === "") set({ url });
        setMissing(!url);
      },
      () => !stop.signal.aborted && setMissing(true),
    );
    return () => stop.abort();
  }, []);
  const submit = async (event: Event) => {
    event.preventDefault();
    const client = await connection.connect();
    if (client) onOpen?.(client);
  };
  const isBusy = connection.state !== "idle";
  return (
    <form class="form" onSubmit={submit}>
      {connection.why && (
        <div role="alert">
          <Note kind="bad">{connection.why}</Note>
        </div>
      )}
      {isMissing && now.url === "" && <Note kind="warn">{t("mqtt.no_listener")}</Note>}
      {children}
      {connection.state !== "open" && (
        <details open={connection.why !== null || isMissing}>
          <summary>
            {t("mqtt.how")} <code class="break">{now.url}</code> {now.username !== "" && t("mqtt.as", { name: now.username })}
          </summary>
          <div class="form">
            <div class="form-row">
              <TextField label={t("mqtt.url")} hint={t("mqtt.url_hint")} mono required disabled={isBusy} value={now.url} onInput={(url) => set({ url })} />
              <TextField label={t("mqtt.client_id")} hint={t("mqtt.client_id_hint")} disabled={isBusy} value={now.clientId} onInput={(clientId) => set({ clientId })} />
            </div>
            <div class="form-row">
              <TextField label={t("mqtt.username")} hint={t("mqtt.credentials")} disabled={isBusy} value={now.username} onInput={(username) => set({ username })} />
              <TextField label={t("mqtt.password")} type="password" autocomplete="off" disabled={isBusy} value={now.password} onInput={(password) => set({ password })} />
            </div>
          </div>
        </details>
      )}
      <div class="row">
        {connection.state === "idle" ? (
          <Button type="submit" kind="primary" icon="plug" disabled={now.url === ""}>
            {action}
          </Button>
        ) : (
          <Button icon="close" onClick={connection.close}>
            {t("mqtt.disconnect")}
          </Button>
        )}
        <span class="soft" role="status">
          {connection.state === "connecting" ? t("mqtt.connecting") : connection.state === "open" ? t("mqtt.connected_as", { id: connection.client?.clientId ?? "" }) : ""}
        </span>
      </div>
    </form>
  );
}
