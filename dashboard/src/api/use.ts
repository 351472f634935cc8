import { useCallback, useEffect, useRef, useState } from "preact/hooks";

import { ApiError } from "./client";

/** Something that is asked for: what was told last stays while it is asked again. */
export interface Loaded<T> {
  data: T | undefined;
  error: ApiError | undefined;
  loading: boolean;
  reload: () => void;
}

export function asApiError(error: unknown): ApiError {
  return error instanceof ApiError ? error : new ApiError(0, "ERROR", error instanceof Error ? error.message : String(error));
}

/**
 * Asks when the page is shown and whenever `key` changes, and again each `everyMs`. An answer that comes after the next
 * question is not taken.
 */
export function useLoad<T>(key: string, load: (signal: AbortSignal) => Promise<T>, everyMs?: number): Loaded<T> {
  const [state, setState] = useState<{ key: string; data?: T; error?: ApiError; loading: boolean }>({ key, loading: true });
  const [turn, setTurn] = useState(0);
  const latest = useRef(load);
  latest.current = load;

  useEffect(() => {
    const stop = new AbortController();
    let timer = 0;
    setState((before) => (before.key === key ? { ...before, loading: true } : { key, loading: true }));
    const run = async () => {
      try {
        const data = await latest.current(stop.signal);
        if (!stop.signal.aborted) setState({ key, data, loading: false });
      } catch (error) {
        if (stop.signal.aborted) return;
        const cause = asApiError(error);
        setState((before) => ({ key, data: before.key === key ? before.data : undefined, error: cause, loading: false }));
        // What is not there will not be there in a moment.
        if (cause.isMissing) return;
      }
      if (everyMs && !stop.signal.aborted) timer = window.setTimeout(again, everyMs);
    };
    // Nobody looks at a page in the background: it asks again when somebody does.
    const again = () => {
      if (!document.hidden) void run();
      else document.addEventListener("visibilitychange", again, { once: true });
    };
    void run();
    return () => {
      stop.abort();
      window.clearTimeout(timer);
      document.removeEventListener("visibilitychange", again);
    };
  }, [key, turn, everyMs]);

  const reload = useCallback(() => setTurn((before) => before + 1), []);
  const current = state.key === key ? state : { data: undefined, error: undefined, loading: true };
  return { data: current.data, error: current.error, loading: current.loading, reload };
}
