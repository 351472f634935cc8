#!/usr/bin/env node
// How soon the management page can be used: the sign-in form, and the overview with its numbers and charts, each loaded anew with nothing in the browser's
// cache, and again with what the first load left there.
//
//   cargo build --release && npm ci --prefix tests/browser/node --ignore-scripts
//   node benches/page.mjs [target/release/thingway] [rounds]
//
// Prints milliseconds from the beginning of the navigation until what is waited for is drawn and takes input, the median and the most of the rounds, at the
// machine's speed and with the page's processor slowed down to a quarter.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const { chromium } = createRequire(new URL("../tests/browser/node/package.json", import.meta.url))("playwright-core");
const [program = "target/release/thingway", rounds = "15"] = process.argv.slice(2);
const PASSWORD = "correct horse";

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Records when all of these are there: the time since the navigation began, at the frame after that in which they were. */
function watch(selectors) {
  const look = () => {
    const found = selectors.map((selector) => document.querySelector(selector));
    if (found.every((element) => element && element.getBoundingClientRect().width > 0)) {
      requestAnimationFrame(() => setTimeout(() => (globalThis.usableAt = performance.now())));
    } else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}

async function timed(page, act, selectors) {
  await page.addInitScript(`(${watch})(${JSON.stringify(selectors)})`);
  await act();
  return (await page.waitForFunction(() => globalThis.usableAt)).jsonValue();
}

const told = (name, times) => {
  const sorted = times.toSorted((a, b) => a - b);
  const text = (value) => value.toFixed(0).padStart(8);
  console.log(`  ${name.padEnd(56)}${text(sorted[Math.floor(sorted.length / 2)])}${text(sorted.at(-1))}`);
};

const folder = mkdtempSync(join(tmpdir(), "thingway-page-"));
const [page_port, mqtt_port] = [await freePort(), await freePort()];
const listeners = ["tls", "ws", "wss", "quic"].map((kind) => `[listeners.${kind}.default]\nenable = false\n`).join("");
const udp = ["mqttsn", "coap"].map((name) => `[listeners.udp.${name}]\nenable = false\n`).join("");
writeFileSync(
  join(folder, "thingway.toml"),
  `[gateway]\ndata_dir = "${folder}/data"\n[dashboard]\nbind = "127.0.0.1:${page_port}"\nfirst_password = "${PASSWORD}"\n[dashboard.tls]\nenable = false\n[listeners.tcp.default]\nbind = "127.0.0.1:${mqtt_port}"\n${listeners}${udp}`,
);
const gateway = spawn(program, ["--config", join(folder, "thingway.toml")], { stdio: "ignore" });
const gone = new Promise((resolve) => gateway.on("exit", resolve));
const address = `http://127.0.0.1:${page_port}`;
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
try {
  const until = Date.now() + 30_000;
  while (!(await fetch(`${address}/status`).catch(() => null))?.ok) {
    if (Date.now() > until) throw new Error("the gateway does not answer");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const login = await fetch(`${address}/api/v5/login`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ username: "admin", password: PASSWORD }) });
  if (!login.ok) throw new Error(await login.text());

  const form = ["input[type=password]", "button[type=submit]"];
  const overview = [".tile strong", ".card canvas, .card svg", "nav a"];
  console.log(`  ${"ms".padEnd(56)}${"median".padStart(8)}${"most".padStart(8)}`);
  for (const [speed, rate] of [["", 1], [", a quarter of the speed", 4]]) {
    const times = { form: [], cold: [], warm: [] };
    for (let round = 0; round < Number(rounds); round += 1) {
      const context = await browser.newContext({ locale: "en-GB", viewport: { width: 1360, height: 900 } });
      const open = async () => {
        const page = await context.newPage();
        await (await context.newCDPSession(page)).send("Emulation.setCPUThrottlingRate", { rate });
        return page;
      };
      const first = await open();
      times.form.push(await timed(first, () => first.goto(address), form));
      await first.locator("input").first().fill("admin");
      await first.locator("input[type=password]").fill(PASSWORD);
      await first.locator("button[type=submit]").click();
      await first.locator(".tile strong").first().waitFor();
      const session = await first.evaluate(() => JSON.stringify(Object.entries(sessionStorage)));
      const signedIn = `for (const [name, value] of ${session}) sessionStorage.setItem(name, value);`;
      await first.close();
      const warm = await open();
      await warm.addInitScript(signedIn);
      times.warm.push(await timed(warm, () => warm.goto(address), overview));
      await context.close();

      const fresh = await browser.newContext({ locale: "en-GB", viewport: { width: 1360, height: 900 } });
      const cold = await fresh.newPage();
      await (await fresh.newCDPSession(cold)).send("Emulation.setCPUThrottlingRate", { rate });
      await cold.addInitScript(signedIn);
      times.cold.push(await timed(cold, () => cold.goto(address), overview));
      await fresh.close();
    }
    told(`sign-in form, nothing cached${speed}`, times.form);
    told(`overview, nothing cached${speed}`, times.cold);
    told(`overview, cached${speed}`, times.warm);
  }
} finally {
  await browser.close();
  gateway.kill();
  await gone;
  rmSync(folder, { recursive: true, force: true });
}
