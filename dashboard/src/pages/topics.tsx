import { useEffect, useRef, useState } from "preact/hooks";

import { asApiError } from "../api/use";
import { bytes as size, count, short, when } from "../format";
import { t } from "../i18n";
import type { Client } from "../mqtt/client";
import { ConnectionFields, useConnection } from "../mqtt/connection";
import { type Level, rows, LEVELS_MAX, Tree } from "../mqtt/tree";
import { glance } from "../payload";
import { link } from "../route";
import { Button } from "../ui/button";
import { TextField } from "../ui/form";
import { Icon } from "../ui/icon";
import { Payload } from "../ui/payload";
import { Card, Empty, Facts, Head, Note, Tag } from "../ui/states";
import { toastError } from "../ui/toast";
import "../styles/topics.css";

const DRAWN_MS = 250;
const ROWS_MAX = 800;
const CHILDREN_SHOWN = 100;
/** Topics of a tree that is shown unfolded. */
const UNFOLDED_MAX = 30;

export default function Topics() {
  const tree = useRef(new Tree());
  const [turn, draw] = useState(0);
  const [filter, setFilter] = useState("#");
  const [watched, setWatched] = useState<string | null>(null);
  const [paused, setPaused] = useState(false);
  const [chosen, setChosen] = useState<string | null>(null);
  const isDirty = useRef(false);
  const isPaused = useRef(paused);
  isPaused.current = paused;
  const connection = useConnection((message) => {
    if (isPaused.current) return;
    tree.current.take(message, Date.now());
    isDirty.current = true;
  });

  useEffect(() => {
    // What comes is drawn four times a second, however much it is.
    const drawing = setInterval(() => {
      if (!isDirty.current) return;
      isDirty.current = false;
      draw((before) => before + 1);
    }, DRAWN_MS);
    const second = setInterval(() => {
      tree.current.second();
      isDirty.current = true;
    }, 1000);
    return () => {
      clearInterval(drawing);
      clearInterval(second);
    };
  }, []);

  const clear = () => {
    tree.current.clear();
    setChosen(null);
    isDirty.current = true;
  };
  const watch = async (client: Client) => {
    clear();
    try {
      await client.subscribe(filter, { qos: 0, retainAsPublished: true });
      setWatched(filter);
    } catch (error) {
      toastError(asApiError(error));
      connection.close();
    }
  };
  const isOpen = connection.state === "open" && watched !== null;
  const level = chosen === null ? undefined : tree.current.find(chosen);
  return (
    <>
      <Head title={t("nav.topics")} about={t("topics.about")}>
        {isOpen && (
          <>
            <Button icon={paused ? "play" : "pause"} pressed={paused} onClick={() => setPaused(!paused)}>
              {paused ? t("topics.resume") : t("topics.pause")}
            </Button>
            <Button icon="trash" onClick={clear}>
              {t("topics.clear")}
            </Button>
          </>
        )}
      </Head>
      <Card>
        <ConnectionFields connection={connection} action={t("topics.watch")} onOpen={watch}>
          <TextField label={t("topics.filter")} mono search disabled={connection.state !== "idle"} value={filter} onInput={setFilter} />
        </ConnectionFields>
      </Card>
      <div class="columns narrow-end below">
        <TreeCard turn={turn} tree={tree.current} isOpen={isOpen} chosen={chosen} onChoose={setChosen} />
        <Card title={t("topics.last")}>{level ? <Chosen turn={turn} level={level} /> : <p class="soft">{t("topics.choose")}</p>}</Card>
      </div>
    </>
  );
}

/** The tree changes in place: a component is drawn anew because its turn is another. */
interface Turn {
  turn: number;
}

function TreeCard({ turn, tree, isOpen, chosen, onChoose }: Turn & { tree: Tree; isOpen: boolean; chosen: string | null; onChoose: (topic: string) => void }) {
  /** What was opened or closed by hand. */
  const [turned, setTurned] = useState<ReadonlyMap<string, boolean>>(new Map());
  const [shown, setShown] = useState<ReadonlyMap<string, number>>(new Map());
  if (tree.messages === 0) {
    return isOpen ? (
      <Empty title={t("topics.waiting")}>{t("topics.waiting_text")}</Empty>
    ) : (
      <Empty icon="tree" title={t("topics.idle")}>
        {t("topics.idle_text")}
      </Empty>
    );
  }
  // A small tree is seen whole.
  const isUnfolded = (topic: string) => turned.get(topic) ?? tree.topics <= UNFOLDED_MAX;
  const toggle = (topic: string) => setTurned(new Map(turned).set(topic, !isUnfolded(topic)));
  const more = (topic: string) => setShown(new Map(shown).set(topic, (shown.get(topic) ?? CHILDREN_SHOWN) + CHILDREN_SHOWN));
  const { rows: all, left } = rows(tree, isUnfolded, (topic) => shown.get(topic) ?? CHILDREN_SHOWN, ROWS_MAX);
  return (
    <Card title={t("topics.totals", { topics: count(tree.topics), messages: count(tree.messages), rate: short(tree.root.rate) })}>
      {tree.beyond > 0 && <Note kind="warn">{t("topics.beyond", { n: count(tree.beyond), max: count(LEVELS_MAX) })}</Note>}
      <ul class="topic-tree" aria-label={t("topics.tree")}>
        {all.map(({ level, depth, isOpen: expanded, hidden }) => (
          <li key={hidden > 0 ? `more ${depth} ${level.topic}` : `${depth} ${level.topic}`} style={{ "--depth": String(depth) }}>
            {hidden > 0 ? (
              <Button small kind="quiet" onClick={() => more(level.topic)}>
                {t("topics.more", { n: count(hidden) })}
              </Button>
            ) : (
              <TreeRow turn={turn} level={level} expanded={expanded} isChosen={level.topic === chosen} onToggle={() => toggle(level.topic)} onChoose={() => onChoose(level.topic)} />
            )}
          </li>
        ))}
      </ul>
      {left > 0 && <p class="soft">{t("topics.too_many", { n: count(left) })}</p>}
    </Card>
  );
}

function TreeRow({ level, expanded, isChosen, onToggle, onChoose }: Turn & { level: Level; expanded: boolean; isChosen: boolean; onToggle: () => void; onChoose: () => void }) {
  const name = level.name === "" ? "/" : level.name;
  return (
    <>
      {level.children.size > 0 ? (
        <button type="button" class="twist" aria-expanded={expanded} aria-label={t(expanded ? "topics.collapse" : "topics.expand", { name })} onClick={onToggle}>
          <Icon name={expanded ? "down" : "right"} size={14} />
        </button>
      ) : (
        <span class="twist" />
      )}
      <button type="button" class="topic-row" aria-pressed={isChosen} onClick={level.last ? onChoose : onToggle}>
        <span class="topic-name mono">{name}</span>
        {level.last && <span class="topic-value">{glance(level.last.payload, 60)}</span>}
        <span class="topic-count soft">
          {level.rate >= 0.05 && <b>{t("topics.per_second", { n: short(level.rate) })}</b>} {count(level.all)}
        </span>
      </button>
    </>
  );
}

function Chosen({ level }: Turn & { level: Level }) {
  const last = level.last;
  if (!last) return <p class="soft">{t("topics.choose")}</p>;
  return (
    <div class="stack">
      <p class="mono break">{level.topic}</p>
      <Facts
        of={[
          [t("topics.messages"), count(level.own)],
          [t("topics.rate"), t("topics.per_second", { n: short(level.rate) })],
          [t("topics.size"), size(last.size)],
          ["QoS", String(last.qos)],
          ...(last.contentType ? [["Content-Type", last.contentType] as const] : []),
        ]}
      />
      <div class="row">
        {last.retain && <Tag kind="accent">{t("topics.retained")}</Tag>}
        <time class="soft">{when(last.at)}</time>
      </div>
      <Payload bytes={last.payload} />
      {last.size > last.payload.length && <p class="soft">{t("topics.cut", { n: size(last.size), kept: size(last.payload.length) })}</p>}
      <div class="row">
        <a class="button small" href={link(["subscriptions"], { by: "match", text: level.topic })}>
          {t("topics.who")}
        </a>
        <a class="button small" href={link(["playground"], { topic: level.topic })}>
          {t("topics.play")}
        </a>
      </div>
    </div>
  );
}
