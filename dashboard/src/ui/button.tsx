import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";

import { heldBack, onlyLooks } from "../api/session";
import { asApiError } from "../api/use";
import { Icon, type IconName } from "./icon";
import { toast, toastError } from "./toast";

interface ButtonProps {
  children?: ComponentChildren;
  icon?: IconName;
  /** What a screen reader says when there is only an icon. */
  label?: string;
  kind?: "primary" | "plain" | "quiet" | "danger";
  small?: boolean;
  type?: "button" | "submit";
  disabled?: boolean;
  /** It changes something: not there for those who only look, and off, with the reason, until the first password is changed. */
  changes?: boolean;
  pressed?: boolean;
  expanded?: boolean;
  /** While a promise is on its way the button waits; its failure becomes a toast. */
  onClick?: (event: MouseEvent) => unknown;
}

export function Button({ children, icon, label, kind = "plain", small, type = "button", disabled, changes, pressed, expanded, onClick }: ButtonProps) {
  const [busy, setBusy] = useState(false);
  const reason = changes ? heldBack.value : null;
  if (changes && onlyLooks.value) return null;
  const click = async (event: MouseEvent) => {
    if (reason) {
      event.preventDefault();
      toast("info", reason);
      return;
    }
    if (disabled || busy) return;
    const result = onClick?.(event);
    if (!(result instanceof Promise)) return;
    setBusy(true);
    try {
      await result;
    } catch (error) {
      toastError(asApiError(error));
    } finally {
      setBusy(false);
    }
  };
  return (
    <button
      type={type}
      class={`button ${kind}${small ? " small" : ""}${children ? "" : " bare"}${busy ? " busy" : ""}`}
      disabled={disabled || busy}
      aria-disabled={reason ? "true" : undefined}
      aria-label={label}
      aria-pressed={pressed}
      aria-expanded={expanded}
      title={reason ?? label}
      onClick={click}
    >
      {icon && <Icon name={icon} size={small ? 16 : 18} />}
      {children && <span>{children}</span>}
    </button>
  );
}

/** One of a few, beside each other. */
export function Choice<T extends string>({ label, options, value, onChange }: { label: string; options: readonly (readonly [T, string])[]; value: T; onChange: (value: T) => void }) {
  return (
    <div class="choice" role="group" aria-label={label}>
      {options.map(([key, text]) => (
        <button type="button" key={key} aria-pressed={key === value} onClick={() => onChange(key)}>
          {text}
        </button>
      ))}
    </div>
  );
}
