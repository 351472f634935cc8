import { useMemo, useState } from "preact/hooks";

import { get, put, remove } from "../api/client";
import { useListing } from "../api/listing";
import { useLoad } from "../api/use";
import { count } from "../format";
import { t } from "../i18n";
import { link } from "../route";
import { Button } from "../ui/button";
import { confirm, Dialog } from "../ui/dialog";
import { CheckField, Form, SelectField, TextField } from "../ui/form";
import { Moment } from "../ui/moment";
import { Empty, Head, Note, Show } from "../ui/states";
import { type Column, ListingPager, Table } from "../ui/table";
import { toast } from "../ui/toast";
import "../styles/control.css";

const EVERY_MS = 5000;

type Measure = "whole" | "internal" | "response";

interface Settings {
  enable: boolean;
  threshold: string | number;
  expire_interval: string | number;
  top_k_num: number;
  stats_type: Measure;
}

interface Slow {
  clientid: string;
  topic: string;
  timespan: number;
  last_update_time: number;
}

function Change({ of, onClose, onDone }: { of: Settings; onClose: () => void; onDone: () => void }) {
  const [now, setNow] = useState({ ...of, threshold: String(of.threshold), expire_interval: String(of.expire_interval), top_k_num: String(of.top_k_num) });
  const set = (change: Partial<typeof now>) => setNow({ ...now, ...change });
  return (
    <Dialog title={t("slow.settings")} onClose={onClose}>
      <Form
        action={t("shell.save")}
        onCancel={onClose}
        onSubmit={async () => {
          await put("/slow_subscriptions/settings", { ...now, top_k_num: Number(now.top_k_num) });
          toast("good", t("shell.saved"));
          onDone();
        }}
      >
        <CheckField label={t("slow.enable")} checked={now.enable} onChange={(enable) => set({ enable })} />
        <SelectField
          label={t("slow.stats")}
          value={now.stats_type}
          options={(["whole", "internal", "response"] as const).map((key) => [key, t(`slow.${key}`)] as const)}
          onChange={(stats_type) => set({ stats_type })}
        />
        <div class="form-row">
          <TextField label={t("slow.threshold")} hint={t("slow.threshold_hint")} value={now.threshold} onInput={(threshold) => set({ threshold })} required />
          <TextField label={t("slow.expire")} value={now.expire_interval} onInput={(expire_interval) => set({ expire_interval })} required />
          <TextField label={t("slow.top")} type="number" min={1} value={now.top_k_num} onInput={(top_k_num) => set({ top_k_num })} required />
        </div>
      </Form>
    </Dialog>
  );
}

export default function SlowSubscriptions() {
  const listing = useListing<Slow>("/slow_subscriptions", {}, EVERY_MS);
  const settings = useLoad("slow_settings", (signal) => get<Settings>("/slow_subscriptions/settings", undefined, signal));
  const [changes, setChanges] = useState(false);
  const clear = async () => {
    const yes = await confirm({ title: t("slow.clear_title"), text: t("slow.clear_text"), action: t("slow.clear") });
    if (!yes) return;
    await remove("/slow_subscriptions");
    listing.reload();
  };
  const columns = useMemo(
    (): Column<Slow>[] => [
      { key: "client", head: t("slow.client"), cut: true, sort: (row) => row.clientid, cell: (row) => <a href={link(["clients", row.clientid])}>{row.clientid}</a> },
      { key: "topic", head: t("slow.topic"), sort: (row) => row.topic, cell: (row) => <span class="mono break">{row.topic}</span> },
      { key: "took", head: t("slow.took"), end: true, sort: (row) => row.timespan, cell: (row) => `${count(row.timespan)} ms` },
      { key: "at", head: t("slow.at"), sort: (row) => row.last_update_time, cell: (row) => <Moment at={row.last_update_time} /> },
    ],
    [],
  );
  return (
    <>
      <Head title={t("nav.slow")} about={t("slow.about")}>
        {settings.data && (
          <Button icon="sliders" changes onClick={() => setChanges(true)}>
            {t("slow.settings")}
          </Button>
        )}
        <Button icon="trash" changes onClick={clear}>
          {t("slow.clear")}
        </Button>
        <Button icon="refresh" onClick={listing.reload}>
          {t("shell.refresh")}
        </Button>
      </Head>
      {settings.data?.enable === false && <Note kind="info">{t("slow.off")}</Note>}
      {settings.data?.enable && (
        <p class="soft lead">
          {t("slow.measured", { what: t(`slow.${settings.data.stats_type}`), threshold: settings.data.threshold, expire: settings.data.expire_interval, n: settings.data.top_k_num })}
        </p>
      )}
      <Show of={listing} rows={4}>
        {(told) => <Table label={t("nav.slow")} columns={columns} rows={told.data} keyOf={(row) => `${row.clientid} ${row.topic}`} empty={<Empty icon="turtle" title={t("slow.none")} />} />}
      </Show>
      <ListingPager of={listing} />
      {changes && settings.data && (
        <Change
          of={settings.data}
          onClose={() => setChanges(false)}
          onDone={() => {
            setChanges(false);
            settings.reload();
            listing.reload();
          }}
        />
      )}
    </>
  );
}
