import { useMemo, useState } from "preact/hooks";

import { get, part, post, put, remove } from "../../api/client";
import { useListing, useSettled } from "../../api/listing";
import { useLoad } from "../../api/use";
import { count, localTime, NOTHING } from "../../format";
import { t } from "../../i18n";
import { link } from "../../route";
import { Button, Choice } from "../../ui/button";
import { confirm, Dialog } from "../../ui/dialog";
import { AreaField, CheckField, Field, Form, SearchBox, TextField } from "../../ui/form";
import { Moment } from "../../ui/moment";
import { Empty, Show, Tag } from "../../ui/states";
import { type Column, ListingPager, Table } from "../../ui/table";
import { toast } from "../../ui/toast";
import { userProperties } from "../playground/elsewhere";

/** Both have the same users; those that are added to the second can prove their password without showing it, too. */
const DATABASES = ["built_in_database", "scram:built_in_database"] as const;
type Database = (typeof DATABASES)[number];
const NAMES = { built_in_database: "access.by_password", "scram:built_in_database": "access.by_scram" } as const;
const EVERY_MS = 5000;
const SETTLED_MS = 250;

interface User {
  user_id: string;
  is_superuser: boolean;
  attributes: Record<string, string>;
  /** Seconds since 1970. */
  expires_at: number | null;
  /** How its password is kept. */
  password: string | null;
  scram: string[];
}

function Edit({ base, of, onClose, onDone }: { base: string; of: User | null; onClose: () => void; onDone: () => void }) {
  const [name, setName] = useState(of?.user_id ?? "");
  const [password, setPassword] = useState("");
  const [superuser, setSuperuser] = useState(of?.is_superuser ?? false);
  const [attributes, setAttributes] = useState(() => Object.entries(of?.attributes ?? {}).map(([key, value]) => `${key}=${value}`).join("\n"));
  const [expires, setExpires] = useState(localTime(of?.expires_at ?? null));
  const submit = async () => {
    const expires_at = expires === "" ? 0 : Math.floor(new Date(expires).getTime() / 1000);
    const rest = { is_superuser: superuser, attributes: Object.fromEntries(userProperties(attributes)) };
    if (of) await put(`${base}/users/${part(of.user_id)}`, { ...rest, expires_at, ...(password && { password }) });
    else await post(`${base}/users`, { ...rest, user_id: name, password, ...(expires_at && { expires_at }) });
    toast("good", t("shell.saved"));
    onDone();
  };
  return (
    <Dialog title={of ? t("access.edit_user", { name: of.user_id }) : t("access.add_user")} onClose={onClose}>
      <Form action={t(of ? "shell.save" : "shell.create")} onCancel={onClose} onSubmit={submit}>
        {!of && <TextField label={t("access.user")} value={name} onInput={setName} required autofocus />}
        <TextField label={t("shell.password")} hint={of ? t("access.keep_password") : undefined} type="password" autocomplete="new-password" value={password} onInput={setPassword} required={!of} />
        <CheckField label={t("access.superuser")} hint={t("access.superuser_hint")} checked={superuser} onChange={setSuperuser} />
        <AreaField label={t("access.attributes")} hint={t("access.attributes_hint")} rows={2} value={attributes} onInput={setAttributes} />
        <Field label={t("access.expires")} hint={t("access.expires_hint")}>
          {(ids) => <input {...ids} type="datetime-local" value={expires} onInput={(event) => setExpires(event.currentTarget.value)} />}
        </Field>
      </Form>
    </Dialog>
  );
}

function Import({ base, onClose, onDone }: { base: string; onClose: () => void; onDone: () => void }) {
  const [file, setFile] = useState<File | null>(null);
  const submit = async () => {
    if (!file) return;
    const form = new FormData();
    form.append("filename", file, file.name);
    const told = await post<{ total: number; override: number }>(`${base}/import_users`, form);
    toast("good", t("access.imported", { n: count(told.total), again: count(told.override) }));
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
  const authenticators = useLoad("databases", async (signal) => {
    const asked = (await get<{ id: string }[]>("/authentication", undefined, signal)).map(({ id }) => id);
    return DATABASES.filter((database) => asked.includes(database));
  });
  const [chosen, setChosen] = useState<Database | null>(null);
  return (
    <Show of={authenticators} rows={5}>
      {(databases) => {
        const shown = chosen ?? databases[0] ?? DATABASES[0];
        return (
          <>
            {databases.length > 1 && (
              <div class="toolbar">
                <Choice label={t("access.mechanism")} value={shown} options={databases.map((database) => [database, t(NAMES[database])] as const)} onChange={setChosen} />
              </div>
            )}
            <UsersOf key={shown} base={`/authentication/${shown}`} />
          </>
        );
      }}
    </Show>
  );
}

function UsersOf({ base }: { base: string }) {
  const [typed, setTyped] = useState("");
  const [like, setLike] = useState("");
  const settle = useSettled(SETTLED_MS, setLike);
  const listing = useListing<User>(`${base}/users`, { like_user_id: like }, EVERY_MS);
  const [edited, setEdited] = useState<User | "new" | "import" | null>(null);
  const discard = async (row: User) => {
    const yes = await confirm({ title: t("access.delete_user", { name: row.user_id }), text: t("access.delete_user_text"), action: t("shell.delete") });
    if (!yes) return;
    await remove(`${base}/users/${part(row.user_id)}`);
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
      { key: "password", head: t("access.kept_as"), cell: (row) => [row.password ?? [], ...row.scram].flat().join(", ") || NOTHING },
      {
        key: "attributes",
        head: t("access.attributes"),
        cell: (row) => {
          const all = Object.entries(row.attributes);
          return all.length === 0 ? NOTHING : <span class="mono break">{all.map(([key, value]) => `${key}=${value}`).join(", ")}</span>;
        },
      },
      { key: "expires", head: t("access.expires"), sort: (row) => row.expires_at ?? Number.MAX_SAFE_INTEGER, cell: (row) => (row.expires_at ? <Moment at={row.expires_at * 1000} /> : NOTHING) },
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
      {edited === "import" && <Import base={base} onClose={close} onDone={done} />}
      {edited && edited !== "import" && <Edit base={base} of={edited === "new" ? null : edited} onClose={close} onDone={done} />}
    </>
  );
}
