// A setting is changed on the page, says so, and is taken back; what cannot be is refused beside its field.
import assert from "node:assert/strict";

import { api, main, open, signIn, token, visit } from "./harness.js";

const KEY = "mqtt.retain_available";

await main(async (browser) => {
  const page = await open(browser, { allowed: [/status of 400.*\/configs/] });
  await signIn(page);
  const value = async () => (await api("GET", "/configs", undefined, await token())).json[KEY];
  assert.equal((await value()).value, true);
  await visit(page, "settings");
  await page.getByLabel("Search settings").fill(KEY);
  const box = page.getByRole("checkbox", { name: KEY, exact: true });
  // The listeners' own settings of that name follow it, and say so, too.
  const row = page.locator(".setting").filter({ has: box });
  await box.uncheck();
  await page.getByRole("button", { name: "Save 1 changes" }).click();
  await row.getByText("Changed here").waitFor();
  assert.deepEqual([(await value()).value, (await value()).source], [false, "run time"]);
  await row.getByRole("button", { name: "Take the change back" }).click();
  await page.getByRole("button", { name: "Save 1 changes" }).click();
  await row.getByText("Changed here").waitFor({ state: "detached" });
  assert.equal((await value()).value, true);

  // What has lines keeps them, and one that is wrong is refused beside its field.
  const ACL = "access.acl_conf";
  const text = "%% Of the day.\n{deny, all, publish, [\"closed/#\"]}.\n{allow, all}.\n";
  await page.getByLabel("Search settings").fill(ACL);
  const lines = page.getByRole("textbox", { name: ACL, exact: true });
  await lines.fill("{allow, nobody}.");
  await page.getByRole("button", { name: "Save 1 changes" }).click();
  await page.locator(".setting").getByText(`${ACL}:1`).waitFor();
  await lines.fill(text);
  await page.getByRole("button", { name: "Save 1 changes" }).click();
  await page.locator(".setting").getByText("Changed here").waitFor();
  assert.equal(await lines.inputValue(), text);
  const sources = (await api("GET", "/authorization/sources", undefined, await token())).json.sources;
  assert.deepEqual(sources.map(({ type, rules_count }) => [type, rules_count]), [["built_in_database", 0], ["file", 2]]);
  assert.equal(sources[1].rules, text);

  // In Chinese nothing is left in English: neither what a setting is for nor what may be written.
  await page.getByRole("button", { name: "中文" }).click();
  const sections = page.getByRole("combobox", { name: "分区" });
  await sections.waitFor();
  const names = await sections.locator("option").allInnerTexts();
  assert.ok(names.length >= 15 && names.includes("listeners.tcp.default"), names.join());
  for (const name of names) {
    await sections.selectOption(name);
    await page.locator(".card h2").filter({ hasText: new RegExp(`^${name.replaceAll(".", "\\.")}$`) }).waitFor();
    const texts = await page.locator(".setting-about > p:first-child, .setting-tags, .card .lead").allInnerTexts();
    assert.ok(texts.length > 1, name);
    for (const text of texts) {
      assert.match(text, /[\u4e00-\u9fff]/, name);
      assert.doesNotMatch(text.replace(/"[^"]*"/g, ""), /\b(a|an|the|of|each|such|with)\b/, name);
    }
  }
  page.check_clean();
});
