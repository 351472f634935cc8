import { useState } from "preact/hooks";

import { onlyLooks, session } from "../api/session";
import { leave } from "../api/sign_in";
import { language, setLanguage, t } from "../i18n";
import { mode } from "../live/live";
import { groups } from "../pages/registry";
import { link } from "../route";
import { isDark, setTheme, theme, type Theme } from "../theme";
import { Button } from "../ui/button";
import { Dialog } from "../ui/dialog";
import { Icon } from "../ui/icon";
import { ChangePassword } from "./password";

export function Mark() {
  return (
    <span class="mark">
      <svg width="24" height="24" viewBox="0 0 32 32" aria-hidden="true">
        <rect width="32" height="32" rx="8" />
        <path d="M7 11h18M16 11v13M9 17l7 7 7-7" />
      </svg>
      Thingway
    </span>
  );
}

function Links({ at, onGo }: { at: string; onGo?: () => void }) {
  return (
    <>
      {groups.map((group) => (
        <div class="nav-group" key={group.label}>
          <p>{t(group.label)}</p>
          <ul>
            {group.pages.filter((page) => !page.administers || !onlyLooks.value).map((page) => (
              <li key={page.name}>
                <a href={link([page.name])} aria-current={page.name === at ? "page" : undefined} onClick={onGo}>
                  <Icon name={page.icon} />
                  {t(page.label)}
                </a>
              </li>
            ))}
          </ul>
        </div>
      ))}
    </>
  );
}

export function LiveMark() {
  const now = mode.value;
  const text = now === "stream" ? t("shell.live") : now === "poll" ? t("shell.live_polling") : t("shell.live_off");
  return (
    <span class={`live-mark ${now}`} title={t("shell.live_hint")}>
      <i />
      {text}
    </span>
  );
}

export function LanguageSwitch() {
  return (
    <button type="button" class="button quiet small" lang={language.value === "zh" ? "en" : "zh-CN"} onClick={() => setLanguage(language.value === "zh" ? "en" : "zh")}>
      <Icon name="globe" size={16} />
      <span>{language.value === "zh" ? "English" : "中文"}</span>
    </button>
  );
}

export function ThemeSwitch() {
  const order: Theme[] = ["system", "light", "dark"];
  const next = order[(order.indexOf(theme.value) + 1) % order.length] ?? "system";
  const name = t(theme.value === "system" ? "shell.theme_system" : isDark.value ? "shell.theme_dark" : "shell.theme_light");
  return (
    <Button small kind="quiet" icon={theme.value === "system" ? "screen" : isDark.value ? "moon" : "sun"} onClick={() => setTheme(next)}>
      <span class="unseen">{t("shell.theme")}: </span>
      {name}
    </Button>
  );
}

function Account() {
  const [changing, setChanging] = useState(false);
  const now = session.value;
  if (!now) return null;
  return (
    <div class="account">
      <div class="account-name">
        <strong>{now.username}</strong>
        <span>{t(now.role === "administrator" ? "shell.role_administrator" : "shell.role_viewer")}</span>
      </div>
      <Button small kind="quiet" icon="key" label={t("shell.change_password")} onClick={() => setChanging(true)} />
      <Button small kind="quiet" icon="out" label={t("shell.sign_out")} onClick={leave} />
      {changing && <ChangePassword onClose={() => setChanging(false)} />}
    </div>
  );
}

function Foot() {
  return (
    <div class="nav-foot">
      <div class="switches">
        <LanguageSwitch />
        <ThemeSwitch />
      </div>
      <Account />
      <div class="version">
        <LiveMark />
        <span>{session.value?.version}</span>
      </div>
    </div>
  );
}

export function Navigation({ at }: { at: string }) {
  return (
    <aside class="sidebar">
      <a href={link(["overview"])} class="brand">
        <Mark />
      </a>
      <nav aria-label={t("shell.navigation")}>
        <Links at={at} />
      </nav>
      <Foot />
    </aside>
  );
}

/** On a phone: the name, how live the page is, and the navigation in a drawer. */
export function PhoneBar({ at }: { at: string }) {
  const [open, setOpen] = useState(false);
  return (
    <header class="phone-bar">
      <Button kind="quiet" icon="menu" label={t("shell.menu")} expanded={open} onClick={() => setOpen(true)} />
      <Mark />
      <LiveMark />
      {open && (
        <Dialog drawer title={t("shell.navigation")} onClose={() => setOpen(false)}>
          <nav class="drawer-nav" aria-label={t("shell.navigation")}>
            <Links at={at} onGo={() => setOpen(false)} />
          </nav>
          <Foot />
        </Dialog>
      )}
    </header>
  );
}
