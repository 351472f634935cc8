import { useMemo, useState } from "preact/hooks";

import { part, post, put, remove } from "../../api/client";
import { useListing, useSettled } from "../../api/listing";
import { t } from "../../i18n";
import { link } from "../../route";
import { Button } from "../../ui/button";
import { confirm, Dialog } from "../../ui/dialog";
import { CheckField, Field, Form, SearchBox, TextField } from "../../ui/form";
import { Empty, Show, Tag } from "../../ui/states";
import { type Column, ListingPager, Table } from "../../ui/table";
import { toast } from "../../ui/toast";

const BASE = "/authentication/built_in_database";
const EVERY_MS = 5000;
const SETTLED_MS = 250;

interface User {
  user_id: string;
  is_superuser: boolean;
}

function Edit({ of, onClose, onDone }: { of: User | null; onClose: () => void; onDone: () => void }) {
  const [name, setName] = useState(of?.user_id ?? "");
  const [password, setPassword] = useState("");
  const [superuser, setSuperuser] = useState(of?.is_superuser ?? false);
  const submit = async () => {
    if (of) await put(`${BASE}/users/${part(of.user_id)}`, { is_superuser: superuser, ...(password && { password }) });
    else await post(`${BASE}/users`, { user_id: name, password, is_superuser: superuser });
    toast("good", t("shell.saved"));
    onDone();
  };
  return (
    <Dialog title={of ? t("access.edit_user", { name: of.user_id }) : t("access.add_user")} onClose={onClose}>
      <Form action={t(of ? "shell.save" : "shell.create")} onCancel={onClose} onSubmit={submit}>
        {!of && <TextField label={t("access.user")} value={name} onInput={setName} required autofocus />}
        <TextField label={t("shell.password")} hint={of ? t("access.keep_password") : undefined} type="password" autocomplete="new-password" value={password} onInput={setPassword} required={!of} />
        <CheckField label={t("access.superuser")} hint={t("access.superuser_hint")} checked={superuser} onChange={setSuperuser} />
      </Form>
    </Dialog>
  );
}

function Import({ onClose, onDone }: { onClose: () => void; onDone: () => void }) {
  const [file, setFile] = useState<File | null>(null);
  const submit = async () => {
    if (!file) return;
    const form = new FormData();
    form.append("filename", file, file.name);
    await post(`${BASE}/import_users`, form);
    toast("good", t("access.imported"));
    onDone();
  };
  return (
    <Dialog title={t("access.import_title")} onClose={onClose}>
      <Form action={t("access.import")} onCancel={onClose} onSubmit={submit} disabled={!file}>
        <Field label={t("access.import_file")}>{(ids) => <input {...ids} type="file" accept=".csv,.json" onChange={(event) => setFile(event.currentTarget.files?.[0] ?? null)} />}</Field>
      </Form>
    </Dialog>
  );
}

/** Users of the built-in database. */
export function Users() {
  const [typed, setTyped] = useState("");
  const [like, setLike] = useState("");
  const settle = useSettled(SETTLED_MS, setLike);
  const listing = useListing<User>(`${BASE}/users`, { like_user_id: like }, EVERY_MS);
  const [edited, setEdited] = useState<User | "new" | "import" | null>(null);
  const discard = async (row: User) => {
    const yes = await confirm({ title: t("access.delete_user", { name: row.user_id }), text: t("access.delete_user_text"), action: t("shell.delete") });
    if (!yes) return;
    await remove(`${BASE}/users/${part(row.user_id)}`);
    listing.reload();
  };
  const columns = useMemo(
    (): Column<User>[] => [
      {
        key: "name",
        head: t("access.user"),
        sort: (row) => row.user_id,
        cell: (row) => (
          <span>
            <span class="break">{row.user_id}</span> {row.is_superuser && <Tag kind="accent">{t("access.superuser")}</Tag>}
          </span>
        ),
      },
      {
        key: "actions",
        head: t("shell.actions"),
        actions: true,
        cell: (row) => (
          <>
            <Button small changes onClick={() => setEdited(row)}>
              {t("shell.edit")}
            </Button>
            <Button small kind="quiet" icon="trash" changes label={`${t("shell.delete")}: ${row.user_id}`} onClick={() => discard(row)} />
          </>
        ),
      },
    ],
    [],
  );
  // The path is there, but nobody asks the database.
  if (listing.error?.status === 404 && !listing.error.isMissing) {
    return (
      <Empty icon="people" title={t("access.users_off")}>
        <p>{t("access.users_off_text")}</p>
        <a href={link(["settings"], { section: "access" })}>{t("access.to_settings")}</a>
      </Empty>
    );
  }
  const close = () => setEdited(null);
  const done = () => {
    close();
    listing.reload();
  };
  return (
    <>
      <div class="toolbar">
        <SearchBox
          label={t("access.user_search")}
          value={typed}
          onInput={(value) => {
            setTyped(value);
            settle(value);
          }}
        />
        <Button icon="plus" kind="primary" changes onClick={() => setEdited("new")}>
          {t("access.add_user")}
        </Button>
        <Button changes onClick={() => setEdited("import")}>
          {t("access.import")}
        </Button>
      </div>
      <Show of={listing} rows={5}>
        {(told) => <Table label={t("access.users")} columns={columns} rows={told.data} keyOf={(row) => row.user_id} empty={<Empty icon="people" title={t("access.no_users")} />} />}
      </Show>
      <ListingPager of={listing} />
      {edited === "import" && <Import onClose={close} onDone={done} />}
      {edited && edited !== "import" && <Edit of={edited === "new" ? null : edited} onClose={close} onDone={done} />}
    </>
  );
}
