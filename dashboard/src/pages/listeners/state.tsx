import { part, post } from "../../api/client";
import type { Listener } from "../../api/types";
import { count } from "../../format";
import { t } from "../../i18n";
import { confirm } from "../../ui/dialog";
import { Tag } from "../../ui/states";

export function isRunning(of: Listener): boolean {
  return of.running ?? of.status.running;
}

export function State({ of }: { of: Listener }) {
  if (isRunning(of)) return <Tag kind="good">{t("listeners.running")}</Tag>;
  if (of.failure) {
    return (
      <span>
        <Tag kind="bad">{t("listeners.failed")}</Tag> <span class="break">{of.failure}</span>
      </span>
    );
  }
  return of.enable ? <Tag kind="warn">{t("listeners.stopped")}</Tag> : <Tag>{t("listeners.off")}</Tag>;
}

/** Starts or stops it, after asking where that ends connections. Whether it was done. */
export async function turn(of: Listener, verb: "start" | "stop" | "restart"): Promise<boolean> {
  if (verb !== "start") {
    const n = count(of.status.current_connections);
    const yes = await confirm({ title: t(`listeners.${verb}_title`, { id: of.id }), text: t(`listeners.${verb}_text`, { n }), action: t(`listeners.${verb}`) });
    if (!yes) return false;
  }
  await post(`/listeners/${part(of.id)}/${verb}`);
  return true;
}
