// What the scripts share: a browser that tells what went wrong in it, and somebody who is signed in.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";

import mqtt from "mqtt";
import { chromium } from "playwright-core";

export const told = JSON.parse(process.env.THINGWAY_BROWSER);
/** How long anything may take on a machine that has other work. */
export const PATIENCE_MS = 60_000;

const ends = [];

/** Runs the script; whatever it has started ends with it. */
export async function main(script) {
  const browser = await chromium.launch({ executablePath: told.chromium, args: ["--no-sandbox", "--disable-gpu"] });
  try {
    await script(browser);
  } finally {
    for (const end of ends.reverse()) await end();
    await browser.close();
  }
}

/** A page of its own, which may not fail, complain, or ask any other host. */
export async function open(browser, options = {}) {
  const { allowed = [], ...context } = options;
  const surroundings = await browser.newContext({ viewport: { width: 1360, height: 900 }, locale: "en-GB", reducedMotion: "reduce", ...context });
  const page = await surroundings.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const wrong = [];
  page.on("pageerror", (error) => wrong.push(`exception: ${error.stack ?? error}`));
  page.on("console", (message) => {
    if (!["error", "warning"].includes(message.type())) return;
    // A browser writes every answer that is no success on its console: those are the API's, and the page shows them.
    const text = `${message.text()} ${message.location().url}`;
    if (!allowed.some((pattern) => pattern.test(text))) wrong.push(`console: ${text}`);
  });
  const hosts = new Set(["127.0.0.1"]);
  const seen = (url) => {
    const { protocol, hostname } = new URL(url);
    if (!["data:", "blob:"].includes(protocol) && !hosts.has(hostname)) wrong.push(`asks ${url}`);
  };
  page.on("request", (request) => seen(request.url()));
  page.on("websocket", (socket) => seen(socket.url()));
  page.check_clean = () => assert.deepEqual(wrong, [], "the page is silent, and asks nobody else");
  page.close_all = () => surroundings.close();
  return page;
}

export async function signIn(page, password = told.password, labels = { user: "User name", password: "Password", action: "Sign in" }, username = "admin") {
  await page.goto(told.page);
  await page.getByLabel(labels.user, { exact: true }).fill(username);
  await page.getByLabel(labels.password, { exact: true }).fill(password);
  await page.getByRole("button", { name: labels.action, exact: true }).click();
  await page.getByRole("heading", { level: 1 }).waitFor();
  await page.locator("#main").waitFor();
}

/** What the page holds, once what can be collected is: bytes of its heap, and everything that was not let go of. */
export async function inspected(page) {
  const inspector = await page.context().newCDPSession(page);
  await inspector.send("Performance.enable");
  return async () => {
    await inspector.send("HeapProfiler.collectGarbage");
    const { metrics } = await inspector.send("Performance.getMetrics");
    const { Nodes: nodes, JSEventListeners: listeners, JSHeapUsedSize: heap } = Object.fromEntries(metrics.map(({ name, value }) => [name, value]));
    return { heap, nodes, listeners };
  };
}

/** Goes to a page by its part of the address. */
export async function visit(page, hash) {
  await page.evaluate((to) => (location.hash = to), `#/${hash}`);
}

/** A client of MQTT, as it is once it is connected. */
export async function mqttClient(options) {
  const client = await mqtt.connectAsync(told.mqtt, { protocolVersion: 5, reconnectPeriod: 0, ...options });
  client.on("error", () => {});
  ends.push(() => client.endAsync(true));
  return client;
}

/** A client of the gateway's own command line, for the protocols that Node has no client for. */
export function thingway(...words) {
  const child = spawn(told.thingway, words, { stdio: ["ignore", "pipe", "inherit"] });
  ends.push(() => child.kill());
  return child;
}

/** Asks the API as an administrator would. */
export async function api(method, path, body, token) {
  const answer = await fetch(`${told.page}/api/v5${path}`, {
    method,
    headers: { "Content-Type": "application/json", ...(token && { Authorization: `Bearer ${token}` }) },
    body: body && JSON.stringify(body),
  });
  const text = await answer.text();
  return { status: answer.status, json: text ? JSON.parse(text) : null };
}

export async function token() {
  const { json } = await api("POST", "/login", { username: "admin", password: told.password });
  assert.ok(json.token, JSON.stringify(json));
  return json.token;
}
