// A key made on the page lets a program in; who looks sees every page and nothing that it may not use; the audit log has what was done.
import assert from "node:assert/strict";

import { api, main, mqttClient, open, signIn, told, visit } from "./harness.js";

const VIEWER = { username: "night-shift", password: "quite another" };

async function makeKey(page) {
  await visit(page, "accounts?part=keys");
  await page.getByRole("button", { name: "Make a key" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Name", { exact: true }).fill("grafana");
  await dialog.getByLabel("Role").selectOption("viewer");
  await dialog.getByRole("button", { name: "Create" }).click();
  await dialog.getByText("The secret is shown this once", { exact: false }).waitFor();
  const [key, secret] = await dialog.locator("code").allInnerTexts();
  await dialog.getByRole("button", { name: "I have it" }).click();
  const as = { Authorization: `Basic ${Buffer.from(`${key}:${secret}`).toString("base64")}` };
  const ask = async (method, path) => (await fetch(`${told.page}/api/v5${path}`, { method, headers: as })).status;
  assert.equal(await ask("GET", "/clients"), 200);
  assert.equal(await ask("DELETE", "/clients/nobody"), 403);
  const row = page.getByRole("row").filter({ hasText: "grafana" });
  await row.getByRole("button", { name: "Switch off" }).click();
  await row.getByRole("button", { name: "Switch on" }).waitFor();
  assert.equal(await ask("GET", "/clients"), 401);
  await row.getByRole("button", { name: "Delete: grafana" }).click();
  await dialog.getByRole("button", { name: "Delete" }).click();
  await row.waitFor({ state: "detached" });
}

async function makeViewer(page) {
  await visit(page, "accounts");
  await page.getByRole("button", { name: "Add an account" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("User name").fill(VIEWER.username);
  await dialog.getByLabel("Password").fill(VIEWER.password);
  await dialog.getByRole("button", { name: "Create" }).click();
  await page.getByRole("row").filter({ hasText: VIEWER.username }).getByText("Viewer").waitFor();
}

/** What was pressed has been drawn: an address that changed is told to the page before its next frames. */
async function drawn(page) {
  await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(resolve)))));
}

/** Presses what the dialogs have, the topmost first, and closes them. */
async function pressThrough(page) {
  const dialog = page.getByRole("dialog");
  for (await drawn(page); (await dialog.count()) > 0; await drawn(page)) {
    const before = await dialog.count();
    for (const button of await dialog.last().getByRole("button").filter({ hasNotText: /^$/ }).all()) {
      if ((await dialog.count()) === before && (await button.isVisible()) && (await button.isEnabled())) await button.click();
    }
    await drawn(page);
    if ((await dialog.count()) < before) continue;
    await page.keyboard.press("Escape");
    await dialog.nth(before - 1).waitFor({ state: "detached" });
  }
}

/** Presses everything there is to press on the page, one after the other, and in what that opens. */
async function pressAll(page) {
  const buttons = page.locator("#main").getByRole("button");
  const names = [];
  for (let at = 0; at < (await buttons.count()); at += 1) {
    const button = buttons.nth(at);
    if (!(await button.isEnabled())) continue;
    names.push((await button.getAttribute("aria-label")) ?? (await button.innerText()));
    await button.click();
    await pressThrough(page);
  }
  return names;
}

await main(async (browser) => {
  const page = await open(browser);
  await signIn(page);
  await makeKey(page);
  await makeViewer(page);
  await visit(page, "audit");
  for (const wanted of ["POST /api_key", "PUT /api_key/grafana", "DELETE /api_key/grafana", "POST /users"]) {
    await page.getByRole("row").filter({ hasText: wanted }).filter({ hasText: "admin" }).first().waitFor();
  }
  const own = (await api("POST", "/login", { username: "admin", password: told.password })).json.token;
  for (const [path, body] of [
    ["/banned", { as: "clientid", who: "intruder" }],
    ["/mqtt/topic_metrics", { topic: "plant/7/state" }],
    ["/trace", { name: "meter", type: "clientid", clientid: "meter-7" }],
    ["/publish", { topic: "plant/7/state", payload: "72", retain: true }],
  ]) {
    assert.ok((await api("POST", path, body, own)).status < 300, path);
  }
  const meter = await mqttClient({ clientId: "meter-7" });
  await meter.subscribeAsync("plant/7/set");
  await meter.publishAsync("$delayed/3600/plant/7/set", "off", { qos: 1 });

  const looks = await open(browser, { allowed: [/status of 404.*\/(authentication|authorization|data)/] });
  const wishes = [];
  looks.on("request", (request) => {
    if (request.url().includes("/api/v5/") && request.method() !== "GET") wishes.push(`${request.method()} ${new URL(request.url()).pathname}`);
  });
  await signIn(looks, VIEWER.password, undefined, VIEWER.username);
  const pages = await looks.evaluate(() => [...document.querySelectorAll("aside nav a")].map((link) => link.getAttribute("href").slice(2)));
  const pressed = new Set();
  for (const hash of [...pages, "access?part=users", "access?part=rules", "access?part=bans", "accounts?part=keys", "clients/meter-7", "listeners/tcp:default", "retained/plant%2F7%2Fstate"]) {
    await visit(looks, hash);
    await looks.locator("h1").first().waitFor();
    await looks.waitForFunction(() => !document.querySelector(".skeleton"));
    assert.equal(await looks.locator("[aria-disabled=true]").count(), 0, `nothing on ${hash} is shown that is off`);
    if (await looks.getByRole("dialog").count()) {
      for (const name of ["Disconnect", "Subscribe", "Delete", "Edit", "Stop"]) {
        assert.equal(await looks.getByRole("dialog").getByRole("button", { name }).count(), 0, `${name} on ${hash}`);
      }
      await looks.keyboard.press("Escape");
      continue;
    }
    for (const name of await pressAll(looks)) pressed.add(name);
  }
  assert.ok(pressed.has("Refresh") && pressed.size > 10, [...pressed].join());
  assert.deepEqual(wishes, ["POST /api/v5/login"], "a viewer finds nothing to press that the API would refuse");
  page.check_clean();
  looks.check_clean();
});
