import { useState } from "preact/hooks";

import { bytes as size } from "../format";
import { t } from "../i18n";
import { asHex, asJson, asText, bestReading, type Reading, SHOWN_BYTES_MAX } from "../payload";
import { Choice } from "./button";

/** A payload as text, JSON or bytes: at first as it is best read. */
export function Payload({ bytes }: { bytes: Uint8Array }) {
  const shown = bytes.subarray(0, SHOWN_BYTES_MAX);
  const [chosen, setChosen] = useState<Reading | null>(null);
  const reading = chosen ?? bestReading(shown);
  if (bytes.length === 0) return <p class="soft">{t("retained.empty_payload")}</p>;
  const text = reading === "hex" ? asHex(shown) : reading === "json" ? (asJson(shown) ?? t("retained.not_json")) : (asText(shown) ?? new TextDecoder().decode(shown));
  return (
    <div class="stack-small">
      <Choice
        label={t("retained.as")}
        value={reading}
        onChange={setChosen}
        options={[
          ["text", t("retained.as_text")],
          ["json", t("retained.as_json")],
          ["hex", t("retained.as_hex")],
        ]}
      />
      <pre class={reading === "hex" ? "payload hex" : "payload"} tabIndex={0} aria-label={t("retained.payload")}>
        {text}
      </pre>
      {bytes.length > shown.length && <p class="soft">{t("retained.cut", { n: size(SHOWN_BYTES_MAX) })}</p>}
    </div>
  );
}
