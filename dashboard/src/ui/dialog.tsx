import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";

import { t } from "../i18n";
import { Button } from "./button";

interface DialogProps {
  title: string;
  children: ComponentChildren;
  onClose: () => void;
  /** At the right edge, over the whole height. */
  drawer?: boolean;
  wide?: boolean;
}

/** The browser's own modal dialog: it holds the focus, and Escape closes it. */
export function Dialog({ title, children, onClose, drawer, wide }: DialogProps) {
  const element = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const dialog = element.current;
    const before = document.activeElement;
    if (dialog && !dialog.open) dialog.showModal();
    return () => {
      dialog?.close();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  return (
    <dialog
      ref={element}
      class={drawer ? "drawer" : wide ? "dialog wide" : "dialog"}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onClick={(event) => {
        if (event.target === element.current) onClose();
      }}
    >
      <div class="dialog-body">
        <header>
          <h2 id={id}>{title}</h2>
          <Button kind="quiet" icon="close" label={t("shell.close")} onClick={onClose} />
        </header>
        {children}
      </div>
    </dialog>
  );
}

interface Question {
  title: string;
  text: string;
  action: string;
  danger: boolean;
  answer: (yes: boolean) => void;
}

const question = signal<Question | null>(null);

/** Asks before something that cannot be taken back. */
export function confirm(asked: { title: string; text: string; action: string; danger?: boolean }): Promise<boolean> {
  return new Promise((resolve) => {
    question.value?.answer(false);
    question.value = {
      ...asked,
      danger: asked.danger ?? true,
      answer: (yes) => {
        question.value = null;
        resolve(yes);
      },
    };
  });
}

export function Questions() {
  const now = question.value;
  if (!now) return null;
  return (
    <Dialog title={now.title} onClose={() => now.answer(false)}>
      <p class="prose">{now.text}</p>
      <div class="actions">
        <Button onClick={() => now.answer(false)}>{t("shell.cancel")}</Button>
        <Button kind={now.danger ? "danger" : "primary"} onClick={() => now.answer(true)}>
          {now.action}
        </Button>
      </div>
    </Dialog>
  );
}
