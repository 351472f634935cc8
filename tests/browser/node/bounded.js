// The overview, open for a day's worth of samples: what it keeps and draws stays bounded.
import assert from "node:assert/strict";

import { main, open, signIn } from "./harness.js";

const SECONDS = 86_400;
/** What is between the first count and the last may be garbage that has not been collected. */
const GROWTH_BYTES_MAX = 8 << 20;

/** A stream that tells a day's samples as fast as the page takes them, and stays open. */
function fakeStream(seconds) {
  const real = globalThis.fetch;
  globalThis.samplesTold = 0;
  globalThis.fetch = (input, init) => {
    if (!String(input).includes("/api/v5/live")) return real(input, init);
    const encoder = new TextEncoder();
    const start = Date.now();
    let second = 0;
    const body = new ReadableStream({
      async pull(stream) {
        if (globalThis.samplesTold >= globalThis.samplesWanted) {
          await new Promise((resolve) => (globalThis.tellMore = resolve));
        }
        let text = "";
        for (let at = 0; at < 200 && second < seconds; at += 1, second += 1) {
          const sample = {
            time_stamp: start + second * 1000, received_msg_rate: second % 1000, sent_msg_rate: second % 700, dropped_msg_rate: 0, received_bytes_rate: 1, sent_bytes_rate: 1,
            connections: 10, live_connections: 10, topics: 1, subscriptions: 1, shared_subscriptions: 0, retained_msg_count: 0, node_uptime: second, memory_used: 1e7 + second, protocols: { mqtt: 5, coap: 5 },
          };
          text += `event: monitor\ndata: ${JSON.stringify(sample)}\n\n`;
        }
        globalThis.samplesTold = second;
        stream.enqueue(encoder.encode(text));
        await new Promise((resolve) => setTimeout(resolve, 0));
      },
    });
    init?.signal?.addEventListener("abort", () => body.cancel().catch(() => {}));
    return Promise.resolve(new Response(body, { headers: { "Content-Type": "text/event-stream" } }));
  };
}

await main(async (browser) => {
  const page = await open(browser);
  await page.addInitScript(`globalThis.samplesWanted = 2000; (${fakeStream})(${SECONDS})`);
  await signIn(page);
  const inspector = await page.context().newCDPSession(page);
  const count = async () => {
    await inspector.send("HeapProfiler.collectGarbage");
    const { usedSize } = await inspector.send("Runtime.getHeapUsage");
    const nodes = await page.evaluate(() => document.querySelectorAll("*").length);
    return { usedSize, nodes };
  };
  const told = (n) => page.waitForFunction((wanted) => globalThis.samplesTold >= wanted, n, { polling: 100 });
  await told(2000);
  const before = await count();
  await page.evaluate((n) => {
    globalThis.samplesWanted = n;
    globalThis.tellMore?.();
  }, SECONDS);
  await told(SECONDS);
  const after = await count();
  assert.ok(after.nodes <= before.nodes + 50, `elements: ${before.nodes}, then ${after.nodes}`);
  assert.ok(after.usedSize < before.usedSize + GROWTH_BYTES_MAX, `heap: ${before.usedSize}, then ${after.usedSize}`);
  console.log(JSON.stringify({ before, after }));
  page.check_clean();
});
