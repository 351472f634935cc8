// Who is asked is put into order on the page: users come in by it, a service is made, moved, changed, taken out and deleted, and a refusal is told in Chinese.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";

import { api, main, mqttClient, open, signIn, token, visit } from "./harness.js";

const pump = { clientId: "pump-1", username: "pump", password: "water" };
const guest = { clientId: "guest", username: "guest" };

/** A service that lets in who is called so, and counts how often it was asked. */
async function service() {
  const told = { asked: 0 };
  const server = createServer((request, response) => {
    const { searchParams } = new URL(request.url, "http://service");
    told.asked += 1;
    response.setHeader("Content-Type", "application/json");
    response.end(JSON.stringify({ result: searchParams.get("who") === "valve" ? "allow" : "ignore" }));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  told.url = `http://127.0.0.1:${server.address().port}/who`;
  told.close = () => server.close();
  return told;
}

const setting = async (key) => (await api("GET", "/configs", undefined, await token())).json[key];
const asked = async () => (await setting("access.authenticators")).value;

await main(async (browser) => {
  const page = await open(browser, { allowed: [/status of (400|404).*\/(configs|authentication|authorization)/] });
  await signIn(page);
  const first = await mqttClient(guest);
  await visit(page, "access");
  const dialog = page.getByRole("dialog");
  const table = page.getByRole("region", { name: "Who is asked when a client connects" });
  const names = () => table.locator("tbody td[data-label=Name]").allInnerTexts();
  const add = () => page.getByRole("button", { name: "Add an authenticator" }).click();

  // Users are asked, after a warning, from the next connection on; who is there stays.
  await page.getByText("Nobody is asked: everybody may connect").waitFor();
  await add();
  await dialog.getByLabel("What is asked").selectOption("users");
  await dialog.getByRole("button", { name: "Add", exact: true }).click();
  await page.getByRole("dialog", { name: "Ask who connects?" }).getByRole("button", { name: "Ask them" }).click();
  await table.getByText("Built-in database").waitFor();
  await table.getByText("Asked", { exact: true }).waitFor();
  assert.equal((await setting("access.authenticators")).pending, false);
  await assert.rejects(mqttClient({ ...guest, clientId: "guest-2" }), "nobody knows it");
  await visit(page, "access?part=users");
  await page.getByRole("button", { name: "Add a user" }).click();
  await dialog.getByLabel("User", { exact: true }).fill("pump");
  await dialog.getByLabel("Password").fill("water");
  await dialog.getByRole("button", { name: "Create" }).click();
  await page.getByRole("row").filter({ hasText: "pump" }).waitFor();
  await mqttClient(pump);
  assert.ok(first.connected, "it came before anybody was asked");

  // A service is made with what it needs: what is wrong is told beside its field.
  const web = await service();
  await visit(page, "access");
  await add();
  await dialog.getByLabel("What is asked").selectOption({ label: "New: Web server" });
  await dialog.getByLabel("Name", { exact: true }).fill("plant");
  await dialog.getByLabel("url", { exact: true }).fill("nowhere");
  assert.equal(await dialog.getByLabel("authorization", { exact: true }).getAttribute("type"), "password");
  await dialog.getByRole("button", { name: "Add", exact: true }).click();
  await dialog.getByRole("alert").waitFor();
  assert.deepEqual(await asked(), ["users"], "nothing has changed");
  await dialog.getByLabel("url", { exact: true }).fill(web.url);
  await dialog.getByLabel("method", { exact: true }).selectOption("get");
  await dialog.getByLabel("fields", { exact: true }).fill('{"who": "${username}"}');
  await dialog.getByRole("button", { name: "Add", exact: true }).click();
  await table.getByText("http.plant").waitFor();
  assert.deepEqual(await asked(), ["users", "http.plant"]);
  await mqttClient({ clientId: "valve-1", username: "valve", password: "any" });
  assert.equal(web.asked, 1);

  // By the keyboard alone: the row goes up, and the focus stays with it.
  await page.getByRole("button", { name: "Move up: http.plant" }).focus();
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.activeElement?.getAttribute("aria-label") === "Move down: http.plant");
  assert.deepEqual(await names(), ["http.plant", "users"]);
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.activeElement?.getAttribute("aria-label") === "Move up: http.plant");
  assert.deepEqual(await asked(), ["users", "http.plant"]);

  // It is changed; what is wrong is told in Chinese, and the gateway's own words below.
  await table.getByRole("button", { name: "http.plant", exact: true }).click();
  await dialog.getByLabel("connections", { exact: false }).first().waitFor({ state: "attached" });
  await dialog.getByText("Limits, encryption and the like").click();
  await dialog.getByLabel("connections", { exact: true }).fill("2");
  await dialog.getByRole("button", { name: "Save" }).click();
  await dialog.waitFor({ state: "detached" });
  assert.equal((await setting("access.http.plant.connections")).value, 2);
  await page.getByRole("button", { name: "中文" }).click();
  await table.waitFor({ state: "detached" });
  const chinese = page.getByRole("region", { name: "客户端连接时询问谁" });
  await chinese.getByRole("button", { name: "http.plant", exact: true }).click();
  await dialog.getByLabel("url", { exact: true }).fill("nowhere");
  await dialog.getByRole("button", { name: "保存" }).click();
  await dialog.getByRole("alert").getByText(/^配置不被接受：.*BAD_CONFIG_SCHEMA/s).waitFor();
  await dialog.locator(".field.wrong").getByText(/^配置不被接受：/).waitFor();
  await dialog.getByRole("button", { name: "取消" }).click();
  assert.equal((await setting("access.http.plant.url")).value, web.url);

  // Taken out it is asked no more; what was made here is deleted here.
  await chinese.getByRole("button", { name: "移出: http.plant" }).click();
  await chinese.getByText("http.plant").waitFor({ state: "detached" });
  const before = web.asked;
  await assert.rejects(mqttClient({ clientId: "valve-2", username: "valve", password: "any" }), "users do not know it");
  assert.equal(web.asked, before);
  await page.getByRole("button", { name: "删除: http.plant" }).click();
  await page.getByRole("dialog", { name: "删除 http.plant？" }).getByRole("button", { name: "删除" }).click();
  await page.getByText("http.plant").waitFor({ state: "detached" });
  assert.equal(await setting("access.http.plant.url"), undefined);
  web.close();

  // Without the last everybody comes in, which the page says first.
  await chinese.getByRole("button", { name: "移出: users" }).click();
  await page.getByRole("dialog", { name: "移出最后一个认证器？" }).getByRole("button", { name: "移出" }).click();
  await page.getByText("没有认证器：任何人都可以连接").waitFor();
  await mqttClient({ ...guest, clientId: "guest-3" });
  page.check_clean();
});
