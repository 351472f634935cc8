import { useMemo } from "preact/hooks";

import { get, remove } from "../../api/client";
import { useLoad } from "../../api/use";
import { count, NOTHING } from "../../format";
import { t } from "../../i18n";
import { link } from "../../route";
import { Button } from "../../ui/button";
import { Card, Empty, Facts, Show } from "../../ui/states";
import { type Column, Table } from "../../ui/table";
import { toast } from "../../ui/toast";

const EVERY_MS = 5000;

interface Authenticator {
  id: string;
  mechanism: string;
  backend?: string;
  position: number;
  users_count?: number;
  file_users_count?: number;
}

interface Source {
  type: string;
  name?: string;
  path?: string;
  position: number;
  rules_count?: number;
}

interface Settings {
  no_match: string;
  deny_action: string;
  cache: { enable: boolean; max_size: number };
}

/** Who is asked, in order. */
export function Order() {
  const authenticators = useLoad("authentication", (signal) => get<Authenticator[]>("/authentication", undefined, signal), EVERY_MS);
  const sources = useLoad("sources", async (signal) => (await get<{ sources: Source[] }>("/authorization/sources", undefined, signal)).sources, EVERY_MS);
  const settings = useLoad("authorization", (signal) => get<Settings>("/authorization/settings", undefined, signal), EVERY_MS);
  const asked = useMemo(
    (): Column<Authenticator>[] => [
      { key: "position", head: "#", narrow: true, cell: (row) => row.position + 1 },
      { key: "id", head: t("access.name"), cell: (row) => <span class="mono break">{row.id}</span> },
      { key: "mechanism", head: t("access.mechanism"), cell: (row) => row.mechanism },
      { key: "backend", head: t("access.backend"), cell: (row) => row.backend ?? NOTHING },
      { key: "holds", head: t("access.holds"), end: true, cell: (row) => (row.users_count === undefined ? NOTHING : t("access.holds_users", { n: count(row.users_count + (row.file_users_count ?? 0)) })) },
    ],
    [],
  );
  const ruled = useMemo(
    (): Column<Source>[] => [
      { key: "position", head: "#", narrow: true, cell: (row) => row.position + 1 },
      { key: "type", head: t("access.kind"), cell: (row) => row.type },
      { key: "name", head: t("access.name"), cell: (row) => <span class="mono break">{row.name ?? row.path ?? NOTHING}</span> },
      { key: "holds", head: t("access.holds"), end: true, cell: (row) => (row.rules_count === undefined ? NOTHING : t("access.holds_rules", { n: count(row.rules_count) })) },
    ],
    [],
  );
  const toSettings = <a href={link(["settings"], { section: "access" })}>{t("access.to_settings")}</a>;
  return (
    <div class="stacked">
      <p class="soft lead">
        {t("access.asked_in_order")} {toSettings}
      </p>
      <Card flush title={t("access.authenticators")}>
        <Show of={authenticators} rows={2}>
          {(rows) => <Table label={t("access.authenticators")} columns={asked} rows={rows} keyOf={(row) => row.id} empty={<Empty icon="shield" title={t("access.everybody")}>{t("access.everybody_text")}</Empty>} />}
        </Show>
      </Card>
      <Card flush title={t("access.sources")}>
        <Show of={sources} rows={2}>
          {(rows) => <Table label={t("access.sources")} columns={ruled} rows={rows} keyOf={(row) => String(row.position)} empty={<Empty icon="list" title={t("access.everything")} />} />}
        </Show>
      </Card>
      <Show of={settings} rows={1}>
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
