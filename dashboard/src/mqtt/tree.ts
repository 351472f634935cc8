import type { Publication } from "./codec";

/** Levels of topics that are kept. */
export const LEVELS_MAX = 5000;
/** Bytes of a payload that are kept, and of all payloads together. */
export const PAYLOAD_BYTES_MAX = 16 * 1024;
export const TOTAL_BYTES_MAX = 8 * 1024 * 1024;
/** How fast a rate follows: the share that a second has in it. */
const SHARE = 0.3;

export interface Last {
  payload: Uint8Array;
  /** Of the whole payload. */
  size: number;
  qos: number;
  retain: boolean;
  contentType?: string;
  at: number;
}

/** A level of a topic. */
export interface Level {
  name: string;
  topic: string;
  children: Map<string, Level>;
  /** Messages to this topic itself, and to it and all below it. */
  own: number;
  all: number;
  rate: number;
  /** Since the last second. */
  recent: number;
  last: Last | null;
}

function level(name: string, topic: string): Level {
  return { name, topic, children: new Map(), own: 0, all: 0, rate: 0, recent: 0, last: null };
}

/** What was published, by levels of topics. It has limits, beyond which messages are counted and not kept. */
export class Tree {
  root = level("", "");
  levels = 0;
  /** Those levels that something was published to. */
  topics = 0;
  messages = 0;
  /** Messages to topics for which there is no room. */
  beyond = 0;
  bytes = 0;

  take(message: Publication, at: number): void {
    this.messages += 1;
    const path = [this.root];
    const names = message.topic.split("/");
    let here = this.root;
    for (const [depth, name] of names.entries()) {
      let below = here.children.get(name);
      if (!below) {
        if (this.levels >= LEVELS_MAX) {
          this.beyond += 1;
          return;
        }
        below = level(name, names.slice(0, depth + 1).join("/"));
        here.children.set(name, below);
        this.levels += 1;
      }
      here = below;
      path.push(here);
    }
    for (const one of path) {
      one.all += 1;
      one.recent += 1;
    }
    if (here.own === 0) this.topics += 1;
    here.own += 1;
    const room = TOTAL_BYTES_MAX - this.bytes + (here.last?.payload.length ?? 0);
    const payload = message.payload.slice(0, Math.min(PAYLOAD_BYTES_MAX, room));
    this.bytes += payload.length - (here.last?.payload.length ?? 0);
    here.last = { payload, size: message.payload.length, qos: message.qos, retain: message.retain, contentType: message.properties.contentType, at };
  }

  /** To be called once a second. */
  second(): void {
    const todo = [this.root];
    for (let one = todo.pop(); one; one = todo.pop()) {
      one.rate = one.rate * (1 - SHARE) + one.recent * SHARE;
      if (one.rate < 0.01) one.rate = 0;
      one.recent = 0;
      todo.push(...one.children.values());
    }
  }

  clear(): void {
    this.root = level("", "");
    this.levels = this.topics = this.messages = this.beyond = this.bytes = 0;
  }

  find(topic: string): Level | undefined {
    let here: Level | undefined = this.root;
    for (const name of topic.split("/")) here = here?.children.get(name);
    return here;
  }
}

export interface Row {
  level: Level;
  depth: number;
  isOpen: boolean;
  /** Children beyond those that are shown. */
  hidden: number;
}

/** The rows that are in sight: what is below levels that are open, by name, a part of many. */
export function rows(tree: Tree, isOpen: (topic: string) => boolean, shownOf: (topic: string) => number, rowsMax: number): { rows: Row[]; left: number } {
  const shown: Row[] = [];
  let left = 0;
  const walk = (of: Level, depth: number): void => {
    const all = [...of.children.values()].sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
    const part = all.slice(0, shownOf(of.topic));
    for (const [at, below] of part.entries()) {
      if (shown.length >= rowsMax) {
        left += part.length - at;
        return;
      }
      const open = below.children.size > 0 && isOpen(below.topic);
      shown.push({ level: below, depth, isOpen: open, hidden: 0 });
      if (open) walk(below, depth + 1);
    }
    const hidden = all.length - part.length;
    if (hidden > 0 && shown.length < rowsMax) shown.push({ level: of, depth, isOpen: false, hidden });
  };
  walk(tree.root, 0);
  return { rows: shown, left };
}
