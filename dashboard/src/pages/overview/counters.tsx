import { useState } from "preact/hooks";

import { get } from "../../api/client";
import { useLoad } from "../../api/use";
import { count } from "../../format";
import { t } from "../../i18n";
import { CheckField, TextField } from "../../ui/form";
import { Card, Show } from "../../ui/states";

const EVERY_MS = 2000;

/** Everything that the gateway counts, for who looks for one number. It is read while it is open. */
export function Counters() {
  const [isOpen, setOpen] = useState(false);
  return (
    <Card>
      <details onToggle={(event) => setOpen(event.currentTarget.open)}>
        <summary>{t("overview.counters")}</summary>
        {isOpen && <All />}
      </details>
    </Card>
  );
}

function All() {
  const [part, setPart] = useState("");
  const [zeros, setZeros] = useState(false);
  const counters = useLoad("counters", (signal) => get<Record<string, number>>("/metrics", { aggregate: true }, signal), EVERY_MS);
  return (
    <div class="stack counters">
      <div class="form-row">
        <TextField label={t("overview.counters_part")} mono value={part} onInput={setPart} />
        <CheckField label={t("overview.counters_zeros")} checked={zeros} onChange={setZeros} />
      </div>
      <Show of={counters} rows={6}>
        {(told) => {
          const shown = Object.entries(told).filter(([name, value]) => typeof value === "number" && (zeros || value !== 0) && name.includes(part.trim()));
          if (shown.length === 0) return <p class="soft">{t("overview.counters_none")}</p>;
          return (
            <dl>
              {shown.sort(([one], [other]) => one.localeCompare(other)).map(([name, value]) => (
                <div key={name}>
                  <dt class="mono break">{name}</dt>
                  <dd>{count(value)}</dd>
                </div>
              ))}
            </dl>
          );
        }}
      </Show>
    </div>
  );
}
