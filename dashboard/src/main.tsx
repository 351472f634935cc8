import { effect } from "@preact/signals";
import { render } from "preact";

import { App } from "./app";
import { language } from "./i18n";
import "./theme";
import "./styles/base.css";
import "./styles/shell.css";
import "./styles/parts.css";

effect(() => {
  document.documentElement.lang = language.value === "zh" ? "zh-CN" : "en";
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  const at = event.target;
  if (at instanceof HTMLElement && at.closest("input,textarea,select,[contenteditable],dialog")) return;
  const box = document.querySelector<HTMLElement>("[data-search]");
  if (!box) return;
  event.preventDefault();
  box.focus();
});

const place = document.getElementById("app");
if (place) render(<App />, place);
