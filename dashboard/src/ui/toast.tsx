import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";

import type { ApiError } from "../api/client";
import { t } from "../i18n";
import { sayShortly } from "../i18n/said";
import { Icon } from "./icon";

type Kind = "good" | "bad" | "info";

interface Toast {
  id: number;
  kind: Kind;
  text: string;
}

const SHOWN_MAX = 4;
const SHOWN_MS = 5000;
const ERROR_SHOWN_MS = 9000;

const toasts = signal<Toast[]>([]);
let next = 0;

/** Says something for a moment. The oldest makes room when there are too many, and the same is said once. */
export function toast(kind: Kind, text: string): void {
  const id = next++;
  toasts.value = [...toasts.value.filter((one) => one.text !== text), { id, kind, text }].slice(-SHOWN_MAX);
  setTimeout(() => drop(id), kind === "bad" ? ERROR_SHOWN_MS : SHOWN_MS);
}

export function toastError(error: ApiError): void {
  toast("bad", sayShortly(error));
}

function drop(id: number): void {
  toasts.value = toasts.value.filter((one) => one.id !== id);
}

export function Toasts() {
  const place = useRef<HTMLDivElement>(null);
  const shown = toasts.value;
  useEffect(() => {
    // Shown as a popover, and anew with each, they are above dialogs that were opened meanwhile.
    const element = place.current;
    if (!element) return;
    if (element.matches(":popover-open")) element.hidePopover();
    if (shown.length > 0) element.showPopover();
  }, [shown]);
  return (
    <>
      <p class="unseen" role="status">
        {shown[shown.length - 1]?.text}
      </p>
      <div class="toasts" popover="manual" ref={place}>
        {shown.map((one) => (
          <div key={one.id} class={`toast ${one.kind}`}>
            <Icon name={one.kind === "good" ? "check" : one.kind === "bad" ? "warning" : "info"} />
            <span>{one.text}</span>
            <button type="button" aria-label={t("shell.close")} onClick={() => drop(one.id)}>
              <Icon name="close" size={16} />
            </button>
          </div>
        ))}
      </div>
    </>
  );
}
