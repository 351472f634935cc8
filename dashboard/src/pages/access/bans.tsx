import { useMemo, useState } from "preact/hooks";

import { part, post, remove } from "../../api/client";
import { useListing } from "../../api/listing";
import { when } from "../../format";
import { t } from "../../i18n";
import { Button } from "../../ui/button";
import { Dialog } from "../../ui/dialog";
import { Form, SelectField, TextField } from "../../ui/form";
import { Empty, Show } from "../../ui/states";
import { type Column, ListingPager, Table } from "../../ui/table";

const EVERY_MS = 5000;
const KINDS = ["clientid", "username", "peerhost", "clientid_re", "username_re", "peerhost_net"] as const;
const SPANS = { hour: 3600, day: 86_400, week: 604_800, always: 0 } as const;
type Span = keyof typeof SPANS;

interface Ban {
  as: (typeof KINDS)[number];
  who: string;
  reason: string;
  until: string;
}

function Add({ onClose, onDone }: { onClose: () => void; onDone: () => void }) {
  const [kind, setKind] = useState<Ban["as"]>("clientid");
  const [who, setWho] = useState("");
  const [reason, setReason] = useState("");
  const [lasts, setLasts] = useState<Span>("day");
  const submit = async () => {
    const until = lasts === "always" ? "infinity" : Math.floor(Date.now() / 1000) + SPANS[lasts];
    await post("/banned", { as: kind, who, reason, until });
    onDone();
  };
  return (
    <Dialog title={t("access.ban_add")} onClose={onClose}>
      <Form action={t("access.ban")} onCancel={onClose} onSubmit={submit} danger>
        <SelectField label={t("access.ban_kind")} value={kind} options={KINDS.map((key) => [key, t(`access.ban_${key}`)] as const)} onChange={setKind} />
        <TextField label={t("access.ban_who")} value={who} onInput={setWho} required autofocus mono />
        <TextField label={t("access.ban_reason")} value={reason} onInput={setReason} />
        <SelectField label={t("access.ban_for")} value={lasts} options={(Object.keys(SPANS) as Span[]).map((key) => [key, t(`access.ban_${key}`)] as const)} onChange={setLasts} />
      </Form>
    </Dialog>
  );
}

export function Bans() {
  const listing = useListing<Ban>("/banned", {}, EVERY_MS);
  const [adds, setAdds] = useState(false);
  const columns = useMemo(
    (): Column<Ban>[] => [
      { key: "kind", head: t("access.ban_kind"), sort: (row) => row.as, cell: (row) => t(`access.ban_${row.as}`) },
      { key: "who", head: t("access.ban_who"), sort: (row) => row.who, cell: (row) => <span class="mono break">{row.who}</span> },
      { key: "reason", head: t("access.ban_reason"), cell: (row) => <span class="break">{row.reason}</span> },
      { key: "until", head: t("access.ban_until"), sort: (row) => row.until, cell: (row) => <span class="nowrap">{row.until === "infinity" ? t("access.ban_always") : when(row.until)}</span> },
      {
        key: "actions",
        head: t("shell.actions"),
        actions: true,
        cell: (row) => (
          <Button
            small
            changes
            label={`${t("access.ban_lift")}: ${row.who}`}
            onClick={async () => {
              await remove(`/banned/${row.as}/${part(row.who)}`);
              listing.reload();
            }}
          >
            {t("access.ban_lift")}
          </Button>
        ),
      },
    ],
    [],
  );
  return (
    <>
      <div class="toolbar">
        <Button icon="plus" kind="primary" changes onClick={() => setAdds(true)}>
          {t("access.ban_add")}
        </Button>
      </div>
      <Show of={listing} rows={4}>
        {(told) => <Table label={t("access.bans")} columns={columns} rows={told.data} keyOf={(row) => `${row.as} ${row.who}`} empty={<Empty icon="check" title={t("access.ban_none")} />} />}
      </Show>
      <ListingPager of={listing} />
      {adds && (
        <Add
          onClose={() => setAdds(false)}
          onDone={() => {
            setAdds(false);
            listing.reload();
          }}
        />
      )}
    </>
  );
}
