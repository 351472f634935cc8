import type { ComponentType } from "preact";

import type { Key } from "../i18n";
import type { IconName } from "../ui/icon";

/** What a page is given: the parts of the address behind its name, and what stands behind the question mark. */
export interface PageProps {
  rest: string[];
  query: URLSearchParams;
}

export interface Page {
  /** Its part of the address: `#/clients`. */
  name: string;
  label: Key;
  icon: IconName;
  /** There is nothing in it that a viewer may look at. */
  administers?: boolean;
  load: () => Promise<{ default: ComponentType<PageProps> }>;
}

export interface Group {
  label: Key;
  pages: Page[];
}

const watch: Group = {
  label: "nav.watch",
  pages: [
    { name: "overview", label: "nav.overview", icon: "gauge", load: () => import("./overview") },
    { name: "clients", label: "nav.clients", icon: "devices", load: () => import("./clients") },
    { name: "subscriptions", label: "nav.subscriptions", icon: "filter", load: () => import("./subscriptions") },
    { name: "topics", label: "nav.topics", icon: "tree", load: () => import("./topics") },
  ],
};

const messages: Group = {
  label: "nav.messages",
  pages: [
    { name: "retained", label: "nav.retained", icon: "pin", load: () => import("./retained") },
    { name: "delayed", label: "nav.delayed", icon: "clock", load: () => import("./delayed") },
    { name: "playground", label: "nav.playground", icon: "play", load: () => import("./playground") },
  ],
};

const control: Group = {
  label: "nav.control",
  pages: [
    { name: "access", label: "nav.access", icon: "shield", load: () => import("./access") },
    { name: "listeners", label: "nav.listeners", icon: "plug", load: () => import("./listeners") },
  ],
};

const observe: Group = {
  label: "nav.observe",
  pages: [
    { name: "alarms", label: "nav.alarms", icon: "bell", load: () => import("./alarms") },
    { name: "trace", label: "nav.trace", icon: "eye", load: () => import("./trace") },
    { name: "topic-metrics", label: "nav.topic_metrics", icon: "chart", load: () => import("./topic_metrics") },
    { name: "slow", label: "nav.slow", icon: "turtle", load: () => import("./slow") },
  ],
};

const system: Group = {
  label: "nav.system",
  pages: [
    { name: "settings", label: "nav.settings", icon: "sliders", load: () => import("./settings") },
    { name: "accounts", label: "nav.accounts", icon: "key", load: () => import("./accounts") },
    { name: "audit", label: "nav.audit", icon: "list", load: () => import("./audit") },
    { name: "data", label: "nav.data", icon: "box", administers: true, load: () => import("./data") },
  ],
};

/** The pages, in the order of the navigation. Each is loaded when it is first looked at. */
export const groups: Group[] = [
  watch,
  messages,
  control,
  observe,
  system,
];

export function find(name: string): Page | undefined {
  return groups.flatMap((group) => group.pages).find((page) => page.name === name);
}
