import { useState } from "preact/hooks";

import { get, part } from "../../api/client";
import { useLoad } from "../../api/use";
import { bytes, when } from "../../format";
import { t } from "../../i18n";
import { say } from "../../i18n/said";
import { glance, ofBase64 } from "../../payload";
import { Button, Choice } from "../../ui/button";
import { Payload } from "../../ui/payload";
import { Show, Tag } from "../../ui/states";

interface Message {
  topic: string;
  qos: number;
  retain: boolean;
  publish_at: number;
  packet_id: number | null;
  payload_size: number;
  payload: string;
}

interface Part {
  data: Message[];
  meta: { position: string | null; hasnext: boolean };
}

const LIMIT = 20;
const EVERY_MS = 5000;

type Which = "mqueue_messages" | "inflight_messages";

/** What waits for a client, and what it was sent and has not taken over. The first of them is read as time goes on. */
export function Waiting({ id }: { id: string }) {
  const [which, setWhich] = useState<Which>("mqueue_messages");
  return (
    <section class="stack-small">
      <h3>{t("clients.waiting")}</h3>
      <Choice
        label={t("clients.waiting")}
        value={which}
        onChange={setWhich}
        options={[
          ["mqueue_messages", t("clients.queue")],
          ["inflight_messages", t("clients.inflight")],
        ]}
      />
      <Messages key={which} id={id} which={which} />
    </section>
  );
}

function Messages({ id, which }: { id: string; which: Which }) {
  const [position, setPosition] = useState<string | null>(null);
  const [opened, setOpened] = useState<number | null>(null);
  const path = `/clients/${part(id)}/${which}`;
  const read = useLoad(`${path} ${position}`, (signal) => get<Part>(path, { limit: LIMIT, position, payload: "base64" }, signal), position === null && opened === null ? EVERY_MS : undefined);
  if (read.error?.status === 404) return <p class="soft">{read.error.isMissing ? t("shell.unavailable_text") : say(read.error).lead}</p>;
  return (
    <Show of={read} rows={2}>
      {({ data, meta }) =>
        data.length === 0 ? (
          <p class="soft">{t("clients.nothing_waits")}</p>
        ) : (
          <>
            <ul class="lines">
              {data.map((message, at) => {
                const payload = ofBase64(message.payload);
                return (
                  <li key={at} class="wrap">
                    <button type="button" class="plain-row grow" aria-expanded={opened === at} onClick={() => setOpened(opened === at ? null : at)}>
                      <span class="mono break">{message.topic}</span>
                      <span class="soft break">
                        {glance(payload, 40)} · {bytes(message.payload_size)} · {when(message.publish_at)}
                      </span>
                    </button>
                    <Tag>QoS {message.qos}</Tag>
                    {opened === at && (
                      <div class="whole">
                        <Payload bytes={payload} />
                      </div>
                    )}
                  </li>
                );
              })}
            </ul>
            {meta.hasnext && (
              <div class="row">
                <Button
                  small
                  icon="right"
                  onClick={() => {
                    setOpened(null);
                    setPosition(meta.position);
                  }}
                >
                  {t("shell.next")}
                </Button>
              </div>
            )}
          </>
        )
      }
    </Show>
  );
}
