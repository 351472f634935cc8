// Every page in both themes and languages and on a phone: nothing serious for axe, nothing wider than the screen, nothing on the console.
// With THINGWAY_SCREENSHOTS pictures of them are kept.
import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

import { api, main, mqttClient, open, signIn, thingway, token, told, visit } from "./harness.js";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const MORE = ["access?part=users", "access?part=rules", "access?part=bans", "access?part=explain", "accounts?part=keys", "clients/meter-7", `clients/wide-${"x".repeat(100)}`, "listeners/tcp:default", "retained/plant%2F7%2Fstate", "trace/meter", "settings?section=listeners.udp.coap"];
const BYTES_MAX = 150 * 1024;
const LABELS = {
  en: { user: "User name", password: "Password", action: "Sign in" },
  zh: { user: "用户名", password: "密码", action: "登录" },
};

/** Something to be seen on the pages. */
async function fill() {
  const own = await token();
  const meter = await mqttClient({ clientId: "meter-7", username: "plant", will: { topic: "plant/7/gone", payload: Buffer.from("gone") } });
  await meter.subscribeAsync(["plant/+/set", "$share/workers/jobs/#", "plant/7/config"], { qos: 1 });
  const long = "x".repeat(100);
  const wide = await mqttClient({ clientId: `wide-${long}`, username: `user-${long}` });
  await wide.subscribeAsync(`wide/${long}/#`, { qos: 1 });
  await wide.publishAsync(`wide/${long}/state`, long, { retain: true, qos: 1 });
  await wide.publishAsync(`$delayed/3600/wide/${long}`, long, { qos: 1 });
  thingway("sub", "--url", told.mqttsn, "-i", "valve-3", "-t", "plant/#", "-q", "1");
  await meter.publishAsync("plant/7/state", JSON.stringify({ level: 71.5, pump: "on" }), { retain: true, qos: 1 });
  await meter.publishAsync("plant/8/state", "ok", { retain: true, qos: 1 });
  await meter.publishAsync("$delayed/3600/plant/7/set", "off", { qos: 1 });
  for (const [method, path, body] of [
    ["POST", "/banned", { as: "clientid", who: "intruder", reason: "guesses passwords" }],
    ["POST", "/mqtt/topic_metrics", { topic: "plant/7/state" }],
    ["POST", "/banned", { as: "username", who: `guest-${long}`, reason: long, until: "2099-01-01T00:00:00Z" }],
    ["POST", "/mqtt/topic_metrics", { topic: `wide/${long}` }],
    ["POST", "/trace", { name: "meter", type: "clientid", clientid: "meter-7" }],
    ["POST", "/api_key", { name: "grafana", role: "viewer", desc: "reads metrics", enable: true }],
    ["PUT", "/configs", { [`access.http.${"x".repeat(64)}.url`]: "http://127.0.0.1:9/who" }],
    ["POST", "/users", { username: "night-shift", password: "quite another", role: "viewer", description: "looks" }],
  ]) {
    const answer = await api(method, path, body, own);
    assert.ok(answer.status < 300, `${method} ${path}: ${JSON.stringify(answer)}`);
  }
  await meter.publishAsync("plant/7/state", "{\"level\":72}", { retain: true, qos: 1 });
}

const REFUSED = { status: 403, contentType: "application/json", body: JSON.stringify({ code: "FORBIDDEN", message: "a viewer may only look" }) };

/** What lists are when the gateway refuses everything, and when it cannot be reached: each says so, in Chinese. */
async function failing(page, check) {
  for (const [what, answer, expected] of [
    ["refused", (route) => route.fulfill(REFUSED), "当前角色无权执行此操作"],
    ["down", (route) => route.abort(), "无法连接网关"],
  ]) {
    for (const hash of ["overview", "clients", "retained", "access", "listeners", "settings", "audit"]) {
      await visit(page, "playground");
      await settled(page);
      await page.route("**/api/v5/**", answer);
      await visit(page, hash);
      await page.getByText(expected).first().waitFor();
      await settled(page);
      await check(`${what}-${hash}`);
      await page.unroute("**/api/v5/**");
    }
  }
}

async function settled(page) {
  await page.locator("h1").first().waitFor();
  await page.waitForFunction(() => !document.querySelector(".skeleton"));
  await page.evaluate(() => document.fonts.ready);
}

await main(async (browser) => {
  await fill();
  const problems = [];
  let loaded = 0;
  for (const [name, context] of Object.entries({
    "en-light": { locale: "en-GB", colorScheme: "light" },
    "en-dark": { locale: "en-GB", colorScheme: "dark" },
    "zh-light": { locale: "zh-CN", colorScheme: "light" },
    "zh-dark": { locale: "zh-CN", colorScheme: "dark" },
    "en-phone": { locale: "en-GB", colorScheme: "light", viewport: { width: 390, height: 844 } },
    "zh-phone": { locale: "zh-CN", colorScheme: "dark", viewport: { width: 390, height: 844 } },
  })) {
    const page = await open(browser, { ...context, bypassCSP: true, allowed: [/status of 404.*\/(authentication|authorization)/] });
    const sizes = new Map();
    page.on("response", async (response) => {
      if (response.url().includes("/api/") || sizes.has(response.url())) return;
      sizes.set(response.url(), response.body().then((body) => gzipSync(body).length, () => 0));
    });
    const check = async (what) => {
      const width = await page.evaluate(() => document.scrollingElement.scrollWidth - innerWidth);
      if (width > 0) problems.push(`${what} in ${name}: ${width} px wider than the screen`);
      if (!(await page.evaluate(() => "axe" in globalThis))) await page.evaluate(axe);
      const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
      for (const { id, impact, nodes } of found.violations) {
        if (["serious", "critical"].includes(impact)) problems.push(`${what} in ${name}: ${id}: ${nodes.map((node) => `${node.html.slice(0, 200)} ${node.any[0]?.message ?? ""}`).slice(0, 3).join(" | ")}`);
      }
      if (told.screenshots) {
        mkdirSync(told.screenshots, { recursive: true });
        await page.screenshot({ path: join(told.screenshots, `${what.replace(/[^a-z0-9-]+/g, "-")}-${name}.png`), fullPage: true });
      }
    };
    const language = name.slice(0, 2);
    await page.goto(told.page);
    await page.getByLabel(LABELS[language].user).waitFor();
    await check("sign-in");
    await signIn(page, told.password, LABELS[language]);
    assert.equal(await page.evaluate(() => document.documentElement.lang), language === "zh" ? "zh-CN" : "en");
    const pages = await page.evaluate(() => [...document.querySelectorAll(".sidebar nav a, aside nav a")].map((link) => link.getAttribute("href").slice(2)));
    assert.ok(pages.length >= 15, `${pages}`);
    for (const hash of [...pages, ...MORE]) {
      await visit(page, hash);
      await settled(page);
      if (language === "zh") assert.match(await page.locator("#main").innerText(), /[\u4e00-\u9fff]/, hash);
      await check(hash);
    }
    loaded = Math.max(loaded, (await Promise.all(sizes.values())).reduce((sum, bytes) => sum + bytes, 0));
    page.check_clean();
    if (name === "zh-phone") await failing(page, check);
    await page.close_all();
  }
  assert.deepEqual(problems, []);
  assert.ok(loaded > 0 && loaded <= BYTES_MAX, `${loaded} bytes of the page are loaded`);
  console.log(`${loaded} bytes, compressed`);
});
