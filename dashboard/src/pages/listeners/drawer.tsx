import { get, part, remove } from "../../api/client";
import type { Listener } from "../../api/types";
import { useLoad } from "../../api/use";
import { count, day, protocolName, when } from "../../format";
import { t } from "../../i18n";
import { link } from "../../route";
import { Button } from "../../ui/button";
import { confirm, Dialog } from "../../ui/dialog";
import { Facts, Show, Tag } from "../../ui/states";
import { toast } from "../../ui/toast";
import type { Setting } from "../settings/value";
import { isRunning, State, turn } from "./state";

const SOON_MS = 14 * 86_400_000;

/** When the certificate of a listener ends, and whether that is soon. */
export function Ends({ of }: { of: Listener }) {
  if (!of.certificate) return null;
  const ends = Date.parse(of.certificate.not_after);
  const kind = ends < Date.now() ? "bad" : ends < Date.now() + SOON_MS ? "warn" : "plain";
  return <Tag kind={kind}>{t(kind === "bad" ? "listeners.ended" : "listeners.ends", { when: day(ends) })}</Tag>;
}

interface DrawerProps {
  of: Listener;
  onClose: () => void;
  onEdit: () => void;
  onChanged: () => void;
}

/** A listener beside the list: how it is, its certificate, and what was set about it. */
export function ListenerDrawer({ of, onClose, onEdit, onChanged }: DrawerProps) {
  const prefix = `listeners.${of.type}.${of.name}.`;
  const settings = useLoad(`settings ${prefix}`, async (signal) => {
    const all = await get<Record<string, Setting>>("/configs", undefined, signal);
    return Object.entries(all).filter(([path]) => path.startsWith(prefix));
  });
  const set = settings.data?.filter(([, setting]) => setting.source !== "default") ?? [];
  // One that was made here has no other source of its address.
  const isOurs = set.some(([path, { source }]) => path === `${prefix}bind` && source === "run time");
  const act = async (verb: "start" | "stop" | "restart") => {
    if (await turn(of, verb)) onChanged();
  };
  const discard = async () => {
    const yes = await confirm({ title: t("listeners.delete_title", { id: of.id }), text: t("listeners.delete_text", { n: count(of.status.current_connections) }), action: t("shell.delete") });
    if (!yes) return;
    await remove(`/listeners/${part(of.id)}`);
    toast("good", t("shell.deleted"));
    onClose();
    onChanged();
  };
  return (
    <Dialog drawer title={of.id} onClose={onClose}>
      <div class="stack">
        <div class="row">
          <State of={of} />
          <span class="grow" />
          {isRunning(of) ? (
            <>
              <Button small changes onClick={() => act("restart")}>
                {t("listeners.restart")}
              </Button>
              <Button small changes onClick={() => act("stop")}>
                {t("listeners.stop")}
              </Button>
            </>
          ) : (
            <Button small changes onClick={() => act("start")}>
              {t("listeners.start")}
            </Button>
          )}
          <Button small changes onClick={onEdit}>
            {t("shell.edit")}
          </Button>
        </div>
        <Facts
          of={[
            [t("listeners.protocol"), protocolName(of.protocol)],
            [t("listeners.bind"), <span class="mono break">{of.bind}</span>],
            ...(of.path ? [[t("listeners.path"), <span class="mono break">{of.path}</span>] as const] : []),
            [t("listeners.with_gateway"), of.enable ? t("shell.yes") : t("shell.no")],
            [t("listeners.connections"), `${count(of.status.current_connections)} / ${typeof of.status.max_connections === "number" ? count(of.status.max_connections) : "∞"}`],
            [t("listeners.accepted"), count(of.accepted)],
            [t("listeners.refused"), count(of.refused)],
          ]}
        />
        {of.certificate && (
          <section class="stack-small">
            <h3>{t("listeners.certificate")}</h3>
            <Facts
              of={[
                [t("listeners.subject"), <span class="break">{of.certificate.subject}</span>],
                [t("listeners.issuer"), <span class="break">{of.certificate.issuer}</span>],
                [t("listeners.not_after"), when(of.certificate.not_after)],
                [t("listeners.names"), <span class="break">{(of.certificate.names ?? []).join(", ")}</span>],
              ]}
            />
          </section>
        )}
        <section class="stack-small">
          <h3>{t("listeners.set")}</h3>
          <Show of={settings} rows={2}>
            {() =>
              set.length === 0 ? (
                <p class="soft">{t("listeners.set_none")}</p>
              ) : (
                <ul class="lines">
                  {set.map(([path, { value, source }]) => (
                    <li key={path} class="wrap">
                      <span class="mono break grow">
                        {path.slice(prefix.length)} = {JSON.stringify(value)}
                      </span>
                      <Tag kind={source === "run time" ? "accent" : "plain"}>{source === "run time" ? t("settings.run_time") : source}</Tag>
                    </li>
                  ))}
                </ul>
              )
            }
          </Show>
        </section>
        <div class="row">
          <a class="button small" href={link(["settings"], { section: prefix.slice(0, -1) })}>
            {t("listeners.all_settings")}
          </a>
          {isOurs && (
            <Button small kind="danger" icon="trash" changes onClick={discard}>
              {t("shell.delete")}
            </Button>
          )}
        </div>
      </div>
    </Dialog>
  );
}
