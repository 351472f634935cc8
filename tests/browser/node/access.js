// A user and a rule are added on the page, and count for the next client.
import assert from "node:assert/strict";

import { main, mqttClient, open, signIn, visit } from "./harness.js";

const client = { clientId: "pump-1", username: "pump", password: "water" };

await main(async (browser) => {
  const page = await open(browser);
  await signIn(page);
  await assert.rejects(mqttClient(client), "nobody knows it yet");

  await visit(page, "access?part=users");
  await page.getByRole("button", { name: "Add a user" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("User", { exact: true }).fill("pump");
  await dialog.getByLabel("Password").fill("water");
  await dialog.getByRole("button", { name: "Create" }).click();
  await page.getByRole("row").filter({ hasText: "pump" }).waitFor();
  await page.getByRole("row").filter({ hasText: "pump" }).getByRole("button", { name: "Edit" }).click();
  await dialog.getByLabel("Attributes").fill("site=north\nline=2");
  await dialog.getByLabel("Expires").fill("2099-12-31T12:00");
  await dialog.getByRole("button", { name: "Save" }).click();
  await page.getByRole("row").filter({ hasText: "pump" }).filter({ hasText: "site=north" }).filter({ hasText: "2099" }).waitFor();

  await visit(page, "access?part=rules");
  await page.getByRole("button", { name: "Add rules" }).click();
  await dialog.getByLabel("User name").fill("pump");
  await dialog.getByLabel("Topic", { exact: true }).fill("pumps/${username}/#");
  await dialog.getByRole("button", { name: "Save" }).click();
  await page.getByText("pumps/${username}/#").waitFor();

  const pump = await mqttClient(client);
  const allowed = await pump.publishAsync("pumps/pump/level", "7", { qos: 1 });
  assert.ok([0, 16].includes(allowed?.reasonCode ?? 0), "the rule allows it");
  await assert.rejects(pump.publishAsync("pumps/other/level", "7", { qos: 1 }), "nothing allows that");

  await visit(page, "access?part=users");
  await page.getByRole("button", { name: "Import" }).click();
  await dialog.getByLabel("A file of CSV or JSON", { exact: false }).setInputFiles({
    name: "users.csv", mimeType: "text/csv", buffer: Buffer.from("user_id,password,is_superuser\nvalve,steam,true\n"),
  });
  await dialog.getByRole("button", { name: "Import" }).click();
  await page.getByRole("row").filter({ hasText: "valve" }).getByText("Superuser").waitFor();
  await assert.rejects(mqttClient({ clientId: "valve-1", username: "valve", password: "water" }), "that is not its password");
  const valve = await mqttClient({ clientId: "valve-1", username: "valve", password: "steam" });
  await valve.publishAsync("pumps/other/level", "7", { qos: 1 });

  await visit(page, "access?part=explain");
  await page.getByLabel("Client id").fill("pump-1");
  await page.getByLabel("User name").fill("pump");
  await page.getByLabel("Topic", { exact: true }).fill("pumps/other/level");
  await page.getByRole("button", { name: "Ask" }).click();
  await page.getByText("Refused", { exact: true }).waitFor();
  await page.getByLabel("Topic", { exact: true }).fill("pumps/pump/level");
  await page.getByRole("button", { name: "Ask" }).click();
  await page.getByText("Allowed", { exact: true }).waitFor();
  page.check_clean();
});
