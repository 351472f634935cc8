// A message is retained and another delayed: both tell their payloads, and go when they are deleted.
import assert from "node:assert/strict";

import { api, main, mqttClient, open, signIn, token, visit } from "./harness.js";

await main(async (browser) => {
  const page = await open(browser);
  await signIn(page);
  const dialog = page.getByRole("dialog");
  // What is asked before: the drawer below it has a button of the same name.
  const question = dialog.filter({ has: page.getByRole("button", { name: "Cancel" }) });
  await visit(page, "retained");
  await page.getByRole("button", { name: "Publish" }).click();
  await dialog.getByLabel("Topic").fill("plant/7/state");
  await dialog.getByLabel("Payload").fill('{"level":72}');
  await dialog.getByRole("button", { name: "Publish" }).click();
  await page.getByRole("link", { name: "plant/7/state" }).click();
  await dialog.getByText('"level": 72').waitFor();
  await dialog.getByRole("button", { name: "Hex" }).click();
  await dialog.getByText("7b 22 6c 65", { exact: false }).waitFor();
  await dialog.getByRole("button", { name: "Delete" }).click();
  await question.getByRole("button", { name: "Delete" }).click();
  await page.getByText("No retained message matches").waitFor();

  await visit(page, "delayed");
  await page.getByText("No message waits").waitFor();
  const meter = await mqttClient({ clientId: "meter-7" });
  await meter.publishAsync("$delayed/3600/plant/7/set", '{"pump":"off"}', { qos: 1 });
  // The list is read again by itself.
  await page.getByRole("link", { name: "plant/7/set" }).click();
  await dialog.getByText('"pump": "off"').waitFor();
  await dialog.getByText(/^59m \d+s$/).waitFor();
  await dialog.getByRole("button", { name: "Delete" }).click();
  await question.getByRole("button", { name: "Delete" }).click();
  await page.getByText("No message waits").waitFor();
  assert.deepEqual((await api("GET", "/mqtt/delayed/messages", undefined, await token())).json.data, []);
  page.check_clean();
});
