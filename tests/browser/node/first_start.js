// The way of a first start: sign in as everybody could, be made to change the password, and be free after it.
import assert from "node:assert/strict";

import { main, open, signIn, visit } from "./harness.js";

await main(async (browser) => {
  const page = await open(browser, { allowed: [/status of 40[013].*\/api\/v5\/(login|logout|users)/] });
  await page.goto("about:blank");
  await signIn(page, "public");
  const banner = page.getByRole("region", { name: "Change the password" });
  await banner.waitFor();

  await visit(page, "retained");
  const publish = page.getByRole("button", { name: "Publish" }).first();
  await publish.waitFor();
  assert.equal(await publish.getAttribute("aria-disabled"), "true", "it may only look");
  assert.match(await publish.getAttribute("title"), /first password/);

  await banner.getByRole("button").click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Present password").fill("public");
  await dialog.getByLabel("New password", { exact: true }).fill("short");
  await dialog.getByLabel("New password once more").fill("short");
  assert.ok(await dialog.getByRole("button", { name: "Change the password" }).isDisabled(), "too short");
  await dialog.getByLabel("New password", { exact: true }).fill("quite another one");
  await dialog.getByLabel("New password once more").fill("quite another one");
  await dialog.getByRole("button", { name: "Change the password" }).click();
  await banner.waitFor({ state: "detached" });
  await dialog.waitFor({ state: "detached" });
  await page.waitForFunction(() => [...document.querySelectorAll("button")].some((one) => one.textContent === "Publish" && !one.hasAttribute("aria-disabled")));

  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("User name").fill("admin");
  await page.getByLabel("Password", { exact: true }).fill("public");
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.getByRole("alert").waitFor();
  await signIn(page, "quite another one");
  assert.equal(await banner.count(), 0);
  page.check_clean();
});
