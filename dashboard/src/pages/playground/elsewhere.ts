/** What a topic of MQTT is in the other protocols: addresses, commands and numbers. */

/** Numbers of IANA's registry of CoAP Content-Formats for what payloads usually are. */
const CONTENT_FORMATS: Record<string, number> = {
  "text/plain;charset=utf-8": 0,
  "application/link-format": 40,
  "application/xml": 41,
  "application/octet-stream": 42,
  "application/json": 50,
  "application/cbor": 60,
  "application/senml+json": 110,
  "application/senml+cbor": 112,
};

/** Null where there is no number for it. */
export function contentFormat(contentType: string, isText: boolean): number | null {
  const name = contentType.toLowerCase().replace(/\s+/g, "");
  if (name === "") return isText ? 0 : null;
  return CONTENT_FORMATS[name] ?? (name === "text/plain" ? 0 : null);
}

/** For a shell: within single quotes everything stands for itself but the quote. */
export function quoted(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** Levels of a topic are segments of the path below `ps`. What has a meaning in a URI is encoded; `+` has none in a path. */
export function coapUri(host: string, port: string, topic: string, query: Record<string, string> = {}): string {
  const path = topic.split("/").map((level) => encodeURIComponent(level).replaceAll("%2B", "+").replaceAll("%24", "$")).join("/");
  const search = Object.entries(query).map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&");
  const authority = host.includes(":") && !host.startsWith("[") ? `[${host}]` : host;
  return `coap://${authority}${port === "5683" ? "" : `:${port}`}/ps/${path}${search ? `?${search}` : ""}`;
}

export interface Wanted {
  topic: string;
  payload: string;
  qos: number;
  retain: boolean;
  contentType: string;
  isText: boolean;
  expiry: string;
}

export interface Command {
  name: "uri" | "read" | "observe" | "put" | "sub";
  text: string;
}

export const isFilter = (topic: string) => topic.split("/").some((level) => level === "+" || level === "#");

export function coapCommands(host: string, port: string, wanted: Wanted): Command[] {
  const { topic, payload, qos, retain, contentType, isText, expiry } = wanted;
  const uri = coapUri(host, port, topic);
  const commands: Command[] = [{ name: "uri", text: uri }];
  if (!isFilter(topic)) commands.push({ name: "read", text: `coap-client -m get ${quoted(uri)}` });
  commands.push({ name: "observe", text: `coap-client -m get -s 60 ${quoted(uri)}` });
  if (!isFilter(topic)) {
    const query: Record<string, string> = { ...(qos === 0 ? {} : { qos: String(qos) }), ...(retain ? { retain: "true" } : {}), ...(expiry === "" ? {} : { expiry }) };
    const format = contentFormat(contentType, isText);
    const type = format === null ? "" : ` -t ${format}`;
    commands.push({ name: "put", text: `coap-client -m put${type} -e ${quoted(payload)} ${quoted(coapUri(host, port, topic, query))}` });
  }
  return commands;
}

export function mqttSnCommands(host: string, port: string, wanted: Wanted): Command[] {
  const { topic, payload, qos, retain } = wanted;
  const url = `mqtt-sn://${host.includes(":") && !host.startsWith("[") ? `[${host}]` : host}${port === "1884" ? "" : `:${port}`}`;
  const commands: Command[] = [{ name: "sub", text: `thingway sub --url ${url} -t ${quoted(topic)}${qos === 0 ? "" : ` -q ${qos}`}` }];
  if (!isFilter(topic)) commands.push({ name: "put", text: `thingway pub --url ${url} -t ${quoted(topic)} -m ${quoted(payload)}${qos === 0 ? "" : ` -q ${qos}`}${retain ? " -r" : ""}` });
  return commands;
}

/** Lines of name=value. */
export function userProperties(text: string): [string, string][] {
  return text
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line): [string, string] => {
      const at = line.indexOf("=");
      return at < 0 ? [line.trim(), ""] : [line.slice(0, at).trim(), line.slice(at + 1)];
    });
}
