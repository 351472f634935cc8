/** How a payload's bytes can be read. */
export type Reading = "text" | "json" | "hex";

/** Bytes of a payload that are shown. */
export const SHOWN_BYTES_MAX = 64 * 1024;

export function ofBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

export function toBase64(bytes: Uint8Array): string {
  let letters = "";
  for (let at = 0; at < bytes.length; at += 0x8000) letters += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(letters);
}

/** The text, or null when the bytes are none. */
export function asText(bytes: Uint8Array): string | null {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    // Control characters but for line ends and tabs are no text to be read.
    return /[\u0000-\u0008\u000b\u000c\u000e-\u001f]/.test(text) ? null : text;
  } catch {
    return null;
  }
}

/** Indented, or null when it is no JSON. */
export function asJson(bytes: Uint8Array): string | null {
  const text = asText(bytes);
  if (text === null) return null;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return null;
  }
}

/** Lines of 16 bytes with where they are, and what of them is ASCII. */
export function asHex(bytes: Uint8Array): string {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += 16) {
    const row = Array.from(bytes.subarray(at, at + 16));
    const hex = row.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const letters = row.map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : ".")).join("");
    lines.push(`${at.toString(16).padStart(6, "0")}  ${hex.padEnd(47)}  ${letters}`);
  }
  return lines.join("\n");
}

/** What is most readable. */
export function bestReading(bytes: Uint8Array): Reading {
  const text = asText(bytes);
  if (text === null) return "hex";
  return /^\s*[[{]/.test(text) && asJson(bytes) !== null ? "json" : "text";
}

/** One line of it for a list. */
export function glance(bytes: Uint8Array, length = 120): string {
  const text = asText(bytes.subarray(0, length * 4));
  // A cut may go through a letter; what is not text at all is shown as bytes.
  const shown = text ?? (bytes.length > length * 4 ? asText(bytes.subarray(0, length * 4 - 3)) : null);
  if (shown !== null) return shown.length > length ? `${shown.slice(0, length)}…` : shown;
  const hex = Array.from(bytes.subarray(0, length / 3), (byte) => byte.toString(16).padStart(2, "0")).join(" ");
  return bytes.length > length / 3 ? `${hex} …` : hex;
}
