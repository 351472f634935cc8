import { locale } from "./i18n";

const formats = new Map<string, Intl.NumberFormat>();

function numbers(options: Intl.NumberFormatOptions): Intl.NumberFormat {
  const key = locale() + JSON.stringify(options);
  let format = formats.get(key);
  if (!format) formats.set(key, (format = new Intl.NumberFormat(locale(), options)));
  return format;
}

export const NOTHING = "–";

export function count(value: number | null | undefined): string {
  return value === null || value === undefined ? NOTHING : numbers({ maximumFractionDigits: 0 }).format(value);
}

/** As short as a tile or an axis wants it: 12.3k. */
export function short(value: number | null | undefined): string {
  if (value === null || value === undefined) return NOTHING;
  if (Math.abs(value) < 10_000) return numbers({ maximumFractionDigits: value !== 0 && Math.abs(value) < 10 ? 1 : 0 }).format(value);
  const [by, unit] = Math.abs(value) >= 1e9 ? ([1e9, "G"] as const) : Math.abs(value) >= 1e6 ? ([1e6, "M"] as const) : ([1e3, "k"] as const);
  return numbers({ maximumFractionDigits: Math.abs(value / by) < 100 ? 1 : 0 }).format(value / by) + unit;
}

export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined) return NOTHING;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let rest = value;
  let unit = 0;
  while (rest >= 1024 && unit < units.length - 1) {
    rest /= 1024;
    unit += 1;
  }
  return `${numbers({ maximumFractionDigits: unit === 0 || rest >= 100 ? 0 : 1 }).format(rest)} ${units[unit]}`;
}

export function percent(part: number, whole: number): string {
  return whole > 0 ? numbers({ style: "percent", maximumFractionDigits: 0 }).format(part / whole) : NOTHING;
}

/** A date as the API tells it, or milliseconds. */
export function when(value: string | number | null | undefined): string {
  if (value === null || value === undefined || value === "") return NOTHING;
  const date = new Date(value);
  if (Number.isNaN(date.getTime())) return String(value);
  return new Intl.DateTimeFormat(locale(), { dateStyle: "medium", timeStyle: "medium" }).format(date);
}

/** As short as a table wants it: the time alone when it is today. */
export function moment(value: string | number | null | undefined): string {
  if (value === null || value === undefined || value === "") return NOTHING;
  const date = new Date(value);
  if (Number.isNaN(date.getTime())) return String(value);
  if (date.toDateString() === new Date().toDateString()) return clock(date.getTime());
  return new Intl.DateTimeFormat(locale(), { dateStyle: "medium", timeStyle: "short" }).format(date);
}

export function day(ms: number): string {
  return new Intl.DateTimeFormat(locale(), { dateStyle: "medium" }).format(ms);
}

/** A time, in seconds since 1970, as the field for times has it: without a zone, of this place. */
export function localTime(secs: number | null): string {
  if (!secs) return "";
  const at = new Date(secs * 1000);
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

const PROTOCOLS: Record<string, string> = { mqtt: "MQTT", "mqtt-sn": "MQTT-SN", coap: "CoAP" };

/** A protocol as people write it. */
export function protocolName(name: string): string {
  return PROTOCOLS[name.toLowerCase()] ?? name;
}

export function clock(ms: number): string {
  return new Intl.DateTimeFormat(locale(), { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false }).format(ms);
}

/** How long: the two largest units. */
export function span(secs: number | null | undefined): string {
  if (secs === null || secs === undefined) return NOTHING;
  const parts: [number, "day" | "hour" | "minute" | "second"][] = [
    [86_400, "day"],
    [3600, "hour"],
    [60, "minute"],
    [1, "second"],
  ];
  const told: string[] = [];
  let rest = Math.max(0, Math.floor(secs));
  for (const [size, unit] of parts) {
    const amount = Math.floor(rest / size);
    if (amount > 0 || (unit === "second" && told.length === 0)) {
      told.push(numbers({ style: "unit", unit, unitDisplay: "narrow" }).format(amount));
      rest -= amount * size;
    } else if (told.length > 0) break;
    if (told.length === 2) break;
  }
  return told.join(" ");
}
