import type { ComponentType } from "preact";
import { useEffect, useErrorBoundary, useRef, useState } from "preact/hooks";

import { session } from "./api/session";
import { language, t } from "./i18n";
import { startLive, stopLive } from "./live/live";
import { find, type Page, type PageProps } from "./pages/registry";
import { link, route } from "./route";
import { Navigation, PhoneBar } from "./shell/navigation";
import { MustChange } from "./shell/password";
import { SignIn } from "./shell/sign_in";
import { Button } from "./ui/button";
import { Questions } from "./ui/dialog";
import { Empty, Failed, Loading } from "./ui/states";
import { Toasts } from "./ui/toast";
import { asApiError } from "./api/use";

export function App() {
  const token = session.value?.token;
  useEffect(() => {
    if (!token) return;
    startLive();
    return stopLive;
  }, [token]);
  return (
    <>
      {token ? <Shell /> : <SignIn />}
      <Questions />
      <Toasts />
    </>
  );
}

function Shell() {
  const main = useRef<HTMLElement>(null);
  const now = route.value;
  const page = find(now.name);
  const isFirst = useRef(true);
  const title = page ? t(page.label) : t("shell.not_found");
  useEffect(() => {
    document.title = `${title} · Thingway`;
  }, [title]);
  useEffect(() => {
    // Who reads with the ears or the keyboard goes on at the new page.
    if (!isFirst.current) main.current?.focus({ preventScroll: true });
    isFirst.current = false;
    window.scrollTo(0, 0);
  }, [now.name]);
  return (
    <div class="shell">
      <a
        class="skip"
        href="#main"
        onClick={(event) => {
          event.preventDefault();
          main.current?.focus();
        }}
      >
        {t("shell.skip")}
      </a>
      <Navigation at={now.name} />
      <div class="content">
        <PhoneBar at={now.name} />
        <MustChange />
        <main id="main" ref={main} tabIndex={-1}>
          {page ? <Guarded key={`${page.name} ${language.value}`} page={page} rest={now.rest} query={now.query} /> : <Lost />}
        </main>
      </div>
    </div>
  );
}

function Lost() {
  return (
    <Empty title={t("shell.not_found")}>
      <a href={link(["overview"])}>{t("shell.to_overview")}</a>
    </Empty>
  );
}

/** A page that fails takes nothing else down. */
function Guarded(props: PageProps & { page: Page }) {
  const [error, reset] = useErrorBoundary();
  if (error) {
    return (
      <Empty icon="warning" title={t("shell.failed_part")}>
        <p>
          <code>{error instanceof Error ? error.message : String(error)}</code>
        </p>
        <Button icon="refresh" onClick={reset}>
          {t("shell.retry")}
        </Button>
      </Empty>
    );
  }
  return <Lazily {...props} />;
}

const loaded = new Map<string, ComponentType<PageProps>>();

function Lazily({ page, rest, query }: PageProps & { page: Page }) {
  const [failed, setFailed] = useState<unknown>();
  const [, setCount] = useState(0);
  useEffect(() => {
    if (loaded.has(page.name) || failed) return;
    let isOn = true;
    page.load().then(
      (module) => {
        loaded.set(page.name, module.default);
        if (isOn) setCount((before) => before + 1);
      },
      (error: unknown) => isOn && setFailed(error),
    );
    return () => {
      isOn = false;
    };
  }, [page, failed]);
  const Component = loaded.get(page.name);
  if (Component) return <Component rest={rest} query={query} />;
  if (failed) return <Failed error={asApiError(failed)} retry={() => setFailed(undefined)} />;
  return <Loading />;
}
