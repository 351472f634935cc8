// mqtt.js in headless Chromium: serves a page with the browser bundle and the agent, and passes lines between the page and the
// test driver through a WebSocket of its own.
"use strict";

const { spawn } = require("child_process");
const crypto = require("crypto");
const fs = require("fs");
const http = require("http");
const os = require("os");
const path = require("path");
const readline = require("readline");
const { WebSocketServer } = require("ws");

const [chromium, certificate] = process.argv.slice(2);

const page = `<!doctype html><meta charset="utf-8"><title>agent</title>
<script src="/mqtt.min.js"></script>
<script src="/agent.js"></script>
<script>
  const control = new WebSocket("ws://" + location.host + "/control");
  const send = (report) => control.send(JSON.stringify(report));
  addEventListener("error", (event) => send({ report: "error", message: event.message }));
  const bytes = { from: (text) => Uint8Array.from(text.match(/../g) || [], (digits) => parseInt(digits, 16)) };
  const handle = makeAgent(mqtt, { Buffer: bytes, ca: () => undefined }, send);
  control.onmessage = (event) => handle(JSON.parse(event.data));
</script>`;

const files = {
  "/": ["text/html", () => page],
  "/mqtt.min.js": ["text/javascript", () => fs.readFileSync(path.join(__dirname, "node_modules/mqtt/dist/mqtt.min.js"))],
  "/agent.js": ["text/javascript", () => fs.readFileSync(path.join(__dirname, "agent.js"))],
};

const server = http.createServer((request, response) => {
  const file = files[request.url];
  if (!file) return response.writeHead(404).end();
  response.writeHead(200, { "Content-Type": file[0] }).end(file[1]());
});

const profile = fs.mkdtempSync(path.join(os.tmpdir(), "thingway-chromium-"));
let browser;

// Once Chromium is gone: until then it writes to its profile.
function finish(code) {
  const leave = () => {
    fs.rmSync(profile, { recursive: true, force: true, maxRetries: 20 });
    process.exit(code);
  };
  if (!browser || browser.exitCode !== null || browser.signalCode !== null) return leave();
  browser.removeAllListeners("exit").once("exit", leave);
  process.kill(-browser.pid, "SIGKILL");
}

// Chromium trusts exactly the test's own key, by its hash, and verifies nothing else less.
function trustedKey(pem) {
  const key = new crypto.X509Certificate(fs.readFileSync(pem)).publicKey.export({ type: "spki", format: "der" });
  return crypto.createHash("sha256").update(key).digest("base64");
}

const lines = readline.createInterface({ input: process.stdin });
const waiting = [];
let socket;

process.on("uncaughtException", (error) => {
  console.error(error.stack);
  finish(1);
});

lines.on("line", (line) => (socket ? socket.send(line) : waiting.push(line)));
lines.on("close", () => finish(0));

new WebSocketServer({ server, path: "/control", maxPayload: 16 << 20 }).on("connection", (control) => {
  socket = control;
  for (const line of waiting.splice(0)) control.send(line);
  control.on("message", (data) => process.stdout.write(data.toString() + "\n"));
  control.on("close", () => finish(1));
});

server.listen(0, "127.0.0.1", () => {
  const address = `http://127.0.0.1:${server.address().port}/`;
  const flags = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-proxy-server",
    `--user-data-dir=${profile}`,
    `--ignore-certificate-errors-spki-list=${trustedKey(certificate)}`,
  ];
  // Chromium leaves when the pipes of its debugger close, however this process ends.
  browser = spawn(chromium, [...flags, "--remote-debugging-pipe", address], {
    stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"],
    detached: true, // a process group, to end its helpers with it
  });
  browser.stdio[4].resume();
  browser.on("exit", () => finish(1));
  browser.on("error", (error) => {
    console.error(String(error));
    finish(1);
  });
});
