import type { ComponentChildren } from "preact";
import { useMemo, useState } from "preact/hooks";

import type { Listing } from "../api/listing";
import type { Meta } from "../api/types";
import { count, NOTHING } from "../format";
import { t } from "../i18n";
import { Button } from "./button";
import { Icon } from "./icon";

export interface Column<T> {
  key: string;
  head: string;
  cell: (row: T) => ComponentChildren;
  /** Numbers stand at the right. */
  end?: boolean;
  /** By what the rows that are there can be ordered. */
  sort?: (row: T) => string | number;
  /** It may be cut when it is long. */
  cut?: boolean;
  /** As narrow as what stands in it. */
  narrow?: boolean;
  /** Buttons: no heading is shown. */
  actions?: boolean;
}

interface TableProps<T> {
  label: string;
  columns: Column<T>[];
  rows: T[];
  keyOf: (row: T) => string;
  onRow?: (row: T) => void;
  classOf?: (row: T) => string | undefined;
  empty: ComponentChildren;
}

/** A table with a head that stays in sight; on a phone each row becomes a card. */
export function Table<T>({ label, columns, rows, keyOf, onRow, classOf, empty }: TableProps<T>) {
  const [order, setOrder] = useState<{ key: string; down: boolean } | null>(null);
  const shown = useMemo(() => {
    const by = order && columns.find((column) => column.key === order.key)?.sort;
    if (!order || !by) return rows;
    const sign = order.down ? -1 : 1;
    return [...rows].sort((one, other) => {
      const [a, b] = [by(one), by(other)];
      return sign * (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
    });
  }, [rows, order, columns]);
  if (rows.length === 0) return <>{empty}</>;
  return (
    <div class="table-wrap" role="region" aria-label={label} tabIndex={0}>
      <table>
        <thead>
          <tr>
            {columns.map((column) => {
              const is = order?.key === column.key ? order : null;
              return (
                <th key={column.key} scope="col" class={column.end ? "end" : undefined} aria-sort={is ? (is.down ? "descending" : "ascending") : undefined}>
                  {column.actions ? (
                    <span class="unseen">{column.head}</span>
                  ) : column.sort ? (
                    <button type="button" onClick={() => setOrder(is?.down ? null : { key: column.key, down: is !== null })}>
                      {column.head}
                      {is && (
                        <span class={is.down ? "" : "up"}>
                          <Icon name="down" size={12} />
                        </span>
                      )}
                    </button>
                  ) : (
                    column.head
                  )}
                </th>
              );
            })}
          </tr>
        </thead>
        <tbody>
          {shown.map((row) => (
            <tr
              key={keyOf(row)}
              class={`${onRow ? "link" : ""} ${classOf?.(row) ?? ""}`}
              onClick={(event) => {
                if (!onRow || (event.target as Element).closest("a,button,input,select")) return;
                if (String(getSelection()) === "") onRow(row);
              }}
            >
              {columns.map((column) => {
                const cell = column.cell(row);
                const isNothing = cell === NOTHING || cell === "" || cell === null || cell === undefined;
                return (
                  <td
                    key={column.key}
                    data-label={column.actions ? "" : column.head}
                    class={`${column.end ? "end" : ""} ${column.cut ? "cut" : ""} ${column.narrow ? "narrow" : ""} ${column.actions ? "row-actions" : isNothing ? "nothing" : ""}`}
                  >
                    {cell}
                  </td>
                );
              })}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** The pages of a listing, by number. */
export function Pager({ meta, onPage }: { meta: Meta; onPage: (page: number) => void }) {
  const page = meta.page ?? 1;
  const limit = meta.limit ?? 100;
  const last = meta.count === undefined ? undefined : Math.max(1, Math.ceil(meta.count / limit));
  const more = meta.hasnext ?? (last !== undefined && page < last);
  if (page === 1 && !more) return meta.count === undefined ? null : <p class="pager">{t("shell.rows", { n: count(meta.count) })}</p>;
  return (
    <nav class="pager" aria-label={t("shell.pages")}>
      {meta.count !== undefined && <span>{t("shell.rows", { n: count(meta.count) })}</span>}
      <Button small icon="left" label={t("shell.previous")} disabled={page <= 1} onClick={() => onPage(page - 1)} />
      <span>{last === undefined ? t("shell.page", { page }) : t("shell.page_of", { page, last: count(last) })}</span>
      <Button small icon="right" label={t("shell.next")} disabled={!more} onClick={() => onPage(page + 1)} />
    </nav>
  );
}

/** The pages of a listing that is read by useListing. */
export function ListingPager<T>({ of }: { of: Listing<T> }) {
  const meta = of.data?.meta;
  if (!meta || (of.isFirst && !meta.hasnext)) {
    return meta?.count === undefined ? null : <p class="pager">{t("shell.rows", { n: count(meta.count) })}</p>;
  }
  return (
    <nav class="pager" aria-label={t("shell.pages")}>
      {of.count !== undefined && <span>{t("shell.rows", { n: count(of.count) })}</span>}
      <Button small icon="left" label={t("shell.previous")} disabled={of.isFirst} onClick={of.previous} />
      <span>{t("shell.page", { page: count(of.number) })}</span>
      <Button small icon="right" label={t("shell.next")} disabled={!meta.hasnext} onClick={of.next} />
    </nav>
  );
}
