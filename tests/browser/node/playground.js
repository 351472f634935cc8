// What is published on the page arrives at a client of another make, and the other way round.
import assert from "node:assert/strict";
import { once } from "node:events";

import { main, mqttClient, open, signIn, told, visit } from "./harness.js";

await main(async (browser) => {
  const page = await open(browser);
  await signIn(page);
  const phone = await mqttClient({ clientId: "phone" });
  await phone.subscribeAsync("plant/+/state", { qos: 1 });
  await visit(page, "playground");
  const url = page.getByLabel("Address").or(page.locator("input.mono").first()).first();
  await page.waitForFunction(() => document.querySelector("input.mono")?.value.startsWith("ws://"));
  assert.equal(new URL(await url.inputValue()).port, new URL(told.ws).port, "the listener is found");
  await page.getByRole("button", { name: "Connect", exact: true }).click();
  await page.getByText(/Connected as/).waitFor();

  await page.getByLabel("Topic filter").fill("answers/#");
  await page.getByRole("button", { name: "Subscribe", exact: true }).click();
  await page.getByText(/is granted/).waitFor();
  await page.getByLabel("Topic", { exact: true }).fill("plant/7/state");
  await page.getByLabel("Payload", { exact: true }).fill("开 open");
  await page.getByLabel("QoS").first().selectOption("1");
  const arrives = once(phone, "message");
  await page.getByRole("button", { name: "Publish", exact: true }).click();
  const [topic, payload] = await arrives;
  assert.deepEqual([topic, payload.toString()], ["plant/7/state", "开 open"]);
  await phone.publishAsync("answers/7", "heard", { qos: 1 });
  await page.getByText("answers/7").waitFor();
  await page.getByText(`coap://127.0.0.1:${new URL(told.coap.replace("coap", "http")).port}/`, { exact: false }).first().waitFor();
  page.check_clean();
});
