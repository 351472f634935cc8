// Every page is opened twenty times: what it has opened and drawn goes when it is left.
import assert from "node:assert/strict";

import { inspected, main, mqttClient, open, PATIENCE_MS, signIn, visit } from "./harness.js";

const TIMES = 20;
/** Rounds after which everything that is made once is there: parts of the page, formats of numbers, compiled code. */
const WARM = 4;
const HEAP_GROWTH_MAX = 3 << 20;
const NODES_GROWTH_MAX = 200;
const LISTENERS_GROWTH_MAX = 20;

async function goThrough({ all, patienceMs }) {
  const until = async (what, holds) => {
    const deadline = performance.now() + patienceMs;
    while (!holds()) {
      if (performance.now() > deadline) throw new Error(`${what} does not come`);
      await new Promise(requestAnimationFrame);
    }
  };
  const button = (name) => [...document.querySelectorAll("#main button")].find((one) => one.textContent === name && !one.disabled);
  for (const hash of all) {
    location.hash = `#/${hash}`;
    const link = `aside nav a[aria-current=page][href="#/${hash.split("/")[0]}"]`;
    await until(hash, () => document.querySelector(link) && document.querySelector("#main h1") && !document.querySelector(".skeleton"));
    if (hash === "topics") {
      await until("the listener's address", () => button("Watch"));
      button("Watch").click();
      await until("the connection", () => [...document.querySelectorAll("#main [role=status]")].some((one) => one.textContent.startsWith("Connected as")));
    }
  }
}

await main(async (browser) => {
  const page = await open(browser);
  const streams = new Set();
  const sockets = new Set();
  page.on("request", (request) => request.url().includes("/api/v5/live") && streams.add(request));
  page.on("requestfinished", (request) => streams.delete(request));
  page.on("requestfailed", (request) => streams.delete(request));
  page.on("websocket", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  const meter = await mqttClient({ clientId: "meter-7" });
  await meter.subscribeAsync("plant/#");
  await meter.publishAsync("plant/7/state", "72", { qos: 1, retain: true });
  await signIn(page);
  const inspect = await inspected(page);
  const pages = await page.evaluate(() => [...document.querySelectorAll("aside nav a")].map((link) => link.getAttribute("href").slice(2)));
  assert.ok(pages.length >= 15);

  // A round is gone through in the page itself, which takes half the time.
  const round = () => page.evaluate(goThrough, { all: [...pages, "clients/meter-7"], patienceMs: PATIENCE_MS });
  for (let turn = 0; turn < WARM; turn += 1) await round();
  const overview = async () => {
    await visit(page, "overview");
    await page.waitForFunction(() => document.querySelectorAll(".plot canvas").length === 4);
  };
  await overview();
  const before = await inspect();
  for (let turn = WARM; turn < TIMES; turn += 1) await round();
  await overview();
  const after = await inspect();
  console.log(JSON.stringify({ before, after, streams: streams.size, sockets: sockets.size }));
  assert.equal(streams.size, 1, "one stream serves all pages");
  assert.equal(sockets.size, 0, "a page that is left has no connection of its own");
  assert.ok(after.heap < before.heap + HEAP_GROWTH_MAX, `heap: ${before.heap}, then ${after.heap}`);
  assert.ok(after.nodes < before.nodes + NODES_GROWTH_MAX, `nodes: ${before.nodes}, then ${after.nodes}`);
  assert.ok(after.listeners < before.listeners + LISTENERS_GROWTH_MAX, `listeners: ${before.listeners}, then ${after.listeners}`);
  const closes = page.waitForEvent("requestfailed", (request) => request.url().includes("/api/v5/live"));
  await page.getByRole("button", { name: "Sign out" }).click();
  await closes;
  await page.getByLabel("User name").waitFor();
  page.check_clean();
});
