import { computed, signal } from "@preact/signals";

import { t } from "../i18n";

const KEPT_AS = "thingway.session";

/** Who is signed in. It is kept for as long as the tab is open, and no other page can read it. */
export interface Session {
  token: string;
  username: string;
  role: string;
  version: string;
  mustChangePassword: boolean;
}

export type Ended = "expired" | "signed-out" | null;

function kept(): Session | null {
  try {
    const text = sessionStorage.getItem(KEPT_AS);
    return text ? (JSON.parse(text) as Session) : null;
  } catch {
    return null;
  }
}

export const session = signal<Session | null>(kept());
/** Why nobody is signed in any more. */
export const ended = signal<Ended>(null);

export function keep(next: Session): void {
  sessionStorage.setItem(KEPT_AS, JSON.stringify(next));
  ended.value = null;
  session.value = next;
}

export function signOut(why: Ended): void {
  sessionStorage.removeItem(KEPT_AS);
  ended.value = why;
  session.value = null;
}

/** Why whoever is signed in may change nothing; null when it may. */
export const heldBack = computed<string | null>(() => {
  const now = session.value;
  if (now?.mustChangePassword) return t("shell.blocked_password");
  if (now && now.role !== "administrator") return t("shell.blocked_viewer");
  return null;
});

/** Whoever is signed in may never change anything: what would is not shown. */
export const onlyLooks = computed(() => session.value !== null && session.value.role !== "administrator" && !session.value.mustChangePassword);

let held = 0;

/** While the password changes, an old token that is refused does not sign out. */
export async function holdSession(work: () => Promise<void>): Promise<void> {
  held += 1;
  try {
    await work();
  } finally {
    held -= 1;
  }
}

export const isHeld = () => held > 0;
