import { t } from "../i18n";
import { Button } from "./button";
import { toast } from "./toast";

/** A command or an address, to be copied. */
export function Copyable({ label, text }: { label: string; text: string }) {
  const copy = async () => {
    // Without a secure origin there is no clipboard; the text can still be marked.
    if (!navigator.clipboard) return toast("info", t("shell.copy_by_hand"));
    await navigator.clipboard.writeText(text);
    toast("good", t("shell.copied"));
  };
  return (
    <div class="copyable">
      <span class="copyable-label">{label}</span>
      <code tabIndex={0}>{text}</code>
      <Button small kind="quiet" icon="copy" label={`${t("shell.copy")}: ${label}`} onClick={copy} />
    </div>
  );
}
