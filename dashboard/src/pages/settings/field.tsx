import { useState } from "preact/hooks";

import { heldBack } from "../../api/session";
import { t } from "../../i18n";
import { sayOfField } from "../../i18n/said";
import { Button } from "../../ui/button";
import { AreaField, SelectField, TextField } from "../../ui/form";
import { Tag } from "../../ui/states";
import { type Parsed, parsed, type Row, written } from "./value";

/** What the operator wants of a setting: another value, or none of its own. */
export type Wish = Parsed | "reset";

interface FieldProps {
  row: Row;
  wish: Wish | undefined;
  /** What the gateway found wrong with it. */
  error?: string;
  /** What it is called, when not by its whole key. */
  label?: string;
  onWish: (wish: Wish | undefined) => void;
}

function Source({ row }: { row: Row }) {
  const { source } = row.setting;
  if (source === "run time") return <Tag kind="accent">{t("settings.run_time")}</Tag>;
  return <Tag>{source === "default" ? t("settings.default") : t("settings.from", { source })}</Tag>;
}

function Control({ row, wish, error, onWish, label = row.path }: FieldProps) {
  const { described, setting } = row;
  // What is secret is not told: a text, or a table of texts.
  const isSecret = described.kind === "secret" || described.kind === "secrets";
  const isSet = typeof setting.value === "object" ? Object.keys(setting.value ?? {}).length > 0 : Boolean(setting.value);
  const before = isSecret ? "" : written(described, setting.value);
  const [text, setText] = useState(before);
  const shown = wish === undefined || wish === "reset" ? before : text;
  const wrong = typeof wish === "object" && "wrong" in wish ? t(wish.wrong) : undefined;
  const disabled = !setting.settable || heldBack.value !== null || wish === "reset";
  const take = (next: string) => {
    setText(next);
    onWish(next === before ? undefined : parsed(described, setting.value, next));
  };
  const common = { label, error: wrong ?? (error && sayOfField(error)), disabled };
  if (described.kind === "bool") {
    const value = typeof wish === "object" && "value" in wish ? Boolean(wish.value) : Boolean(setting.value);
    return (
      <div class={common.error ? "field wrong" : "field"}>
        <label class="check">
          <input type="checkbox" checked={value} disabled={disabled} onChange={(event) => onWish(event.currentTarget.checked === setting.value ? undefined : { value: event.currentTarget.checked })} />
          <span>{label}</span>
        </label>
        {common.error && <p class="about">{common.error}</p>}
      </div>
    );
  }
  if (described.choices?.length && (typeof setting.value === "string" || setting.value === null)) {
    const choices = [...new Set([...(before === "" ? [""] : []), ...described.choices, before])];
    return <SelectField {...common} value={shown} options={choices.map((choice) => [choice, choice || "–"] as const)} onChange={take} />;
  }
  if (described.kind === "secrets") {
    return <AreaField {...common} rows={2} value={shown} hint={isSet ? t("settings.secret_kept") : t("settings.table_hint")} onInput={take} />;
  }
  if (described.kind === "lines") {
    return <AreaField {...common} rows={Math.min(12, Math.max(3, shown.split("\n").length))} value={shown} onInput={take} />;
  }
  if (described.kind === "list" || (typeof setting.value === "object" && setting.value !== null)) {
    return <AreaField {...common} rows={Math.min(8, Math.max(2, shown.split("\n").length))} value={shown} hint={described.kind === "list" ? t("settings.list_hint") : undefined} onInput={take} />;
  }
  return (
    <TextField
      {...common}
      type={described.kind === "number" ? "number" : isSecret ? "password" : "text"}
      autocomplete={isSecret ? "new-password" : "off"}
      placeholder={isSecret && isSet ? t("settings.secret_kept") : undefined}
      min={described.min}
      max={described.max}
      value={shown}
      onInput={take}
    />
  );
}

/** A setting: what it is for, its value, who says so, and how it is taken back. */
export function SettingField(props: FieldProps) {
  const { row, wish, onWish } = props;
  return (
    <div class={wish === undefined ? "setting" : "setting changed"}>
      <Control {...props} />
      <div class="setting-about">
        <p>{row.described.doc.split("`").map((part, at) => (at % 2 === 1 ? <code key={at}>{part}</code> : part))}</p>
        <p class="setting-tags">
          <Source row={row} />
          {row.setting.pending && <Tag kind="warn">{t("settings.pending")}</Tag>}
          {!row.setting.settable && <span class="soft">{t("settings.fixed")}</span>}
          {row.described.kind !== "bool" && !row.described.choices?.length && <span class="soft">{row.described.expected}</span>}
          {wish === "reset" && <span class="soft">{t("settings.will_reset")}</span>}
          {wish !== undefined && (
            <Button small kind="quiet" onClick={() => onWish(undefined)}>
              {t("settings.discard")}
            </Button>
          )}
          {wish === undefined && row.setting.source === "run time" && (
            <Button small kind="quiet" changes onClick={() => onWish("reset")}>
              {t("settings.reset")}
            </Button>
          )}
        </p>
      </div>
    </div>
  );
}
