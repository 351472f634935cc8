// Fails when what a browser loads, compressed, is more than the page may weigh.
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

const BYTES_MAX = 150 * 1024;
const folder = process.env.THINGWAY_DASHBOARD_OUT ?? "dist";
const files = (path) =>
  statSync(path).isDirectory() ? readdirSync(path).flatMap((name) => files(join(path, name))) : [path];

let total = 0;
for (const file of files(folder)) {
  const bytes = gzipSync(readFileSync(file), { level: 9 }).length;
  total += bytes;
  console.log(String(bytes).padStart(8), file);
}
console.log(String(total).padStart(8), `of ${BYTES_MAX} bytes`);
if (total === 0 || total > BYTES_MAX) {
  console.error(total === 0 ? "nothing is built" : "the page is too large");
  process.exit(1);
}
