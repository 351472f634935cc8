import { useMemo, useState } from "preact/hooks";

import { get, part, post, put, remove } from "../../api/client";
import { useLoad } from "../../api/use";
import { when } from "../../format";
import { t } from "../../i18n";
import { Button } from "../../ui/button";
import { Copyable } from "../../ui/copy";
import { confirm, Dialog } from "../../ui/dialog";
import { Form, SelectField, TextField } from "../../ui/form";
import { Moment } from "../../ui/moment";
import { Empty, Note, Show, Tag } from "../../ui/states";
import { type Column, Table } from "../../ui/table";
import "../../styles/control.css";
import { type Role, roles } from "./accounts";

const EVERY_MS = 5000;
const DAY_SECS = 86_400;

interface Key {
  name: string;
  api_key: string;
  api_secret?: string;
  role: Role;
  desc: string;
  enable: boolean;
  expired: boolean;
  created_at: string;
  expired_at: string;
}

function Add({ onClose, onMade }: { onClose: () => void; onMade: (key: Key) => void }) {
  const [name, setName] = useState("");
  const [role, setRole] = useState<Role>("viewer");
  const [desc, setDesc] = useState("");
  const [days, setDays] = useState<"0" | "30" | "90" | "365">("365");
  const submit = async () => {
    const expired_at = days === "0" ? "infinity" : Math.floor(Date.now() / 1000) + Number(days) * DAY_SECS;
    onMade(await post<Key>("/api_key", { name, role, desc, enable: true, expired_at }));
  };
  return (
    <Dialog title={t("keys.add")} onClose={onClose}>
      <Form action={t("shell.create")} onCancel={onClose} onSubmit={submit}>
        <TextField label={t("accounts.name")} value={name} onInput={setName} required autofocus />
        <div class="form-row">
          <SelectField label={t("accounts.role")} value={role} options={roles()} onChange={setRole} />
          <SelectField
            label={t("keys.expires")}
            value={days}
            options={(["30", "90", "365", "0"] as const).map((n) => [n, n === "0" ? t("keys.never") : t("keys.days", { n })] as const)}
            onChange={setDays}
          />
        </div>
        <TextField label={t("accounts.description")} value={desc} onInput={setDesc} />
      </Form>
    </Dialog>
  );
}

function State({ of }: { of: Key }) {
  if (of.expired) return <Tag kind="bad">{t("keys.expired")}</Tag>;
  return of.enable ? <Tag kind="good">{t("keys.enabled")}</Tag> : <Tag>{t("keys.disabled")}</Tag>;
}

export function Keys() {
  const keys = useLoad("keys", (signal) => get<Key[]>("/api_key", undefined, signal), EVERY_MS);
  const [adds, setAdds] = useState(false);
  const [made, setMade] = useState<Key | null>(null);
  const discard = async (row: Key) => {
    const yes = await confirm({ title: t("keys.delete_title", { name: row.name }), text: t("keys.delete_text"), action: t("shell.delete") });
    if (!yes) return;
    await remove(`/api_key/${part(row.name)}`);
    keys.reload();
  };
  const columns = useMemo(
    (): Column<Key>[] => [
      { key: "name", head: t("accounts.name"), sort: (row) => row.name, cell: (row) => row.name },
      { key: "key", head: t("keys.key"), cell: (row) => <span class="mono break">{row.api_key}</span> },
      { key: "role", head: t("accounts.role"), sort: (row) => row.role, cell: (row) => t(`shell.role_${row.role}`) },
      { key: "state", head: t("keys.state"), cell: (row) => <State of={row} /> },
      { key: "created", head: t("keys.created"), sort: (row) => row.created_at, cell: (row) => <Moment at={row.created_at} /> },
      { key: "expires", head: t("keys.expires"), cell: (row) => <span class="nowrap">{row.expired_at === "infinity" ? t("keys.never") : when(row.expired_at)}</span> },
      { key: "description", head: t("accounts.description"), cell: (row) => row.desc },
      {
        key: "actions",
        head: t("shell.actions"),
        actions: true,
        cell: (row) => (
          <>
            <Button
              small
              changes
              onClick={async () => {
                await put(`/api_key/${part(row.name)}`, { enable: !row.enable });
                keys.reload();
              }}
            >
              {t(row.enable ? "keys.disable" : "keys.enable")}
            </Button>
            <Button small kind="quiet" icon="trash" changes label={`${t("shell.delete")}: ${row.name}`} onClick={() => discard(row)} />
          </>
        ),
      },
    ],
    [],
  );
  return (
    <>
      <div class="toolbar">
        <Button icon="plus" kind="primary" changes onClick={() => setAdds(true)}>
          {t("keys.add")}
        </Button>
      </div>
      <p class="soft lead">
        {t("keys.described")}{" "}
        <a class="mono" href="/api-docs/openapi.json" target="_blank" rel="noreferrer">
          /api-docs/openapi.json
        </a>
        . {t("keys.prometheus")}
      </p>
      <Show of={keys} rows={3}>
        {(rows) => <Table label={t("accounts.keys")} columns={columns} rows={rows} keyOf={(row) => row.name} empty={<Empty icon="key" title={t("keys.none")} />} />}
      </Show>
      {adds && (
        <Add
          onClose={() => setAdds(false)}
          onMade={(key) => {
            setAdds(false);
            setMade(key);
            keys.reload();
          }}
        />
      )}
      {made && (
        <Dialog title={t("keys.made", { name: made.name })} onClose={() => setMade(null)}>
          <Note kind="warn">{t("keys.told_once")}</Note>
          <Copyable label={t("keys.key")} text={made.api_key} />
          <Copyable label={t("keys.secret")} text={made.api_secret ?? ""} />
          <div class="actions end">
            <Button kind="primary" onClick={() => setMade(null)}>
              {t("keys.done")}
            </Button>
          </div>
        </Dialog>
      )}
    </>
  );
}
