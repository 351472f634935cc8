import { useEffect, useState } from "preact/hooks";

import { ended } from "../api/session";
import { signIn } from "../api/sign_in";
import { t } from "../i18n";
import { Form, TextField } from "../ui/form";
import { Note } from "../ui/states";
import { LanguageSwitch, Mark, ThemeSwitch } from "./navigation";

export function SignIn() {
  const [username, setUsername] = useState("");
  const [password, setPassword] = useState("");
  useEffect(() => {
    document.title = `${t("shell.sign_in")} · Thingway`;
  });
  return (
    <main class="sign-in">
      <div class="card">
        <Mark />
        <p class="tagline">{t("shell.tagline")}</p>
        <h1>{t("shell.sign_in")}</h1>
        {ended.value === "expired" && <Note kind="info">{t("shell.expired")}</Note>}
        <Form action={t("shell.sign_in")} changes={false} disabled={username === "" || password === ""} onSubmit={() => signIn(username, password)}>
          <TextField label={t("shell.username")} autocomplete="username" autofocus required value={username} onInput={setUsername} />
          <TextField label={t("shell.password")} type="password" autocomplete="current-password" required value={password} onInput={setPassword} />
        </Form>
      </div>
      <div class="switches">
        <LanguageSwitch />
        <ThemeSwitch />
      </div>
    </main>
  );
}
