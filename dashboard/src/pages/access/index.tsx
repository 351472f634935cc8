import { onlyLooks } from "../../api/session";
import { t } from "../../i18n";
import { go } from "../../route";
import { Choice } from "../../ui/button";
import { Head } from "../../ui/states";
import "../../styles/control.css";
import type { PageProps } from "../registry";
import { Bans } from "./bans";
import { Explain } from "./explain";
import { Order } from "./order";
import { Rules } from "./rules";
import { Users } from "./users";

const PARTS = { order: Order, users: Users, rules: Rules, bans: Bans, explain: Explain } as const;
type Part = keyof typeof PARTS;

export default function Access({ query }: PageProps) {
  const asked = query.get("part") ?? "";
  // Asking why is no mere look for the API.
  const parts = (Object.keys(PARTS) as Part[]).filter((part) => part !== "explain" || !onlyLooks.value);
  const shown = parts.find((part) => part === asked) ?? "order";
  const Shown = PARTS[shown];
  return (
    <>
      <Head title={t("nav.access")} about={t("access.about")} />
      <div class="toolbar">
        <Choice
          label={t("access.parts")}
          value={shown}
          options={parts.map((part) => [part, t(`access.${part}`)] as const)}
          onChange={(part) => go(["access"], { part })}
        />
      </div>
      <Shown query={query} />
    </>
  );
}
