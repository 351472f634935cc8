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

/** The pages, in the order of the navigation. Each is loaded when it is first looked at. */
export const groups: Group[] = [
  watch,
  messages,
];

export function find(name: string): Page | undefined {
  return groups.flatMap((group) => group.pages).find((page) => page.name === name);
}
