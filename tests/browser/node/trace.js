// A trace is begun on the page, its log grows while a client goes about its work, is kept as a file, and ends when it is stopped.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

import { api, main, mqttClient, open, signIn, token, visit } from "./harness.js";

await main(async (browser) => {
  const page = await open(browser);
  await signIn(page);
  await visit(page, "trace");
  await page.getByText("There are no traces").waitFor();
  await page.getByRole("button", { name: "Begin a trace" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Name").fill("meter");
  await dialog.getByLabel("Which", { exact: true }).fill("meter-7");
  await dialog.getByRole("button", { name: "Begin a trace" }).click();
  const row = page.getByRole("row").filter({ hasText: "meter-7" });
  await row.getByText("Running").waitFor();
  await row.getByRole("button", { name: "Log" }).click();
  await dialog.getByText("Nothing has happened yet").waitFor();

  const meter = await mqttClient({ clientId: "meter-7" });
  const log = dialog.locator(".trace-log");
  await log.getByText(/meter-7/).waitFor();
  await meter.subscribeAsync("plant/7/set", { qos: 1 });
  await log.filter({ hasText: "plant/7/set" }).waitFor();
  await meter.publishAsync("plant/7/state", "seventy-two", { qos: 1 });
  await log.filter({ hasText: "seventy-two" }).waitFor();
  const arrives = page.waitForEvent("download");
  await dialog.getByRole("button", { name: "Download" }).click();
  const download = await arrives;
  assert.equal(download.suggestedFilename(), "meter.log");
  const text = readFileSync(await download.path(), "utf8");
  for (const wanted of ["meter-7", "plant/7/set", "seventy-two"]) assert.ok(text.includes(wanted), `${wanted} in ${text}`);
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });

  await row.getByRole("button", { name: "Stop" }).click();
  await row.getByText("Stopped").waitFor();
  await row.getByRole("button", { name: "Delete: meter" }).click();
  await dialog.getByRole("button", { name: "Delete" }).click();
  await page.getByText("There are no traces").waitFor();
  assert.deepEqual((await api("GET", "/trace", undefined, await token())).json, []);

  // From a client to a trace of it.
  await visit(page, "clients/meter-7");
  await dialog.getByRole("link", { name: "Trace it" }).click();
  assert.equal(await dialog.getByLabel("Which", { exact: true }).inputValue(), "meter-7");
  page.check_clean();
});
