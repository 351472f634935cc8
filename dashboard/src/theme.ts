import { computed, effect, signal } from "@preact/signals";

export type Theme = "system" | "light" | "dark";

const KEPT_AS = "thingway.theme";
const dark = window.matchMedia("(prefers-color-scheme: dark)");

function kept(): Theme {
  const text = localStorage.getItem(KEPT_AS);
  return text === "light" || text === "dark" ? text : "system";
}

const systemIsDark = signal(dark.matches);
dark.addEventListener("change", (event) => (systemIsDark.value = event.matches));

export const theme = signal<Theme>(kept());
/** What is shown. */
export const isDark = computed(() => (theme.value === "system" ? systemIsDark.value : theme.value === "dark"));

effect(() => {
  document.documentElement.dataset.theme = isDark.value ? "dark" : "light";
});

export function setTheme(wanted: Theme): void {
  if (wanted === "system") localStorage.removeItem(KEPT_AS);
  else localStorage.setItem(KEPT_AS, wanted);
  theme.value = wanted;
}
