const LINE_MAX = 1 << 20;

export interface Event {
  name: string;
  data: string;
}

/** Cuts a text/event-stream into its events, however its bytes come. */
export class Parser {
  private rest = "";
  private name = "";
  private data: string[] = [];

  /** Those that are whole now. A line without an end beyond a megabyte is an error. */
  feed(text: string): Event[] {
    const events: Event[] = [];
    const lines = (this.rest + text).split(/\r\n|\n|\r(?!$)/);
    this.rest = lines.pop() ?? "";
    if (this.rest.length > LINE_MAX) throw new Error("a line of the stream is too long");
    for (const line of lines) {
      if (line === "") {
        if (this.data.length > 0) events.push({ name: this.name || "message", data: this.data.join("\n") });
        this.name = "";
        this.data = [];
        continue;
      }
      const colon = line.indexOf(":");
      if (colon === 0) continue;
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
      if (field === "event") this.name = value;
      else if (field === "data") this.data.push(value);
    }
    return events;
  }
}
