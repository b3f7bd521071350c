// Checks senders by SPF with mailauth over a table of records. Argument: a JSON
// file with "zone" and "cases". Prints the results as JSON: result and explanation.

"use strict";

const { readFileSync } = require("node:fs");
const { spf } = require("mailauth/lib/spf");

const { zone, cases } = JSON.parse(readFileSync(process.argv[2], "utf8"));

async function resolver(name, type) {
  const node = zone[name.toLowerCase().replace(/\.$/, "")];
  const records = node?.[type] ?? [];
  if (records === "failed") fail("ETIMEOUT");
  if (records.length === 0) fail(node === undefined ? "ENOTFOUND" : "ENODATA");
  if (type === "TXT") return records.map((text) => [text]);
  if (type !== "MX") return await records;
  return records.map(({ preference, exchange }) => ({
    priority: preference,
    exchange,
  }));
}

function fail(code) {
  throw Object.assign(new Error(code), { code });
}

async function main() {
  const found = [];
  for (const { ip, helo, from, receiver } of cases) {
    const { status, explanation } = await spf({
      sender: from,
      ip,
      helo,
      mta: receiver,
      resolver,
      strict: true,
    });
    found.push([status.result, explanation ?? ""]);
  }
  process.stdout.write(JSON.stringify({ found }));
}

main();
