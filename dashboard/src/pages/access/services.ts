import type { Key } from "../../i18n";
import type { Changes } from "../settings/change";
import type { Row, Section, Setting } from "../settings/value";

/** The lists of who is asked, each a setting. */
export const LISTS = { authenticators: "access.authenticators", sources: "access.sources" } as const;
export type List = keyof typeof LISTS;

/** What is there without being made, and what operators make and name. */
const BUILT_IN: Record<List, readonly string[]> = { authenticators: ["users", "scram", "certificate"], sources: ["rules"] };
export const KINDS = ["http", "jwt", "postgresql", "mysql", "redis", "mongodb", "ldap"] as const;
export type Kind = (typeof KINDS)[number];

export type Settings = Readonly<Record<string, Setting>>;

/** The kinds that a list may name. A token says who somebody is; what it allows counts without its being a source. */
export function kindsOf(list: List): Kind[] {
  return KINDS.filter((kind) => list === "authenticators" || kind !== "jwt");
}

/** What a list names, in order. */
export function named(settings: Settings, list: List): string[] {
  const value = settings[LISTS[list]]?.value;
  return Array.isArray(value) ? value.map(String) : [];
}

/** Services that there are, as lists name them: `http.main`. */
export function servicesIn(settings: Settings): string[] {
  const found = new Set<string>();
  for (const path of Object.keys(settings)) {
    const [section, kind, name] = path.split(".");
    if (section === "access" && name !== undefined && (KINDS as readonly string[]).includes(kind ?? "")) found.add(`${kind}.${name}`);
  }
  return [...found];
}

/** The gateway's own rules in parts, each of which can have a place of its own. */
const PARTS = ["rules.settings", "rules.database", "rules.files"];

/** What a list could name besides, of what is there. */
export function unused(settings: Settings, list: List): string[] {
  const isInParts = list === "sources" && named(settings, list).some((name) => PARTS.includes(name));
  const known = [...(isInParts ? PARTS : BUILT_IN[list]), ...servicesIn(settings).filter((service) => (kindsOf(list) as string[]).includes(kindOf(service) ?? ""))];
  const asked = named(settings, list);
  return known.filter((name) => !asked.includes(name));
}

/** The kind of a service; nothing for what is built in. */
export function kindOf(name: string): Kind | undefined {
  const kind = name.split(".", 1)[0];
  return name.includes(".") ? KINDS.find((known) => known === kind) : undefined;
}

const LABELS = {
  users: "access.is_users",
  scram: "access.is_scram",
  certificate: "access.is_certificate",
  rules: "access.is_rules",
  http: "access.is_http",
  jwt: "access.is_jwt",
  postgresql: "access.is_postgresql",
  mysql: "access.is_mysql",
  redis: "access.is_redis",
  mongodb: "access.is_mongodb",
  ldap: "access.is_ldap",
} as const satisfies Record<string, Key>;

/** What it is, in words. */
export function labelOf(name: string): Key | undefined {
  if (name === "rules.settings") return "access.is_rules_of_settings";
  if (name === "rules.database") return "access.is_rules_of_database";
  if (name === "rules.files") return "access.is_rules_of_files";
  const kind = name.split(".", 1)[0] ?? "";
  return kind in LABELS ? LABELS[kind as keyof typeof LABELS] : undefined;
}

/** The settings of a service that is there, or of one that is about to be made: those have what the schema says they are at first. */
export function rowsOfService(sections: readonly Section[], settings: Settings, service: string): Row[] {
  const [kind, name = ""] = service.split(".");
  const prefix = `access.${kind}.{name}.`;
  const keys = sections.flatMap((section) => section.keys).filter((key) => key.path.startsWith(prefix));
  return keys.map((described) => {
    const path = described.path.replace("{name}", name);
    const fresh: Setting = { value: described.default ?? (described.kind === "list" ? [] : ""), source: "default", settable: true, pending: false };
    return { path, described: { ...described, expected: described.expected.replaceAll(" in quotation marks", "") }, setting: settings[path] ?? fresh };
  });
}

/** Settings that few have to look at. */
export function isFurther(row: Row): boolean {
  const own = row.path.split(".").slice(3).join(".");
  return /^(limits|tls)\.|^(cache_|jwks_(headers|refresh|timeout)|(ca|authorization|password)_file$|(connections|waiting_max|failures|rest|timeout|rules_time|leeway|when_down|start_tls)$)/.test(own);
}

/** What is asked to have the list so. */
export function listed(list: List, names: readonly string[]): Changes {
  return { [LISTS[list]]: names };
}

/** The list with one of them a place further up or down. */
export function moved(names: readonly string[], name: string, by: -1 | 1): string[] {
  const at = names.indexOf(name);
  const to = at + by;
  if (at < 0 || to < 0 || to >= names.length) return [...names];
  const others = names.filter((one) => one !== name);
  others.splice(to, 0, name);
  return others;
}

/** Whether the service was made here; what files or others say of it cannot be taken away here. */
export function isOurs(settings: Settings, service: string): boolean {
  const its = Object.entries(settings).filter(([path]) => path.startsWith(`access.${service}.`));
  return its.some(([, { source }]) => source === "run time") && its.every(([, { source }]) => source === "run time" || source === "default");
}

/** What is asked to take a service away, and out of the lists that name it. */
export function withoutService(settings: Settings, service: string): Changes {
  const changes: Changes = { [`access.${service}`]: null };
  for (const list of Object.keys(LISTS) as List[]) {
    const names = named(settings, list);
    if (names.includes(service)) changes[LISTS[list]] = names.filter((name) => name !== service);
  }
  return changes;
}
