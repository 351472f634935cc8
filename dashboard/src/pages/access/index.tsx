import { t } from "../../i18n";
import { amend } from "../../route";
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
  const shown: Part = asked in PARTS ? (asked as Part) : "order";
  const Shown = PARTS[shown];
  return (
    <>
      <Head title={t("nav.access")} about={t("access.about")} />
      <div class="toolbar">
        <Choice
          label={t("access.parts")}
          value={shown}
          options={(Object.keys(PARTS) as Part[]).map((part) => [part, t(`access.${part}`)] as const)}
          onChange={(part) => amend({ part })}
        />
      </div>
      <Shown />
    </>
  );
}
