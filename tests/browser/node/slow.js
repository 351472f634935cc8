// What is measured of subscriptions is switched on and changed on the page, and slow ones appear.
import assert from "node:assert/strict";

import { api, main, mqttClient, open, signIn, token, visit } from "./harness.js";

await main(async (browser) => {
  const page = await open(browser, { allowed: [/status of 400.*slow_subscriptions/] });
  await signIn(page);
  await visit(page, "slow");
  await page.getByText("Nobody is measured", { exact: false }).waitFor();
  await page.getByRole("button", { name: "Settings" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Measure", { exact: true }).check();
  await dialog.getByLabel("What is measured").selectOption("response");
  await dialog.getByLabel("Slow from").fill("soon");
  await dialog.getByRole("button", { name: "Save" }).click();
  await dialog.getByRole("alert").waitFor();
  await dialog.getByLabel("Slow from").fill("1ms");
  await dialog.getByLabel("How many are kept").fill("5");
  await dialog.getByRole("button", { name: "Save" }).click();
  await dialog.waitFor({ state: "detached" });
  await page.getByText("slow from 1ms", { exact: false }).waitFor();
  const settings = (await api("GET", "/slow_subscriptions/settings", undefined, await token())).json;
  assert.deepEqual([settings.enable, settings.top_k_num, settings.stats_type], [true, 5, "response"]);

  // It takes its time over each message, which the library acknowledges when that is done.
  const slow = await mqttClient({ clientId: "slow-1", customHandleAcks: (topic, message, packet, done) => setTimeout(() => done(0), 100) });
  await slow.subscribeAsync("jobs/#", { qos: 1 });
  await slow.publishAsync("jobs/1", "dig", { qos: 1 });
  // Told without anybody asking again.
  const row = page.getByRole("row").filter({ hasText: "slow-1" });
  await row.getByText("jobs/1").or(row.getByText("jobs/#")).waitFor();
  await page.getByRole("button", { name: "Forget all" }).click();
  await dialog.getByRole("button", { name: "Forget all" }).click();
  await page.getByText("No subscription is slow").waitFor();
  page.check_clean();
});
