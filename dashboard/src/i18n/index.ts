import { signal } from "@preact/signals";

import { catalogue, type Key } from "./catalogue";

export type { Key };
export type Language = "en" | "zh";

const KEPT_AS = "thingway.language";

function preferred(): Language {
  const kept = localStorage.getItem(KEPT_AS);
  if (kept === "en" || kept === "zh") return kept;
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

export const language = signal<Language>(preferred());

export function setLanguage(wanted: Language): void {
  localStorage.setItem(KEPT_AS, wanted);
  language.value = wanted;
}

/** For Intl and the lang attribute. */
export function locale(): string {
  return language.value === "zh" ? "zh-CN" : "en-GB";
}

/** A text of the catalogue in the language of the page, with its {names} filled in. */
export function t(key: Key, values?: Record<string, string | number>): string {
  const text: string = catalogue[key][language.value === "zh" ? 1 : 0];
  if (!values) return text;
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
}
