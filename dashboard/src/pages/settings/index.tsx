import { useMemo, useState } from "preact/hooks";

import { download, get } from "../../api/client";
import { asApiError, useLoad } from "../../api/use";
import { language, t } from "../../i18n";
import { amend } from "../../route";
import { Button } from "../../ui/button";
import { CheckField, SearchBox } from "../../ui/form";
import { Card, Empty, Head, Note, Show } from "../../ui/states";
import { toastError } from "../../ui/toast";
import "../../styles/control.css";
import type { PageProps } from "../registry";
import { change, changesOf, errorsOf, isWrong } from "./change";
import { SettingField, type Wish } from "./field";
import { type Row, rowsOf, type Section, type Setting, translated } from "./value";

/** Settings that a search shows. */
const FOUND_MAX = 60;

interface Told {
  sections: Section[];
  settings: Record<string, Setting>;
}

function found(rows: ReadonlyMap<string, Row[]>, text: string): Row[] {
  const wanted = text.toLowerCase();
  const all = [...rows.values()].flat();
  return all.filter((row) => row.path.toLowerCase().includes(wanted) || row.described.doc.toLowerCase().includes(wanted)).slice(0, FOUND_MAX);
}

export default function Settings({ query }: PageProps) {
  const told = useLoad("settings", async (signal): Promise<Told> => {
    const [schema, settings, chinese] = await Promise.all([
      get<{ sections: Section[] }>("/configs/schema", undefined, signal),
      get<Record<string, Setting>>("/configs", undefined, signal),
      // The gateway tells what settings are for in English.
      language.value === "zh" ? import("./zh") : null,
    ]);
    return { sections: chinese ? translated(schema.sections, chinese) : schema.sections, settings };
  });
  const [wishes, setWishes] = useState<ReadonlyMap<string, Wish>>(new Map());
  const [errors, setErrors] = useState<ReadonlyMap<string, string>>(new Map());
  const [text, setText] = useState("");
  const [onlySet, setOnlySet] = useState(false);
  const rows = useMemo(() => (told.data ? rowsOf(told.data.sections, told.data.settings) : new Map<string, Row[]>()), [told.data]);
  const chosen = query.get("section") ?? "";
  const section = rows.has(chosen) ? chosen : (rows.keys().next().value ?? "");
  const shown = text ? found(rows, text) : onlySet ? [...rows.values()].flat().filter((row) => row.setting.source !== "default") : (rows.get(section) ?? []);
  const pending = Object.values(told.data?.settings ?? {}).filter((setting) => setting.pending).length;
  const wish = (path: string, to: Wish | undefined) => {
    const next = new Map(wishes);
    if (to === undefined) next.delete(path);
    else next.set(path, to);
    setWishes(next);
    if (errors.has(path)) setErrors(new Map([...errors].filter(([key]) => key !== path)));
  };
  const wrong = [...wishes.values()].some(isWrong);
  const save = async () => {
    try {
      await change(changesOf(wishes));
      setWishes(new Map());
      setErrors(new Map());
      told.reload();
    } catch (error) {
      const found = errorsOf(error);
      if (found.size === 0) throw error;
      setErrors(found);
      toastError(asApiError(error));
    }
  };
  return (
    <>
      <Head title={t("nav.settings")} about={t("settings.about")}>
        <Button icon="download" onClick={() => download("/configs/export", "thingway-run-time.toml")}>
          {t("settings.export")}
        </Button>
      </Head>
      {pending > 0 && <Note kind="warn">{t("settings.pending_some", { n: pending })}</Note>}
      <div class="toolbar">
        <SearchBox label={t("settings.search")} value={text} onInput={setText} />
        {rows.size > 0 && !text && !onlySet && (
          <select aria-label={t("settings.sections")} value={section} onChange={(event) => amend({ section: event.currentTarget.value })}>
            {[...rows.keys()].map((name) => (
              <option key={name} value={name}>
                {name}
              </option>
            ))}
          </select>
        )}
        {!text && <CheckField label={t("settings.only_set")} checked={onlySet} onChange={setOnlySet} />}
      </div>
      <Show of={told} rows={10}>
        {(data) => (
          <Card title={text || onlySet ? undefined : section}>
            {!text && !onlySet && <p class="soft prose lead">{data.sections.find((one) => one.path === section.split(".")[0])?.doc}</p>}
            {shown.length === 0 && <Empty icon="sliders" title={t("settings.none")} />}
            {shown.map((row) => (
              <SettingField key={row.path} row={row} wish={wishes.get(row.path)} error={errors.get(row.path)} onWish={(to) => wish(row.path, to)} />
            ))}
          </Card>
        )}
      </Show>
      {wishes.size > 0 && (
        <div class="save-bar" role="region" aria-label={t("settings.unsaved", { n: wishes.size })}>
          <span>{t("settings.unsaved", { n: wishes.size })}</span>
          <div class="actions">
            <Button
              onClick={() => {
                setWishes(new Map());
                setErrors(new Map());
              }}
            >
              {t("settings.discard")}
            </Button>
            <Button kind="primary" changes disabled={wrong} onClick={save}>
              {t("settings.save", { n: wishes.size })}
            </Button>
          </div>
        </div>
      )}
    </>
  );
}
