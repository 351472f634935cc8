import { useMemo, useState } from "preact/hooks";

import { post } from "../../api/client";
import { NOTHING, protocolName } from "../../format";
import { t } from "../../i18n";
import { Form, SelectField, TextField } from "../../ui/form";
import { Card, Tag } from "../../ui/states";
import { type Column, Table } from "../../ui/table";

const PROTOCOLS = ["mqtt", "mqtt-sn", "coap"] as const;
type Protocol = (typeof PROTOCOLS)[number];
type Action = "connect" | "publish" | "subscribe";

interface Step {
  source: string;
  says: "allow" | "deny" | "ignore" | "changes";
  rule?: string;
}

interface Told {
  outcome: string;
  decided_by: string;
  steps: Step[];
}

const KINDS = { allow: "good", deny: "bad", ignore: "plain", changes: "warn" } as const;

/** Why somebody may connect, publish or subscribe, or not. */
export function Explain({ query }: { query: URLSearchParams }) {
  const [action, setAction] = useState<Action>("publish");
  const [asked, setAsked] = useState(() => {
    const given = (name: string) => query.get(name) ?? "";
    return { clientid: given("clientid"), username: given("username"), password: "", peerhost: given("peerhost"), topic: given("topic"), listener: given("listener") };
  });
  const [protocol, setProtocol] = useState<Protocol>(() => PROTOCOLS.find((name) => name === query.get("protocol")) ?? "mqtt");
  const [told, setTold] = useState<Told | null>(null);
  const set = (change: Partial<typeof asked>) => setAsked({ ...asked, ...change });
  const submit = async () => {
    const given = Object.fromEntries(Object.entries(asked).filter(([name, value]) => value !== "" && (name !== "topic" || action !== "connect")));
    setTold(null);
    setTold(await post<Told>("/access/explain", { clientid: "", ...given, action, protocol }));
  };
  const columns = useMemo(
    (): Column<Step>[] => [
      { key: "source", head: t("access.explain_source"), cell: (row) => <span class="break">{row.source}</span> },
      { key: "says", head: t("access.explain_says"), cell: (row) => <Tag kind={KINDS[row.says] ?? "plain"}>{t(`access.${row.says}`)}</Tag> },
      { key: "rule", head: t("access.explain_rule"), cell: (row) => <span class="mono break">{row.rule ?? NOTHING}</span> },
    ],
    [],
  );
  return (
    <div class="two-columns">
      <Card>
        <p class="soft lead">{t("access.explain_about")}</p>
        <Form action={t("access.explain_ask")} onSubmit={submit}>
          <div class="form-row">
            <SelectField label={t("access.action")} value={action} options={(["connect", "publish", "subscribe"] as const).map((key) => [key, t(`access.${key}`)] as const)} onChange={setAction} />
            <SelectField
              label={t("access.explain_protocol")}
              value={protocol}
              options={PROTOCOLS.map((name) => [name, protocolName(name)] as const)}
              onChange={setProtocol}
            />
          </div>
          <TextField label={t("access.explain_client")} value={asked.clientid} onInput={(clientid) => set({ clientid })} required />
          {action !== "connect" && <TextField label={t("access.topic")} mono value={asked.topic} onInput={(topic) => set({ topic })} required />}
          <div class="form-row">
            <TextField label={t("access.holder_user")} hint={t("access.optional")} value={asked.username} onInput={(username) => set({ username })} />
            <TextField label={t("shell.password")} hint={t("access.explain_password_hint")} type="password" autocomplete="new-password" value={asked.password} onInput={(password) => set({ password })} />
          </div>
          <div class="form-row">
            <TextField label={t("access.explain_address")} hint={t("access.optional")} value={asked.peerhost} onInput={(peerhost) => set({ peerhost })} />
            <TextField label={t("access.explain_listener")} placeholder="tcp:default" value={asked.listener} onInput={(listener) => set({ listener })} />
          </div>
        </Form>
      </Card>
      {told && (
        <Card flush title={t("access.explain_steps")}>
          <div class="verdict padded" role="status">
            <Tag kind={told.outcome === "allow" ? "good" : "bad"}>{t(told.outcome === "allow" ? "access.explain_allow" : "access.explain_deny")}</Tag>
            <span class="break">{t("access.explain_by", { who: told.decided_by })}</span>
          </div>
          <Table label={t("access.explain_steps")} columns={columns} rows={told.steps} keyOf={(row) => `${row.source} ${row.says} ${row.rule}`} empty={null} />
        </Card>
      )}
    </div>
  );
}
