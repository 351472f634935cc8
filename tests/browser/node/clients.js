// Clients of two protocols come while the page looks on, and one of them is made to go.
import assert from "node:assert/strict";
import { once } from "node:events";

import { main, mqttClient, open, signIn, thingway, told, visit } from "./harness.js";

await main(async (browser) => {
  const page = await open(browser);
  await signIn(page);
  await page.getByText("Live", { exact: true }).first().waitFor();
  await visit(page, "clients");
  await page.getByText("Nobody", { exact: false }).or(page.locator(".state")).first().waitFor();

  const meter = await mqttClient({ clientId: "meter-7" });
  thingway("sub", "--url", told.mqttsn, "-i", "valve-3", "-t", "plant/#", "-q", "1");
  // Told by the stream: nothing has been asked again.
  await page.getByRole("status").filter({ hasText: "Changes: 2" }).waitFor();
  await page.getByRole("button", { name: "Refresh" }).click();
  const row = (id) => page.getByRole("row").filter({ hasText: id });
  await row("meter-7").getByText("MQTT 5.0").waitFor();
  await row("valve-3").getByText("MQTT-SN").waitFor();

  const gone = once(meter, "close");
  await row("meter-7").getByRole("button", { name: "Disconnect: meter-7" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Disconnect" }).click();
  await gone;
  await row("meter-7").waitFor({ state: "detached" });
  assert.equal(await row("valve-3").count(), 1);

  await row("valve-3").getByRole("link", { name: "valve-3" }).click();
  const drawer = page.getByRole("dialog");
  await drawer.getByText("plant/#").first().waitFor();
  await page.keyboard.press("Escape");
  await drawer.waitFor({ state: "detached" });
  await page.keyboard.press("/");
  assert.ok(await page.getByRole("searchbox").evaluate((box) => box === document.activeElement), "/ goes to the search");
  page.check_clean();
});
