import { useState } from "preact/hooks";

import { part, post, put } from "../../api/client";
import type { Listener } from "../../api/types";
import { protocolName } from "../../format";
import { t } from "../../i18n";
import { Dialog } from "../../ui/dialog";
import { CheckField, Form, SelectField, TextField } from "../../ui/form";
import { toast } from "../../ui/toast";

const TYPES = ["tcp", "tls", "ws", "wss", "quic", "udp", "unix"] as const;
type Type = (typeof TYPES)[number];

function protocolsOf(type: string): readonly string[] {
  return type === "udp" ? ["mqtt-sn", "coap"] : ["mqtt"];
}

/** How many there may be, as the setting has it. */
export function limit(text: string): number | string {
  return /^\d+$/.test(text.trim()) ? Number(text) : text.trim() || "infinity";
}

/** A listener that is made, or changed. Everything else about it is on the page of settings. */
export function Edit({ of, onClose, onDone }: { of: Listener | null; onClose: () => void; onDone: (made: Listener) => void }) {
  const [type, setType] = useState<Type>((of?.type as Type | undefined) ?? "tcp");
  const [name, setName] = useState(of?.name ?? "");
  const [protocol, setProtocol] = useState(of?.protocol ?? "mqtt");
  const [bind, setBind] = useState(of?.bind ?? "");
  const [most, setMost] = useState(String(of?.status.max_connections ?? "infinity"));
  const [path, setPath] = useState(of?.path ?? "/mqtt");
  const [enable, setEnable] = useState(of?.enable ?? true);
  const choose = (next: Type) => {
    setType(next);
    setProtocol(protocolsOf(next)[0] ?? "mqtt");
  };
  const isWeb = type === "ws" || type === "wss";
  const submit = async () => {
    const settings = {
      max_connections: limit(most),
      enable,
      // A change of the address is not asked for when there is none.
      ...(bind === of?.bind ? {} : { bind }),
      ...(isWeb && path !== of?.path ? { websocket: { path } } : {}),
    };
    const made = of ? await put<Listener>(`/listeners/${part(of.id)}`, settings) : await post<Listener>("/listeners", { type, name, protocol, ...settings });
    toast("good", t("shell.saved"));
    onDone(made);
  };
  return (
    <Dialog title={of ? of.id : t("listeners.add")} onClose={onClose}>
      <Form action={t(of ? "shell.save" : "shell.create")} onCancel={onClose} onSubmit={submit}>
        {!of && (
          <>
            <div class="form-row">
              <SelectField label={t("listeners.type")} value={type} options={TYPES.map((key) => [key, t(`listeners.type_${key}`)] as const)} onChange={choose} />
              <SelectField label={t("listeners.protocol")} value={protocol} options={protocolsOf(type).map((key) => [key, protocolName(key)] as const)} onChange={setProtocol} />
            </div>
            <TextField label={t("listeners.name")} hint={t("listeners.name_hint")} value={name} onInput={setName} required autofocus mono />
          </>
        )}
        <TextField label={t("listeners.bind")} hint={t(type === "unix" ? "listeners.bind_hint_unix" : "listeners.bind_hint")} value={bind} onInput={setBind} required mono />
        {isWeb && <TextField label={t("listeners.path")} value={path} onInput={setPath} required mono />}
        <TextField label={t("listeners.most")} hint={t("listeners.most_hint")} value={most} onInput={setMost} />
        <CheckField label={t("listeners.with_gateway")} hint={t("listeners.with_gateway_hint")} checked={enable} onChange={setEnable} />
        {of && <p class="soft">{t("listeners.edit_text")}</p>}
      </Form>
    </Dialog>
  );
}
