import type { Key } from "../../i18n";

/** What may be written for a setting. */
export interface Described {
  name: string;
  path: string;
  doc: string;
  expected: string;
  kind: string;
  min?: number;
  max?: number;
  choices?: string[];
  /** What it is at first, where operators name what has it. */
  default?: unknown;
}

export interface Section {
  path: string;
  doc: string;
  keys: Described[];
}

/** How a language says what the gateway says in English. */
export interface Language {
  doc: (path: string) => string | undefined;
  expected: (text: string) => string;
}

/** The sections in another language; what it does not know stays as it is. */
export function translated(sections: readonly Section[], into: Language): Section[] {
  return sections.map((section) => ({
    ...section,
    doc: into.doc(section.path) ?? section.doc,
    keys: section.keys.map((key) => ({ ...key, doc: into.doc(key.path) ?? key.doc, expected: into.expected(key.expected) })),
  }));
}

/** What a setting is, and who says so. */
export interface Setting {
  value: unknown;
  source: string;
  settable: boolean;
  pending: boolean;
}

/** A setting as the form shows it. */
export interface Row {
  path: string;
  described: Described;
  setting: Setting;
}

/** Whether the path is one of those that the key stands for: `{name}` is any one part. */
export function matches(key: string, path: string): boolean {
  const [wanted, given] = [key.split("."), path.split(".")];
  return wanted.length === given.length && wanted.every((part, at) => part === given[at] || /^\{.*\}$/.test(part));
}

/** The settings of each section, in the schema's order. Each thing that operators name is a section of its own: `listeners.tcp.default`. */
export function rowsOf(sections: readonly Section[], settings: Readonly<Record<string, Setting>>): Map<string, Row[]> {
  const all = Object.keys(settings);
  const found = new Map<string, Row[]>();
  for (const section of sections) {
    for (const key of section.keys) {
      // Quotation marks are for files.
      const described = { ...key, expected: key.expected.replaceAll(" in quotation marks", "") };
      const namedAt = described.path.split(".").findIndex((part) => part.startsWith("{"));
      const paths = described.path.includes("{") ? all.filter((path) => matches(described.path, path)) : [described.path];
      for (const path of paths) {
        const setting = settings[path];
        if (!setting) continue;
        const group = namedAt < 0 ? section.path : path.split(".").slice(0, namedAt + 1).join(".");
        const rows = found.get(group);
        if (rows) rows.push({ path, described, setting });
        else found.set(group, [{ path, described, setting }]);
      }
    }
  }
  return found;
}

const isTextList = (value: unknown): value is string[] => Array.isArray(value) && value.every((one) => typeof one === "string");

/** How a value is written into a field. */
export function written(described: Described, value: unknown): string {
  if (value === null || value === undefined) return "";
  if (described.kind === "list" && isTextList(value)) return value.join("\n");
  return typeof value === "string" ? value : JSON.stringify(value);
}

export type Parsed = { value: unknown } | { wrong: Key };

/** What a field's text says, in the shape that the value had. */
export function parsed(described: Described, before: unknown, text: string): Parsed {
  if (described.kind === "number") {
    const number = Number(text);
    return text.trim() === "" || Number.isNaN(number) ? { wrong: "settings.not_number" } : { value: number };
  }
  if (described.kind === "list" && (isTextList(before) || before === null || before === undefined) && !text.trim().startsWith("[")) {
    return { value: text.split("\n").map((line) => line.trim()).filter((line) => line !== "") };
  }
  const isStructure = described.kind === "list" || described.kind === "secrets" || (typeof before === "object" && before !== null);
  if (isStructure || typeof before === "number" || typeof before === "boolean") {
    try {
      return { value: JSON.parse(text) as unknown };
    } catch {
      // A text such as "infinity" may stand where a number stood.
      return isStructure ? { wrong: "settings.not_json" } : { value: text };
    }
  }
  return { value: text };
}
