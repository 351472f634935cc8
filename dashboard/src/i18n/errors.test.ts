import { expect, test } from "vitest";

import { CHINESE, chinese, sayIn } from "./errors";

test("every translation is Chinese", () => {
  for (const [code, text] of Object.entries(CHINESE)) {
    expect(code).toMatch(/^[A-Z_]+$/);
    expect(text, code).toMatch(/[\u4e00-\u9fff]/);
  }
});

test("a code that nobody has translated is told by its status", () => {
  expect(chinese("NEW_CODE", 409)).toBe("与现有内容冲突");
  expect(chinese("NEW_CODE", 418)).toBe("操作失败");
});

test("Chinese comes first, and what the gateway said is kept", () => {
  const error = { status: 404, code: "USER_NOT_FOUND", message: "there is no such user", isUnreachable: false };
  expect(sayIn("zh", error)).toEqual({ lead: "没有这个用户", detail: "there is no such user (USER_NOT_FOUND)" });
  expect(sayIn("en", error)).toEqual({ lead: "there is no such user", detail: "404 USER_NOT_FOUND" });
  const gone = { status: 0, code: "UNREACHABLE", message: "the gateway cannot be reached", isUnreachable: true };
  expect(sayIn("zh", gone)).toEqual({ lead: "无法连接网关", detail: "UNREACHABLE" });
});
