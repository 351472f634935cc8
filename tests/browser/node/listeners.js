// A listener is made on the page and takes clients, is stopped, started, changed, and deleted.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";

import mqtt from "mqtt";

import { main, open, signIn, visit } from "./harness.js";

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

const connect = (port) => mqtt.connectAsync(`mqtt://127.0.0.1:${port}`, { reconnectPeriod: 0, connectTimeout: 20_000 });

await main(async (browser) => {
  const page = await open(browser, { allowed: [/status of 400.*\/listeners/] });
  const port = await freePort();
  await signIn(page);
  await visit(page, "listeners");
  const row = (id) => page.getByRole("row").filter({ hasText: id });
  const dialog = page.getByRole("dialog");
  await row("tcp:default").getByText("Running").waitFor();
  await assert.rejects(connect(port));

  await page.getByRole("button", { name: "Add a listener" }).click();
  await dialog.getByLabel("Name", { exact: true }).fill("plant");
  await dialog.getByLabel("Address").fill("nowhere");
  await dialog.getByRole("button", { name: "Create" }).click();
  await dialog.getByRole("alert").waitFor();
  await dialog.getByLabel("Address").fill(`127.0.0.1:${port}`);
  await dialog.getByRole("button", { name: "Create" }).click();
  await row("tcp:plant").getByText("Running").waitFor();
  const client = await connect(port);
  client.on("error", () => {});
  await row("tcp:plant").getByRole("cell", { name: "1", exact: true }).first().waitFor();

  const gone = once(client, "close");
  await row("tcp:plant").getByRole("button", { name: "Stop: tcp:plant" }).click();
  await dialog.getByRole("button", { name: "Stop" }).click();
  await gone;
  await row("tcp:plant").getByText("Stopped").waitFor();
  await assert.rejects(connect(port), "nobody listens");
  await row("tcp:plant").getByRole("button", { name: "Start: tcp:plant" }).click();
  await row("tcp:plant").getByText("Running").waitFor();
  await (await connect(port)).endAsync(true);

  await row("tcp:plant").getByRole("link", { name: "tcp:plant" }).click();
  await dialog.getByText(`bind = "127.0.0.1:${port}"`).waitFor();
  await dialog.getByRole("button", { name: "Edit" }).click();
  await dialog.getByLabel("Most connections").fill("1");
  await dialog.getByRole("button", { name: "Save" }).click();
  await dialog.getByText("0 / 1").waitFor();
  await (await connect(port)).endAsync(true);
  await dialog.getByRole("button", { name: "Delete" }).click();
  await page.getByRole("dialog", { name: "Delete the listener tcp:plant?" }).getByRole("button", { name: "Delete" }).click();
  await row("tcp:plant").waitFor({ state: "detached" });
  await assert.rejects(connect(port), "nobody listens");

  // What the configuration has is not deleted here.
  await row("tcp:default").getByRole("link", { name: "tcp:default" }).click();
  await dialog.getByText("bind = ", { exact: false }).waitFor();
  assert.equal(await dialog.getByRole("button", { name: "Delete" }).count(), 0);
  page.check_clean();
});
