import { expect, test } from "vitest";

import { asHex, asJson, asText, bestReading, glance, ofBase64, toBase64 } from "./payload";

const bytes = (text: string) => new TextEncoder().encode(text);

test("a payload is read as what it is", () => {
  expect(bestReading(bytes("21.5"))).toBe("text");
  expect(bestReading(bytes('{"v":1}'))).toBe("json");
  expect(bestReading(bytes("{no json"))).toBe("text");
  expect(bestReading(Uint8Array.of(0xff, 0xfe))).toBe("hex");
  expect(bestReading(Uint8Array.of(0x41, 0x00))).toBe("hex");
});

test("bytes that are no text are not made one", () => {
  expect(asText(Uint8Array.of(0xc3))).toBeNull();
  expect(asJson(bytes("1 2"))).toBeNull();
  expect(asJson(bytes('{"a":[1]}'))).toBe('{\n  "a": [\n    1\n  ]\n}');
});

test("bytes have their place and their letters beside them", () => {
  expect(asHex(bytes("0123456789abcdefX"))).toBe(
    "000000  30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66  0123456789abcdef\n000010  58                                               X",
  );
});

test("a glance is short, of text and of bytes", () => {
  expect(glance(bytes("a".repeat(500)), 10)).toBe(`${"a".repeat(10)}…`);
  expect(glance(Uint8Array.of(255, 0, 1))).toBe("ff 00 01");
});

test("Base64 goes there and back", () => {
  const all = Uint8Array.from({ length: 70_000 }, (_, at) => at % 256);
  expect(ofBase64(toBase64(all))).toEqual(all);
});
