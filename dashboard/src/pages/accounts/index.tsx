import { t } from "../../i18n";
import { amend } from "../../route";
import { Choice } from "../../ui/button";
import { Head } from "../../ui/states";
import type { PageProps } from "../registry";
import { Accounts } from "./accounts";
import { Keys } from "./keys";

export default function AccountsAndKeys({ query }: PageProps) {
  const shown = query.get("part") === "keys" ? "keys" : "accounts";
  return (
    <>
      <Head title={t("nav.accounts")} about={t(shown === "keys" ? "keys.about" : "accounts.about")} />
      <div class="toolbar">
        <Choice
          label={t("accounts.parts")}
          value={shown}
          options={[
            ["accounts", t("accounts.accounts")],
            ["keys", t("accounts.keys")],
          ]}
          onChange={(value) => amend({ part: value })}
        />
      </div>
      {shown === "keys" ? <Keys /> : <Accounts />}
    </>
  );
}
