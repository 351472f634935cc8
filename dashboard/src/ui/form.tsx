import type { ComponentChildren } from "preact";
import { useId, useState } from "preact/hooks";

import type { ApiError } from "../api/client";
import { heldBack, onlyLooks } from "../api/session";
import { asApiError } from "../api/use";
import { t } from "../i18n";
import { sayShortly } from "../i18n/said";
import { Button } from "./button";
import { Note } from "./states";

interface FieldProps {
  label: string;
  hint?: ComponentChildren;
  error?: string;
}

interface Ids {
  id: string;
  "aria-describedby": string | undefined;
  "aria-invalid": boolean | undefined;
}

/** A label, what is filled in, a hint, and what is wrong with it. */
export function Field({ label, hint, error, children }: FieldProps & { children: (ids: Ids) => ComponentChildren }) {
  const id = useId();
  const described = error || hint ? `${id}-about` : undefined;
  return (
    <div class={error ? "field wrong" : "field"}>
      <label for={id}>{label}</label>
      {children({ id, "aria-describedby": described, "aria-invalid": error ? true : undefined })}
      {(error || hint) && (
        <p class="about" id={described}>
          {error ?? hint}
        </p>
      )}
    </div>
  );
}

interface TextProps extends FieldProps {
  value: string;
  onInput: (value: string) => void;
  type?: "text" | "password" | "number" | "search";
  placeholder?: string;
  required?: boolean;
  autocomplete?: string;
  autofocus?: boolean;
  disabled?: boolean;
  mono?: boolean;
  list?: string;
  min?: number;
  max?: number;
  /** "/" goes here. */
  search?: boolean;
}

export function TextField({ label, hint, error, onInput, search, mono, autofocus, type = "text", ...rest }: TextProps) {
  return (
    <Field label={label} hint={hint} error={error}>
      {(ids) => (
        <input
          {...ids}
          {...rest}
          type={type as "text"}
          class={mono ? "mono" : undefined}
          autoFocus={autofocus}
          autocapitalize="off"
          autocorrect="off"
          spellcheck={false}
          autocomplete={rest.autocomplete ?? "off"}
          data-search={search ? "" : undefined}
          onInput={(event) => onInput(event.currentTarget.value)}
        />
      )}
    </Field>
  );
}

export function AreaField({ label, hint, error, value, onInput, rows = 4, disabled }: FieldProps & { value: string; onInput: (value: string) => void; rows?: number; disabled?: boolean }) {
  return (
    <Field label={label} hint={hint} error={error}>
      {(ids) => <textarea {...ids} class="mono" rows={rows} disabled={disabled} spellcheck={false} value={value} onInput={(event) => onInput(event.currentTarget.value)} />}
    </Field>
  );
}

export function SelectField<T extends string>({ label, hint, error, value, options, onChange, disabled }: FieldProps & { value: T; options: readonly (readonly [T, string])[]; onChange: (value: T) => void; disabled?: boolean }) {
  return (
    <Field label={label} hint={hint} error={error}>
      {(ids) => (
        <select {...ids} value={value} disabled={disabled} onChange={(event) => onChange(event.currentTarget.value as T)}>
          {options.map(([key, text]) => (
            <option key={key} value={key}>
              {text}
            </option>
          ))}
        </select>
      )}
    </Field>
  );
}

export function CheckField({ label, hint, checked, onChange, disabled }: { label: string; hint?: string; checked: boolean; onChange: (checked: boolean) => void; disabled?: boolean }) {
  return (
    <label class="check">
      <input type="checkbox" checked={checked} disabled={disabled} onChange={(event) => onChange(event.currentTarget.checked)} />
      <span>
        {label}
        {hint && <small>{hint}</small>}
      </span>
    </label>
  );
}

/** A box to search with, named for those who do not see the magnifying glass. */
export function SearchBox({ label, value, onInput }: { label: string; value: string; onInput: (value: string) => void }) {
  return (
    <div class="search">
      <svg class="icon" width="16" height="16" viewBox="0 0 24 24" aria-hidden="true">
        <path d="M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14M16 16l5 5" />
      </svg>
      <input type="search" aria-label={label} placeholder={label} value={value} spellcheck={false} autocomplete="off" data-search="" onInput={(event) => onInput(event.currentTarget.value)} />
      <kbd aria-hidden="true">/</kbd>
    </div>
  );
}

interface FormProps {
  children: ComponentChildren | ((error: ApiError | undefined) => ComponentChildren);
  action: string;
  onSubmit: () => Promise<unknown>;
  onCancel?: () => void;
  /** It changes something of the gateway. */
  changes?: boolean;
  disabled?: boolean;
  danger?: boolean;
}

/** A form that says what the gateway found wrong, and waits while it is asked. */
export function Form({ children, action, onSubmit, onCancel, changes = true, disabled, danger }: FormProps) {
  const [error, setError] = useState<ApiError>();
  const [busy, setBusy] = useState(false);
  const submit = async (event: Event) => {
    event.preventDefault();
    if (busy || disabled || (changes && heldBack.value)) return;
    setBusy(true);
    setError(undefined);
    try {
      await onSubmit();
    } catch (cause) {
      setError(asApiError(cause));
    } finally {
      setBusy(false);
    }
  };
  if (changes && onlyLooks.value) return null;
  return (
    <form class="form" onSubmit={submit}>
      {error && (
        <div role="alert">
          <Note kind="bad">{sayShortly(error)}</Note>
        </div>
      )}
      {typeof children === "function" ? children(error) : children}
      <div class="actions">
        {onCancel && <Button onClick={onCancel}>{t("shell.cancel")}</Button>}
        <Button type="submit" kind={danger ? "danger" : "primary"} changes={changes} disabled={disabled || busy}>
          {action}
        </Button>
      </div>
    </form>
  );
}
