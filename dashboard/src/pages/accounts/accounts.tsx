import { useMemo, useState } from "preact/hooks";

import { get, part, post, put, remove } from "../../api/client";
import { session } from "../../api/session";
import { useLoad } from "../../api/use";
import { t } from "../../i18n";
import { Button } from "../../ui/button";
import { confirm, Dialog } from "../../ui/dialog";
import { Form, SelectField, TextField } from "../../ui/form";
import { Empty, Show, Tag } from "../../ui/states";
import { type Column, Table } from "../../ui/table";
import { toast } from "../../ui/toast";

const EVERY_MS = 5000;

export type Role = "administrator" | "viewer";

interface Account {
  username: string;
  role: Role;
  description: string;
  must_change_password: boolean;
}

export function roles(): readonly (readonly [Role, string])[] {
  return [
    ["administrator", t("shell.role_administrator")],
    ["viewer", t("shell.role_viewer")],
  ];
}

function Edit({ of, onClose, onDone }: { of: Account | null; onClose: () => void; onDone: () => void }) {
  const [username, setUsername] = useState(of?.username ?? "");
  const [password, setPassword] = useState("");
  const [role, setRole] = useState<Role>(of?.role ?? "viewer");
  const [description, setDescription] = useState(of?.description ?? "");
  const submit = async () => {
    if (of) await put(`/users/${part(of.username)}`, { role, description });
    else await post("/users", { username, password, role, description });
    toast("good", t("shell.saved"));
    onDone();
  };
  return (
    <Dialog title={of ? t("accounts.edit", { name: of.username }) : t("accounts.add")} onClose={onClose}>
      <Form action={t(of ? "shell.save" : "shell.create")} onCancel={onClose} onSubmit={submit}>
        {!of && (
          <>
            <TextField label={t("shell.username")} value={username} onInput={setUsername} required autofocus />
            <TextField label={t("shell.password")} hint={t("shell.password_rule")} type="password" autocomplete="new-password" value={password} onInput={setPassword} required />
          </>
        )}
        <SelectField label={t("accounts.role")} value={role} options={roles()} onChange={setRole} />
        <TextField label={t("accounts.description")} value={description} onInput={setDescription} />
      </Form>
    </Dialog>
  );
}

export function Accounts() {
  const accounts = useLoad("accounts", (signal) => get<Account[]>("/users", undefined, signal), EVERY_MS);
  const [edited, setEdited] = useState<Account | "new" | null>(null);
  const discard = async (row: Account) => {
    const yes = await confirm({ title: t("accounts.delete_title", { name: row.username }), text: t("accounts.delete_text"), action: t("shell.delete") });
    if (!yes) return;
    await remove(`/users/${part(row.username)}`);
    accounts.reload();
  };
  const columns = useMemo(
    (): Column<Account>[] => [
      {
        key: "name",
        head: t("accounts.name"),
        sort: (row) => row.username,
        cell: (row) => (
          <span>
            {row.username} {row.username === session.value?.username && <Tag kind="accent">{t("accounts.you")}</Tag>} {row.must_change_password && <Tag kind="warn">{t("accounts.initial")}</Tag>}
          </span>
        ),
      },
      { key: "role", head: t("accounts.role"), sort: (row) => row.role, cell: (row) => t(`shell.role_${row.role}`) },
      { key: "description", head: t("accounts.description"), cell: (row) => row.description },
      {
        key: "actions",
        head: t("shell.actions"),
        actions: true,
        cell: (row) => (
          <>
            <Button small changes onClick={() => setEdited(row)}>
              {t("shell.edit")}
            </Button>
            <Button small kind="quiet" icon="trash" changes disabled={row.username === session.value?.username} label={`${t("shell.delete")}: ${row.username}`} onClick={() => discard(row)} />
          </>
        ),
      },
    ],
    [],
  );
  const close = () => setEdited(null);
  return (
    <>
      <div class="toolbar">
        <Button icon="plus" kind="primary" changes onClick={() => setEdited("new")}>
          {t("accounts.add")}
        </Button>
      </div>
      <Show of={accounts} rows={3}>
        {(rows) => <Table label={t("accounts.accounts")} columns={columns} rows={rows} keyOf={(row) => row.username} empty={<Empty icon="people" title={t("accounts.none")} />} />}
      </Show>
      {edited && (
        <Edit
          of={edited === "new" ? null : edited}
          onClose={close}
          onDone={() => {
            close();
            accounts.reload();
          }}
        />
      )}
    </>
  );
}
