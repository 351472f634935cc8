import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import { get, remove } from "../../api/client";
import { heldBack, onlyLooks } from "../../api/session";
import type { Alarm, Paged } from "../../api/types";
import { useLoad } from "../../api/use";
import { count, NOTHING } from "../../format";
import { type Key, t } from "../../i18n";
import { link } from "../../route";
import { Button } from "../../ui/button";
import { confirm } from "../../ui/dialog";
import { Card, Empty, Facts, Note, Show, Tag } from "../../ui/states";
import { type Column, Table } from "../../ui/table";
import { toast } from "../../ui/toast";
import { change, type Changes } from "../settings/change";
import { AddToOrder, EditService } from "./service_form";
import { isOurs, kindOf, labelOf, type List, listed, LISTS, moved, named, servicesIn, type Settings, withoutService } from "./services";

const EVERY_MS = 5000;

interface Authenticator {
  mechanism: string;
  backend?: string;
  users_count?: number;
  file_users_count?: number;
}

interface Source {
  type: string;
  rules_count?: number;
}

interface Otherwise {
  no_match: string;
  deny_action: string;
  cache: { enable: boolean; max_size: number };
}

/** Services that do not answer and are left alone for a while, as `authentication:http.main`. */
function useDown(): ReadonlySet<string> {
  const alarms = useLoad("alarms of services", (signal) => get<Paged<Alarm>>("/alarms", { activated: true, limit: 1000 }, signal), EVERY_MS);
  return useMemo(() => {
    const prefix = "access_service_down:";
    return new Set((alarms.data?.data ?? []).filter(({ name }) => name.startsWith(prefix)).map(({ name }) => name.slice(prefix.length)));
  }, [alarms.data]);
}

/** Asks before nobody is asked any more, and before somebody is where nobody was. */
async function mayBe(settings: Settings, list: List, names: readonly string[]): Promise<boolean> {
  const before = named(settings, list).length;
  const hardened = settings["gateway.security"]?.value === "hardened";
  if (list !== "authenticators" || (before === 0) === (names.length === 0)) return true;
  // A hardened gateway lets nobody in where nobody is asked.
  if (names.length > 0) return hardened || confirm({ title: t("access.first_title"), text: t("access.first_text"), action: t("access.first_action"), danger: false });
  return confirm({ title: t("access.last_title"), text: t(hardened ? "access.last_hardened" : "access.last_text"), action: t("access.take_out") });
}

interface Place {
  name: string;
  at: number;
  last: boolean;
}

interface ListCardProps {
  list: List;
  settings: Settings;
  down: ReadonlySet<string>;
  holds: (name: string) => string;
  empty: preact.ComponentChildren;
  onEdit: (service: string) => void;
  onAdd: () => void;
  onChange: (changes: Changes) => Promise<void>;
}

/** One of the lists: each may go up, down and out. */
function ListCard({ list, settings, down, holds, empty, onEdit, onAdd, onChange }: ListCardProps) {
  const names = named(settings, list);
  const setting = settings[LISTS[list]];
  const element = useRef<HTMLDivElement>(null);
  // The button that was pressed keeps the focus, wherever its row has gone; at an end it is the other one.
  const pressed = useRef<readonly string[] | null>(null);
  useEffect(() => {
    const labels = pressed.current;
    if (!labels) return;
    pressed.current = null;
    const buttons = [...(element.current?.querySelectorAll("button") ?? [])];
    labels.map((label) => buttons.find((button) => button.getAttribute("aria-label") === label)).find((button) => button && !button.disabled)?.focus();
  }, [names.join(" ")]);
  const columns = useMemo((): Column<Place>[] => {
    const title = { up: (name: string) => `${t("access.move_up")}: ${name}`, down: (name: string) => `${t("access.move_down")}: ${name}` };
    const move = async (name: string, by: -1 | 1) => {
      const labels = [title.up(name), title.down(name)];
      pressed.current = by < 0 ? labels : labels.reverse();
      try {
        await onChange(listed(list, moved(names, name, by)));
      } catch (error) {
        pressed.current = null;
        throw error;
      }
    };
    const takeOut = async (name: string) => {
      const left = names.filter((one) => one !== name);
      if (await mayBe(settings, list, left)) await onChange(listed(list, left));
    };
    return [
      { key: "position", head: "#", narrow: true, cell: (row) => row.at + 1 },
      {
        key: "name",
        head: t("access.name"),
        cell: (row) =>
          kindOf(row.name) && !onlyLooks.value ? (
            <button type="button" class="as-link mono break" onClick={() => onEdit(row.name)}>
              {row.name}
            </button>
          ) : (
            <span class="mono break">{row.name}</span>
          ),
      },
      { key: "kind", head: t("access.kind"), cell: (row) => told(labelOf(row.name), row.name) },
      { key: "state", head: t("access.state"), cell: (row) => <State isPending={setting?.pending} isDown={down.has(`${list === "sources" ? "authorization" : "authentication"}:${row.name}`)} /> },
      { key: "holds", head: t("access.holds"), end: true, cell: (row) => holds(row.name) },
      {
        key: "actions",
        head: t("shell.actions"),
        actions: true,
        cell: ({ name, at, last }) =>
          setting?.settable && (
            <>
              <Button small kind="quiet" icon="up" changes label={title.up(name)} disabled={at === 0} onClick={() => move(name, -1)} />
              <Button small kind="quiet" icon="down" changes label={title.down(name)} disabled={last} onClick={() => move(name, 1)} />
              <Button small changes label={`${t("access.take_out")}: ${name}`} onClick={() => takeOut(name)}>
                {t("access.take_out")}
              </Button>
            </>
          ),
      },
    ];
  }, [settings, down, holds]);
  const rows = names.map((name, at) => ({ name, at, last: at === names.length - 1 }));
  return (
    <Card
      flush
      title={t(`access.${list}`)}
      actions={
        setting?.settable && (
          <Button small icon="plus" changes label={t(`access.add_${list}`)} onClick={onAdd}>
            {t("access.add")}
          </Button>
        )
      }
    >
      <div ref={element}>
        {setting?.settable === false && !onlyLooks.value && (
          <div class="padded">
            <Note kind="info">{t("access.set_elsewhere", { source: setting.source })}</Note>
          </div>
        )}
        <Table label={t(`access.${list}`)} columns={columns} rows={rows} keyOf={(row) => row.name} empty={empty} />
      </div>
    </Card>
  );
}

function told(label: Key | undefined, otherwise: string): string {
  return label ? t(label) : otherwise;
}

function State({ isPending, isDown }: { isPending: boolean | undefined; isDown: boolean }) {
  if (isPending) return <Tag kind="warn">{t("settings.pending")}</Tag>;
  return isDown ? <Tag kind="bad">{t("access.down")}</Tag> : <Tag kind="good">{t("access.is_asked")}</Tag>;
}

interface ServicesProps {
  settings: Settings;
  onEdit: (service: string) => void;
  onChange: (changes: Changes) => Promise<void>;
}

/** Every service there is, whether a list names it or not. */
function Services({ settings, onEdit, onChange }: ServicesProps) {
  const columns = useMemo((): Column<string>[] => {
    const discard = async (service: string) => {
      const changes = withoutService(settings, service);
      const isLast = named(settings, "authenticators").join() === service;
      const warning = settings["gateway.security"]?.value === "hardened" ? "access.last_hardened" : "access.last_text";
      const text = isLast ? `${t("access.delete_service_text")} ${t(warning)}` : t("access.delete_service_text");
      if (await confirm({ title: t("access.delete_service", { name: service }), text, action: t("shell.delete") })) await onChange(changes);
    };
    return [
      { key: "name", head: t("access.name"), cell: (row) => <span class="mono break">{row}</span> },
      { key: "kind", head: t("access.kind"), cell: (row) => told(labelOf(row), row) },
      {
        key: "named",
        head: t("access.asked_about"),
        cell: (row) => {
          const lists = (Object.keys(LISTS) as List[]).filter((list) => named(settings, list).includes(row));
          return lists.length === 0 ? t("access.unused") : lists.map((list) => t(`access.named_${list}`)).join(", ");
        },
      },
      {
        key: "actions",
        head: t("shell.actions"),
        actions: true,
        cell: (row) => (
          <>
            <Button small changes label={`${t("shell.edit")}: ${row}`} onClick={() => onEdit(row)}>
              {t("shell.edit")}
            </Button>
            {isOurs(settings, row) && <Button small kind="quiet" icon="trash" changes label={`${t("shell.delete")}: ${row}`} onClick={() => discard(row)} />}
          </>
        ),
      },
    ];
  }, [settings]);
  return (
    <Card flush title={t("access.services")}>
      <Table label={t("access.services")} columns={columns} rows={servicesIn(settings)} keyOf={(row) => row} empty={null} />
    </Card>
  );
}

/** Who is asked, in order. */
export function Order() {
  const settings = useLoad("settings of access", (signal) => get<Settings>("/configs", undefined, signal));
  const authenticators = useLoad("authentication", (signal) => get<Authenticator[]>("/authentication", undefined, signal), EVERY_MS);
  const sources = useLoad("sources", async (signal) => (await get<{ sources: Source[] }>("/authorization/sources", undefined, signal)).sources, EVERY_MS);
  const otherwise = useLoad("authorization", (signal) => get<Otherwise>("/authorization/settings", undefined, signal), EVERY_MS);
  const down = useDown();
  const [edited, setEdited] = useState<string | null>(null);
  const [addsTo, setAddsTo] = useState<List | null>(null);
  const reload = () => {
    for (const one of [settings, authenticators, sources]) one.reload();
  };
  const onChange = async (changes: Changes) => {
    await change(changes);
    reload();
  };
  const done = () => {
    setEdited(null);
    setAddsTo(null);
    reload();
  };
  const users = useMemo(() => {
    const mechanisms: Record<string, string> = { users: "password_based", scram: "scram" };
    return (name: string) => {
      const its = authenticators.data?.find((one) => one.mechanism === mechanisms[name] && one.backend === "built_in_database");
      return its?.users_count === undefined ? NOTHING : t("access.holds_users", { n: count(its.users_count + (its.file_users_count ?? 0)) });
    };
  }, [authenticators.data]);
  const rules = useMemo(() => {
    const types: Record<string, string[]> = { rules: ["settings", "built_in_database", "file"], "rules.settings": ["settings"], "rules.database": ["built_in_database"], "rules.files": ["file"] };
    return (name: string) => {
      const its = sources.data?.filter(({ type }) => types[name]?.includes(type)) ?? [];
      return its.length === 0 ? NOTHING : t("access.holds_rules", { n: count(its.reduce((sum, one) => sum + (one.rules_count ?? 0), 0)) });
    };
  }, [sources.data]);
  return (
    <div class="stacked">
      <p class="soft lead">
        {t("access.asked_in_order")} <a href={link(["settings"], { section: "access" })}>{t("access.to_settings")}</a>
      </p>
      <Show of={settings} rows={4}>
        {(told) => (
          <>
            <ListCard
              list="authenticators"
              settings={told}
              down={down}
              holds={users}
              onEdit={setEdited}
              onAdd={() => setAddsTo("authenticators")}
              onChange={onChange}
              empty={
                <Empty icon="shield" title={t("access.everybody")}>
                  {t("access.everybody_text")}
                </Empty>
              }
            />
            <ListCard
              list="sources"
              settings={told}
              down={down}
              holds={rules}
              onEdit={setEdited}
              onAdd={() => setAddsTo("sources")}
              onChange={onChange}
              empty={<Empty icon="list" title={t("access.everything")} />}
            />
            {servicesIn(told).length > 0 && <Services settings={told} onEdit={setEdited} onChange={onChange} />}
            {edited !== null && heldBack.value === null && <EditService service={edited} settings={told} onClose={() => setEdited(null)} onDone={done} />}
            {addsTo && <AddToOrder list={addsTo} settings={told} mayBe={(names) => mayBe(told, addsTo, names)} onClose={() => setAddsTo(null)} onDone={done} />}
          </>
        )}
      </Show>
      <Show of={otherwise} rows={1}>
        {({ no_match, deny_action, cache }) => (
          <Card
            title={t("access.otherwise")}
            actions={
              <Button
                small
                changes
                onClick={async () => {
                  await remove("/authorization/cache");
                  toast("good", t("access.cache_cleared"));
                }}
              >
                {t("access.clear_cache")}
              </Button>
            }
          >
            <Facts
              of={[
                [t("access.no_match"), no_match === "allow" || no_match === "deny" ? t(`access.${no_match}`) : no_match],
                [t("access.deny_action"), deny_action === "ignore" || deny_action === "disconnect" ? t(`access.deny_${deny_action}`) : deny_action],
                [t("access.cache"), cache.enable ? count(cache.max_size) : NOTHING],
              ]}
            />
          </Card>
        )}
      </Show>
    </div>
  );
}
