import { ApiError, put } from "../../api/client";
import { t } from "../../i18n";
import { toast } from "../../ui/toast";
import type { Wish } from "./field";

interface Saved {
  applied: string[];
  pending: string[];
}

/** What is asked of the gateway: settings by their keys; null takes a change back. */
export type Changes = Record<string, unknown>;

export function changesOf(wishes: ReadonlyMap<string, Wish>): Changes {
  const changes: Changes = {};
  for (const [path, wish] of wishes) {
    if (wish === "reset") changes[path] = null;
    else if ("value" in wish) changes[path] = wish.value;
  }
  return changes;
}

export const isWrong = (wish: Wish): boolean => wish !== "reset" && "wrong" in wish;

/** Changes settings, all or none, and says from when on they count. */
export async function change(changes: Changes): Promise<void> {
  const { applied, pending } = await put<Saved>("/configs", changes);
  const n = applied.length;
  toast("good", pending.length > 0 ? t("settings.applied_pending", { n, pending: pending.length }) : t("settings.applied", { n }));
}

/** What the gateway found wrong with single settings. */
export function errorsOf(error: unknown): Map<string, string> {
  return new Map(error instanceof ApiError ? error.errors.map((one) => [one.path, one.message] as const) : []);
}
