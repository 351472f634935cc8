// mqtt.js in Node: commands come on standard input, reports go to standard output, one JSON object a line.
"use strict";

const fs = require("fs");
const readline = require("readline");
const mqtt = require("mqtt");
const { makeAgent } = require("./agent.js");

const environment = { Buffer, ca: (path) => fs.readFileSync(path) };
const handle = makeAgent(mqtt, environment, (report) => process.stdout.write(JSON.stringify(report) + "\n"));

readline
  .createInterface({ input: process.stdin })
  .on("line", (line) => handle(JSON.parse(line)))
  .on("close", () => process.exit(0));
