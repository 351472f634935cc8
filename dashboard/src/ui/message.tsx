import type { ComponentChildren } from "preact";

import { bytes } from "../format";
import { t } from "../i18n";
import { ofBase64 } from "../payload";
import { Payload } from "./payload";
import { Facts, Tag } from "./states";

interface Message {
  qos: number;
  payload_size: number;
  payload: string;
}

/** A message that is kept: what every one tells, what this kind tells besides, its payload, and below what may be done with it. */
export function KeptMessage({ of, facts, children }: { of: Message; facts: readonly (readonly [string, ComponentChildren])[]; children: ComponentChildren }) {
  return (
    <div class="stack">
      <Facts of={[["QoS", <Tag>{of.qos}</Tag>], [t("retained.size"), bytes(of.payload_size)], ...facts]} />
      <section class="stack-small">
        <h3>{t("retained.payload")}</h3>
        <Payload bytes={ofBase64(of.payload)} />
      </section>
      <div class="row">{children}</div>
    </div>
  );
}
