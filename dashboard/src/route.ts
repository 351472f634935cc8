import { signal } from "@preact/signals";

/** Where the page is: `#/clients/abc?state=connected`. */
export interface Route {
  /** The first part: which page. */
  name: string;
  rest: string[];
  query: URLSearchParams;
}

function read(): Route {
  const [path = "", query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const parts = path.split("/").map((text) => {
    try {
      return decodeURIComponent(text);
    } catch {
      return text;
    }
  });
  return { name: parts[0] || "overview", rest: parts.slice(1).filter((text) => text !== ""), query: new URLSearchParams(query) };
}

export const route = signal<Route>(read());
window.addEventListener("hashchange", () => (route.value = read()));

export function link(parts: string[], query?: Record<string, string | undefined>): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {})) if (value) search.set(name, value);
  const text = search.toString();
  return `#/${parts.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

export function go(parts: string[], query?: Record<string, string | undefined>): void {
  location.hash = link(parts, query);
}

/** Changes what the address says without a new entry in the history. */
export function amend(query: Record<string, string | undefined>): void {
  const now = route.value;
  const all: Record<string, string | undefined> = { ...Object.fromEntries(now.query), ...query };
  history.replaceState(null, "", link([now.name, ...now.rest], all));
  route.value = read();
}
