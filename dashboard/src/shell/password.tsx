import { useState } from "preact/hooks";

import { session } from "../api/session";
import { changePassword } from "../api/sign_in";
import { t } from "../i18n";
import { Button } from "../ui/button";
import { Dialog } from "../ui/dialog";
import { Form, TextField } from "../ui/form";
import { Icon } from "../ui/icon";
import { toast } from "../ui/toast";

const BYTES_MIN = 8;
const BYTES_MAX = 256;

export function ChangePassword({ onClose }: { onClose: () => void }) {
  const [before, setBefore] = useState("");
  const [after, setAfter] = useState("");
  const [again, setAgain] = useState("");
  const length = new TextEncoder().encode(after).length;
  const short = after !== "" && (length < BYTES_MIN || length > BYTES_MAX);
  const differs = again !== "" && again !== after;
  const submit = async () => {
    await changePassword(before, after);
    toast("good", t("shell.password_changed"));
    onClose();
  };
  return (
    <Dialog title={t("shell.change_password")} onClose={onClose}>
      <Form action={t("shell.change_password")} changes={false} disabled={before === "" || after === "" || short || again !== after} onSubmit={submit} onCancel={onClose}>
        <input class="unseen" type="text" autocomplete="username" value={session.value?.username} readOnly tabIndex={-1} aria-hidden="true" />
        <TextField label={t("shell.password_now")} type="password" autocomplete="current-password" autofocus value={before} onInput={setBefore} />
        <TextField label={t("shell.password_new")} type="password" autocomplete="new-password" hint={t("shell.password_rule")} error={short ? t("shell.password_rule") : undefined} value={after} onInput={setAfter} />
        <TextField label={t("shell.password_again")} type="password" autocomplete="new-password" error={differs ? t("shell.password_differs") : undefined} value={again} onInput={setAgain} />
      </Form>
    </Dialog>
  );
}

/** Above every page until the password that everybody knows is changed. */
export function MustChange() {
  const [changing, setChanging] = useState(false);
  if (!session.value?.mustChangePassword) return null;
  return (
    <section class="banner" aria-label={t("shell.change_password")}>
      <Icon name="key" />
      <p>{t("shell.must_change")}</p>
      <Button kind="primary" small onClick={() => setChanging(true)}>
        {t("shell.change_password")}
      </Button>
      {changing && <ChangePassword onClose={() => setChanging(false)} />}
    </section>
  );
}
