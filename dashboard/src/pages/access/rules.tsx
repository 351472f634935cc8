import { useMemo, useState } from "preact/hooks";

import { get, part, post, put, remove } from "../../api/client";
import { useListing } from "../../api/listing";
import { useLoad } from "../../api/use";
import { t } from "../../i18n";
import { link } from "../../route";
import { Button, Choice } from "../../ui/button";
import { confirm, Dialog } from "../../ui/dialog";
import { AreaField, Form, Field, TextField } from "../../ui/form";
import { Card, Empty, Note, Show, Tag } from "../../ui/states";
import { type Column, ListingPager, Table } from "../../ui/table";
import { toast } from "../../ui/toast";

const BASE = "/authorization/sources/built_in_database/rules";
const EVERY_MS = 5000;
const SIMPLE = ["permission", "action", "topic"];

interface Rule {
  permission: "allow" | "deny";
  action: "publish" | "subscribe" | "all";
  topic: string;
}

interface Held {
  username?: string;
  clientid?: string;
  rules: Rule[];
}

type Kind = "users" | "clients";

/** Rules with conditions that the form has no fields for. */
function conditions(rule: Rule): [string, unknown][] {
  return Object.entries(rule).filter(([name, value]) => !SIMPLE.includes(name) && value !== undefined && value !== "all");
}

function isRich(rules: readonly Rule[]): boolean {
  return rules.some((rule) => conditions(rule).length > 0);
}

function Text({ of }: { of: readonly Rule[] }) {
  return (
    <ul class="plain">
      {of.map((rule, at) => (
        <li key={at}>
          <Tag kind={rule.permission === "allow" ? "good" : "bad"}>{t(`access.${rule.permission}`)}</Tag> {t(rule.action === "all" ? "access.both" : `access.${rule.action}`)} <span class="mono break">{rule.topic}</span>{" "}
          <small class="soft mono">{conditions(rule).map(([name, value]) => `${name}=${Array.isArray(value) ? value.join() : String(value)}`).join(" ")}</small>
        </li>
      ))}
    </ul>
  );
}

function RuleFields({ rules, onChange }: { rules: Rule[]; onChange: (rules: Rule[]) => void }) {
  const set = (at: number, change: Partial<Rule>) => onChange(rules.map((rule, index) => (index === at ? { ...rule, ...change } : rule)));
  return (
    <>
      {rules.map((rule, at) => (
        <fieldset class="rule" key={at}>
          <legend class="unseen">{t("access.rule", { n: at + 1 })}</legend>
          <Field label={t("access.permission")}>
            {(ids) => (
              <select {...ids} value={rule.permission} onChange={(event) => set(at, { permission: event.currentTarget.value as Rule["permission"] })}>
                <option value="allow">{t("access.allow")}</option>
                <option value="deny">{t("access.deny")}</option>
              </select>
            )}
          </Field>
          <Field label={t("access.action")}>
            {(ids) => (
              <select {...ids} value={rule.action} onChange={(event) => set(at, { action: event.currentTarget.value as Rule["action"] })}>
                <option value="publish">{t("access.publish")}</option>
                <option value="subscribe">{t("access.subscribe")}</option>
                <option value="all">{t("access.both")}</option>
              </select>
            )}
          </Field>
          <TextField label={t("access.topic")} mono required value={rule.topic} onInput={(topic) => set(at, { topic })} />
          <Button kind="quiet" icon="trash" label={`${t("shell.delete")}: ${t("access.rule", { n: at + 1 })}`} disabled={rules.length === 1} onClick={() => onChange(rules.filter((_, index) => index !== at))} />
        </fieldset>
      ))}
      <p class="soft">
        {t("access.first_rule")}. {t("access.topic_hint")}.
      </p>
      <div>
        <Button small icon="plus" onClick={() => onChange([...rules, { permission: "deny", action: "all", topic: "#" }])}>
          {t("access.add_rule")}
        </Button>
      </div>
    </>
  );
}

interface EditProps {
  kind: Kind | "all";
  of: Held | null;
  onClose: () => void;
  onDone: () => void;
}

function Edit({ kind, of, onClose, onDone }: EditProps) {
  const [name, setName] = useState(of?.username ?? of?.clientid ?? "");
  const [rules, setRules] = useState<Rule[]>(of?.rules.length ? of.rules : [{ permission: "allow", action: "publish", topic: "" }]);
  const [json, setJson] = useState(() => (isRich(rules) ? JSON.stringify(rules, null, 2) : null));
  const submit = async () => {
    let all: unknown = rules;
    if (json !== null) {
      try {
        all = JSON.parse(json);
      } catch {
        all = null;
      }
      if (!Array.isArray(all)) throw new Error(t("access.not_rules"));
    }
    const field = kind === "users" ? "username" : "clientid";
    if (kind === "all") await post(`${BASE}/all`, { rules: all });
    else if (of) await put(`${BASE}/${kind}/${part(name)}`, { [field]: name, rules: all });
    else await post(`${BASE}/${kind}`, [{ [field]: name, rules: all }]);
    toast("good", t("shell.saved"));
    onDone();
  };
  const title = kind === "all" ? t("access.edit_rules", { name: t("access.of_all") }) : of ? t("access.edit_rules", { name }) : t("access.add_rules");
  return (
    <Dialog title={title} wide onClose={onClose}>
      <Form action={t("shell.save")} onCancel={onClose} onSubmit={submit}>
        {kind !== "all" && !of && <TextField label={t(kind === "users" ? "access.holder_user" : "access.holder_client")} value={name} onInput={setName} required autofocus />}
        {json === null ? (
          <RuleFields rules={rules} onChange={setRules} />
        ) : (
          <>
            <Note kind="info">{t("access.more_fields")}</Note>
            <AreaField label={t("access.json")} rows={14} value={json} onInput={setJson} />
          </>
        )}
      </Form>
    </Dialog>
  );
}

function Off() {
  return (
    <Empty icon="list" title={t("access.rules_off")}>
      <p>{t("access.rules_off_text")}</p>
      <a href={link(["settings"], { section: "access" })}>{t("access.to_settings")}</a>
    </Empty>
  );
}

function OfHolders({ kind }: { kind: Kind }) {
  const listing = useListing<Held>(`${BASE}/${kind}`, {}, EVERY_MS);
  const [edited, setEdited] = useState<Held | "new" | null>(null);
  const nameOf = (row: Held) => row.username ?? row.clientid ?? "";
  const discard = async (row: Held) => {
    const yes = await confirm({ title: t("access.delete_rules", { name: nameOf(row) }), text: t("access.delete_rules_text"), action: t("shell.delete") });
    if (!yes) return;
    await remove(`${BASE}/${kind}/${part(nameOf(row))}`);
    listing.reload();
  };
  const columns = useMemo(
    (): Column<Held>[] => [
      { key: "name", head: t(kind === "users" ? "access.holder_user" : "access.holder_client"), sort: nameOf, cell: (row) => <span class="break">{nameOf(row)}</span> },
      { key: "rules", head: t("access.rules"), cell: (row) => <Text of={row.rules} /> },
      {
        key: "actions",
        head: t("shell.actions"),
        actions: true,
        cell: (row) => (
          <>
            <Button small changes onClick={() => setEdited(row)}>
              {t("shell.edit")}
            </Button>
            <Button small kind="quiet" icon="trash" changes label={`${t("shell.delete")}: ${nameOf(row)}`} onClick={() => discard(row)} />
          </>
        ),
      },
    ],
    [kind],
  );
  if (listing.error?.status === 404 && !listing.error.isMissing) return <Off />;
  const close = () => setEdited(null);
  return (
    <>
      <div class="toolbar">
        <Button icon="plus" kind="primary" changes onClick={() => setEdited("new")}>
          {t("access.add_rules")}
        </Button>
      </div>
      <Show of={listing} rows={4}>
        {(told) => <Table label={t("access.rules")} columns={columns} rows={told.data} keyOf={nameOf} empty={<Empty icon="list" title={t("access.no_rules")} />} />}
      </Show>
      <ListingPager of={listing} />
      {edited && (
        <Edit
          kind={kind}
          of={edited === "new" ? null : edited}
          onClose={close}
          onDone={() => {
            close();
            listing.reload();
          }}
        />
      )}
    </>
  );
}

function OfAll() {
  const held = useLoad("rules_of_all", (signal) => get<Held>(`${BASE}/all`, undefined, signal));
  const [edits, setEdits] = useState(false);
  if (held.error?.status === 404 && !held.error.isMissing) return <Off />;
  return (
    <Show of={held} rows={3}>
      {(told) => (
        <Card
          title={t("access.of_all")}
          actions={
            <Button small changes onClick={() => setEdits(true)}>
              {t("shell.edit")}
            </Button>
          }
        >
          {told.rules.length === 0 ? <Empty icon="list" title={t("access.no_rules")} /> : <Text of={told.rules} />}
          {edits && (
            <Edit
              kind="all"
              of={told}
              onClose={() => setEdits(false)}
              onDone={() => {
                setEdits(false);
                held.reload();
              }}
            />
          )}
        </Card>
      )}
    </Show>
  );
}

/** Rules of the built-in database. */
export function Rules() {
  const [whose, setWhose] = useState<Kind | "all">("users");
  return (
    <>
      <div class="toolbar">
        <Choice
          label={t("access.whose")}
          value={whose}
          options={[
            ["users", t("access.of_users")],
            ["clients", t("access.of_clients")],
            ["all", t("access.of_all")],
          ]}
          onChange={setWhose}
        />
      </div>
      {whose === "all" ? <OfAll /> : <OfHolders key={whose} kind={whose} />}
    </>
  );
}
