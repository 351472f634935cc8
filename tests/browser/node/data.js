// What operators have made is exported, fetched, taken in again, and imported.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

import { api, main, open, signIn, token, visit } from "./harness.js";

await main(async (browser) => {
  const page = await open(browser);
  const own = await token();
  const ban = { as: "clientid", who: "intruder", reason: "guesses passwords" };
  assert.equal((await api("POST", "/banned", ban, own)).status, 200);
  await signIn(page);
  await visit(page, "data");
  await page.getByText("There are no files").waitFor();
  await page.getByRole("button", { name: "Export" }).click();
  const row = page.getByRole("row").filter({ hasText: ".tar.gz" });
  await row.waitFor();
  const arrives = page.waitForEvent("download");
  await row.getByRole("button", { name: "Download", exact: false }).click();
  const download = await arrives;
  const name = download.suggestedFilename();
  const file = await download.path();

  const dialog = page.getByRole("dialog");
  await row.getByRole("button", { name: "Delete", exact: false }).click();
  await dialog.getByRole("button", { name: "Delete" }).click();
  await page.getByText("There are no files").waitFor();
  assert.equal((await api("DELETE", "/banned/clientid/intruder", undefined, own)).status, 204);

  const chooses = page.waitForEvent("filechooser");
  await page.getByRole("button", { name: "Upload a file" }).click();
  await (await chooses).setFiles({ name, mimeType: "application/gzip", buffer: readFileSync(file) });
  await row.getByRole("button", { name: "Import" }).click();
  await dialog.getByRole("button", { name: "Import" }).click();
  await page.getByText("is imported", { exact: false }).first().waitFor();
  const banned = (await api("GET", "/banned", undefined, await token())).json.data;
  assert.deepEqual(banned.map(({ who }) => who), ["intruder"]);
  page.check_clean();
});
