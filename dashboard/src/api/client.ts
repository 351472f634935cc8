import { isHeld, session, signOut } from "./session";

export const BASE = "/api/v5";
const TIME_OUT_MS = 20_000;
/** What the API says of a path that it does not have, as opposed to a thing that is not there. */
const NO_SUCH_PATH = "there is no such path";

/** Why the gateway did not do what it was asked: its status, its code, its words. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    /** What is wrong with single fields, where the gateway says so. */
    readonly errors: { path: string; message: string }[] = [],
  ) {
    super(message);
  }

  /** This gateway does not know the path at all. */
  get isMissing(): boolean {
    const isNoPath = this.status === 404 && (this.message === NO_SUCH_PATH || this.code === "404");
    return isNoPath || this.status === 405 || this.status === 501;
  }

  get isUnreachable(): boolean {
    // 502 and 504 are what a proxy says that does not reach it either.
    return this.code === "UNREACHABLE" || this.code === "TIMEOUT" || this.status === 502 || this.status === 504;
  }
}

export type Method = "GET" | "POST" | "PUT" | "DELETE";
export type Query = Record<string, string | number | boolean | readonly string[] | undefined | null>;

export interface Asked {
  query?: Query;
  body?: unknown;
  signal?: AbortSignal;
  /** A text that is no JSON. */
  text?: boolean;
}

/** A part of a path: a topic's slashes are `%2F`. */
export const part = encodeURIComponent;

export function address(path: string, query?: Query): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value === undefined || value === null || value === "") continue;
    for (const one of Array.isArray(value) ? value : [value]) search.append(name, String(one));
  }
  const text = search.toString();
  return BASE + path + (text ? `?${text}` : "");
}

/** Asks with the account's token; the answer is not read yet. */
export async function ask(method: Method, path: string, asked: Asked = {}, timeOut: number | null = TIME_OUT_MS): Promise<Response> {
  const headers: Record<string, string> = {};
  const token = session.value?.token;
  if (token) headers.Authorization = `Bearer ${token}`;
  let body: BodyInit | undefined;
  if (asked.body instanceof FormData || asked.body instanceof Blob) body = asked.body;
  else if (asked.body !== undefined) {
    headers["Content-Type"] = "application/json";
    body = JSON.stringify(asked.body);
  }
  const signals = [asked.signal, timeOut === null ? undefined : AbortSignal.timeout(timeOut)].filter((one) => one !== undefined);
  let response: Response;
  try {
    response = await fetch(address(path, asked.query), { method, headers, body, signal: AbortSignal.any(signals), cache: "no-store", credentials: "omit" });
  } catch (error) {
    if (asked.signal?.aborted) throw error;
    const late = error instanceof DOMException && error.name === "TimeoutError";
    throw new ApiError(0, late ? "TIMEOUT" : "UNREACHABLE", late ? "no answer in time" : "the gateway cannot be reached");
  }
  if (response.ok) return response;
  const error = await failure(response);
  if (response.status === 401 && token && token === session.value?.token && path !== "/login" && !isHeld()) signOut("expired");
  throw error;
}

async function failure(response: Response): Promise<ApiError> {
  const text = await response.text().catch(() => "");
  try {
    const told = JSON.parse(text) as { code?: unknown; reason_code?: unknown; message?: unknown; errors?: unknown };
    const message = typeof told.message === "string" ? told.message : JSON.stringify(told.message ?? told);
    const errors = Array.isArray(told.errors) ? (told.errors as { path: string; message: string }[]) : [];
    return new ApiError(response.status, String(told.code ?? told.reason_code ?? response.status), message, errors);
  } catch {
    return new ApiError(response.status, String(response.status), text.slice(0, 200) || response.statusText);
  }
}

/** Asks and reads the answer: JSON, or nothing. */
export async function api<T = unknown>(method: Method, path: string, asked: Asked = {}): Promise<T> {
  const response = await ask(method, path, asked);
  if (response.status === 204) return undefined as T;
  const text = await response.text();
  if (asked.text) return text as T;
  return (text === "" ? undefined : JSON.parse(text)) as T;
}

export const get = <T>(path: string, query?: Query, signal?: AbortSignal) => api<T>("GET", path, { query, signal });
export const post = <T = unknown>(path: string, body?: unknown) => api<T>("POST", path, { body });
export const put = <T = unknown>(path: string, body?: unknown) => api<T>("PUT", path, { body });
export const remove = <T = unknown>(path: string, query?: Query) => api<T>("DELETE", path, { query });

/** Fetches what the browser is to keep as a file. */
export async function download(path: string, name: string, query?: Query): Promise<void> {
  const blob = await (await ask("GET", path, { query }, null)).blob();
  const url = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
