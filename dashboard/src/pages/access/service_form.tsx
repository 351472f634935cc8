import { useState } from "preact/hooks";

import { get } from "../../api/client";
import { useLoad } from "../../api/use";
import { language, t } from "../../i18n";
import { Dialog } from "../../ui/dialog";
import { Form, SelectField, TextField } from "../../ui/form";
import { Show } from "../../ui/states";
import { change, changesOf, type Changes, errorsOf, isWrong } from "../settings/change";
import { SettingField, type Wish } from "../settings/field";
import { type Row, type Section, translated } from "../settings/value";
import { isFurther, type Kind, kindOf, kindsOf, labelOf, type List, listed, named, rowsOfService, type Settings, unused } from "./services";

const NAME = /^[A-Za-z0-9_-]{1,64}$/;

/** A setting's key within its service. */
const ownKey = (path: string): string => path.split(".").slice(3).join(".");

interface FieldsProps {
  rows: readonly Row[];
  /** By the keys within the service. */
  wishes: ReadonlyMap<string, Wish>;
  /** By whole keys, as the gateway tells them. */
  errors: ReadonlyMap<string, string>;
  onWish: (own: string, wish: Wish | undefined) => void;
}

/** The settings of a service, those that few look at behind a fold: it is open where one of them was changed or is wrong. */
function Fields({ rows, wishes, errors, onWish }: FieldsProps) {
  const field = (row: Row) => {
    const own = ownKey(row.path);
    return <SettingField key={own} label={own} row={row} wish={wishes.get(own)} error={errors.get(row.path)} onWish={(wish) => onWish(own, wish)} />;
  };
  const further = rows.filter(isFurther);
  return (
    <>
      {rows.filter((row) => !isFurther(row)).map(field)}
      {further.length > 0 && (
        <details open={further.some(({ path, setting }) => errors.has(path) || setting.source !== "default")}>
          <summary>{t("access.further")}</summary>
          {further.map(field)}
        </details>
      )}
    </>
  );
}

/** What may be written for the settings of services, in the language of the page. */
function useSections() {
  return useLoad("schema of services", async (signal): Promise<Section[]> => {
    const [{ sections }, chinese] = await Promise.all([
      get<{ sections: Section[] }>("/configs/schema", undefined, signal),
      language.value === "zh" ? import("../settings/zh") : null,
    ]);
    const ours = sections.filter((section) => section.path === "access");
    return chinese ? translated(ours, chinese) : ours;
  });
}

/** What is wished of a service, which may be called otherwise before it is sent. */
function useWishes(service: string) {
  const [wishes, setWishes] = useState<ReadonlyMap<string, Wish>>(new Map());
  const [errors, setErrors] = useState<ReadonlyMap<string, string>>(new Map());
  const onWish = (own: string, wish: Wish | undefined) => {
    const next = new Map(wishes);
    if (wish === undefined) next.delete(own);
    else next.set(own, wish);
    setWishes(next);
    setErrors(new Map([...errors].filter(([path]) => ownKey(path) !== own)));
  };
  const send = async (others: Changes = {}) => {
    const its = Object.entries(changesOf(wishes)).map(([own, value]) => [`access.${service}.${own}`, value] as const);
    try {
      await change({ ...Object.fromEntries(its), ...others });
    } catch (error) {
      setErrors(errorsOf(error));
      throw error;
    }
  };
  const clear = () => {
    setWishes(new Map());
    setErrors(new Map());
  };
  return { wishes, errors, onWish, send, clear, isWrong: [...wishes.values()].some(isWrong) };
}

interface EditProps {
  service: string;
  settings: Settings;
  onClose: () => void;
  onDone: () => void;
}

/** A service that is there. */
export function EditService({ service, settings, onClose, onDone }: EditProps) {
  const sections = useSections();
  const { wishes, errors, onWish, send, isWrong } = useWishes(service);
  const submit = async () => {
    await send();
    onDone();
  };
  return (
    <Dialog wide title={service} onClose={onClose}>
      <Show of={sections} rows={6}>
        {(known) => (
          <Form action={t("shell.save")} disabled={wishes.size === 0 || isWrong} onCancel={onClose} onSubmit={submit}>
            <Fields rows={rowsOfService(known, settings, service)} wishes={wishes} errors={errors} onWish={onWish} />
          </Form>
        )}
      </Show>
    </Dialog>
  );
}

interface AddProps {
  list: List;
  settings: Settings;
  /** Asks before the list becomes so; whether it may. */
  mayBe: (names: readonly string[]) => Promise<boolean>;
  onClose: () => void;
  onDone: () => void;
}

/** Puts one that is there into the list, or makes one. */
export function AddToOrder({ list, settings, mayBe, onClose, onDone }: AddProps) {
  const sections = useSections();
  const there = unused(settings, list);
  const [chosen, setChosen] = useState<string>(there[0] ?? "new:http");
  const [name, setName] = useState("main");
  const kind = chosen.startsWith("new:") ? (chosen.slice(4) as Kind) : undefined;
  const added = kind ? `${kind}.${name}` : chosen;
  const { wishes, errors, onWish, send, clear, isWrong } = useWishes(added);
  const isTaken = kind !== undefined && Object.keys(settings).some((path) => path.startsWith(`access.${added}.`));
  const wrongName = kind === undefined ? undefined : !NAME.test(name) ? t("access.name_hint") : isTaken ? t("access.name_taken") : undefined;
  const submit = async () => {
    const names = [...named(settings, list), added];
    if (!(await mayBe(names))) return;
    // One that has nothing but defaults is made by its name.
    const made = kind && wishes.size === 0 ? { [`access.${added}`]: {} } : {};
    await send({ ...made, ...listed(list, names) });
    onDone();
  };
  const told = (of: string) => {
    const label = labelOf(of);
    return label ? (kindOf(of) ? `${of} (${t(label)})` : t(label)) : of;
  };
  const options = [
    ...there.map((of) => [of, told(of)] as const),
    ...kindsOf(list).map((of) => [`new:${of}`, t("access.new", { kind: t(labelOf(of) ?? "access.kind") })] as const),
  ];
  return (
    <Dialog wide={kind !== undefined} title={t(`access.add_${list}`)} onClose={onClose}>
      <Form action={t("access.add")} disabled={isWrong || wrongName !== undefined} onCancel={onClose} onSubmit={submit}>
        <SelectField
          label={t("access.what")}
          value={chosen}
          options={options}
          onChange={(next) => {
            clear();
            setChosen(next);
          }}
        />
        {kind && (
          <>
            <TextField label={t("access.name")} mono value={name} hint={t("access.name_hint")} error={wrongName} onInput={setName} />
            <Show of={sections} rows={6}>{(known) => <Fields key={kind} rows={rowsOfService(known, settings, added)} wishes={wishes} errors={errors} onWish={onWish} />}</Show>
          </>
        )}
      </Form>
    </Dialog>
  );
}
