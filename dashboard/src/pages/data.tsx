import { useMemo, useRef } from "preact/hooks";

import { download, get, part, post, remove } from "../api/client";
import type { Paged } from "../api/types";
import { useLoad } from "../api/use";
import { bytes, when } from "../format";
import { t } from "../i18n";
import { Button } from "../ui/button";
import { confirm } from "../ui/dialog";
import { Empty, Head, Show } from "../ui/states";
import { type Column, Table } from "../ui/table";
import { toast } from "../ui/toast";

interface DataFile {
  filename: string;
  size: number;
  created_at: string;
}

/** What became of an archive that was imported. */
interface Imported {
  settings: { applied: string[]; pending: string[] };
  table_sets: Record<string, { imported: number; refused: number }>;
}

export default function Data() {
  const files = useLoad("data", (signal) => get<Paged<DataFile>>("/data/files", undefined, signal));
  const chooser = useRef<HTMLInputElement>(null);
  const take = async (row: DataFile) => {
    const yes = await confirm({ title: t("data.import_title", { name: row.filename }), text: t("data.import_text"), action: t("data.import") });
    if (!yes) return;
    const done = await post<Imported>("/data/import", { filename: row.filename });
    const tables = Object.values(done.table_sets);
    const sum = (of: (table: { imported: number; refused: number }) => number) => tables.reduce((all, table) => all + of(table), 0);
    const refused = sum((table) => table.refused);
    toast("good", t("data.imported", { name: row.filename, count: sum((table) => table.imported), pending: done.settings.pending.length }));
    if (refused > 0) toast("bad", t("data.refused", { count: refused }));
  };
  const discard = async (row: DataFile) => {
    const yes = await confirm({ title: t("data.delete_title", { name: row.filename }), text: t("data.delete_text"), action: t("shell.delete") });
    if (!yes) return;
    await remove(`/data/files/${part(row.filename)}`);
    files.reload();
  };
  const choose = () =>
    new Promise<void>((resolve, reject) => {
      const input = chooser.current;
      if (!input) return resolve();
      input.value = "";
      input.oncancel = () => resolve();
      input.onchange = () => {
        const file = input.files?.[0];
        if (!file) return resolve();
        const form = new FormData();
        form.append("filename", file, file.name);
        post("/data/files", form)
          .then(() => {
            toast("good", t("data.uploaded", { name: file.name }));
            files.reload();
          })
          .then(resolve, reject);
      };
      input.click();
    });
  const columns = useMemo(
    (): Column<DataFile>[] => [
      { key: "name", head: t("data.file"), sort: (row) => row.filename, cell: (row) => <span class="mono break">{row.filename}</span> },
      { key: "size", head: t("data.size"), end: true, sort: (row) => row.size, cell: (row) => bytes(row.size) },
      { key: "made", head: t("data.made"), sort: (row) => row.created_at, cell: (row) => <span class="nowrap">{when(row.created_at)}</span> },
      {
        key: "actions",
        head: t("shell.actions"),
        actions: true,
        cell: (row) => (
          <>
            <Button small changes onClick={() => take(row)}>
              {t("data.import")}
            </Button>
            <Button small kind="quiet" icon="download" label={`${t("trace.download")}: ${row.filename}`} changes onClick={() => download(`/data/files/${part(row.filename)}`, row.filename)} />
            <Button small kind="quiet" icon="trash" changes label={`${t("shell.delete")}: ${row.filename}`} onClick={() => discard(row)} />
          </>
        ),
      },
    ],
    [],
  );
  return (
    <>
      <Head title={t("nav.data")} about={t("data.about")}>
        <input ref={chooser} type="file" hidden aria-label={t("data.upload")} />
        <Button changes onClick={choose}>
          {t("data.upload")}
        </Button>
        <Button
          icon="download"
          kind="primary"
          changes
          onClick={async () => {
            const made = await post<DataFile>("/data/export");
            toast("good", t("data.exported", { name: made.filename }));
            files.reload();
          }}
        >
          {t("data.export")}
        </Button>
      </Head>
      <Show of={files} rows={3}>
        {(told) => (
          <Table
            label={t("nav.data")}
            columns={columns}
            rows={told.data}
            keyOf={(row) => row.filename}
            empty={
              <Empty icon="box" title={t("data.none")}>
                {t("data.none_text")}
              </Empty>
            }
          />
        )}
      </Show>
    </>
  );
}
