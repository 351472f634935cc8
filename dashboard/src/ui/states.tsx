import type { ComponentChildren } from "preact";

import type { ApiError } from "../api/client";
import type { Loaded } from "../api/use";
import { t } from "../i18n";
import { say, sayShortly } from "../i18n/said";
import { Button } from "./button";
import { Icon, type IconName } from "./icon";

/** Nothing is there, and what to do about it. */
export function Empty({ icon = "inbox", title, children }: { icon?: IconName; title: string; children?: ComponentChildren }) {
  return (
    <div class="state">
      <Icon name={icon} size={28} />
      <p class="state-title">{title}</p>
      {children && <div class="state-text">{children}</div>}
    </div>
  );
}

export function Loading({ rows = 5 }: { rows?: number }) {
  return (
    <div class="skeleton" role="status" aria-label={t("shell.loading")}>
      {Array.from({ length: rows }, (_, at) => (
        <div key={at} />
      ))}
    </div>
  );
}

export function Failed({ error, retry }: { error: ApiError; retry?: () => void }) {
  if (error.isMissing) return <Unavailable error={error} />;
  const { lead, detail } = say(error);
  return (
    <div class="state bad" role="alert">
      <Icon name="warning" size={28} />
      <p class="state-title">{lead}</p>
      <p class="state-text">
        <code>{detail}</code>
      </p>
      {retry && (
        <Button icon="refresh" onClick={retry}>
          {t("shell.retry")}
        </Button>
      )}
    </div>
  );
}

/** The gateway does not have this part of the API. */
export function Unavailable({ error }: { error: ApiError }) {
  return (
    <div class="state">
      <Icon name="plug" size={28} />
      <p class="state-title">{t("shell.unavailable")}</p>
      <p class="state-text">
        {t("shell.unavailable_text")} <code>{`${error.status} ${error.code}`}</code>
      </p>
    </div>
  );
}

/** What was asked for, or why it is not there. */
export function Show<T>({ of, children, rows }: { of: Loaded<T>; children: (data: T) => ComponentChildren; rows?: number }) {
  if (of.data !== undefined) {
    return (
      <>
        {of.error && <Note kind="bad">{of.error.isUnreachable ? t("shell.stale") : sayShortly(of.error)}</Note>}
        {children(of.data)}
      </>
    );
  }
  if (of.error) return <Failed error={of.error} retry={of.reload} />;
  return <Loading rows={rows} />;
}

export function Note({ kind, children }: { kind: "info" | "bad" | "warn" | "good"; children: ComponentChildren }) {
  return (
    <div class={`note ${kind}`}>
      <Icon name={kind === "info" ? "info" : kind === "good" ? "check" : "warning"} />
      <div>{children}</div>
    </div>
  );
}

export function Tag({ kind = "plain", children }: { kind?: "plain" | "good" | "bad" | "warn" | "accent"; children: ComponentChildren }) {
  return <span class={`tag ${kind}`}>{children}</span>;
}

export function Head({ title, about, children }: { title: string; about?: ComponentChildren; children?: ComponentChildren }) {
  return (
    <header class="page-head">
      <div>
        <h1>{title}</h1>
        {about && <p>{about}</p>}
      </div>
      {children && <div class="actions">{children}</div>}
    </header>
  );
}

export function Card({ title, actions, children, flush }: { title?: string; actions?: ComponentChildren; children: ComponentChildren; flush?: boolean }) {
  return (
    <section class={flush ? "card flush" : "card"}>
      {(title || actions) && (
        <header>
          {title && <h2>{title}</h2>}
          {actions && <div class="actions">{actions}</div>}
        </header>
      )}
      {children}
    </section>
  );
}

/** Names and what they are. */
export function Facts({ of }: { of: readonly (readonly [string, ComponentChildren])[] }) {
  return (
    <dl class="facts">
      {of.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
