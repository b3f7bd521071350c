// Reads Authentication-Results with mailauth, makes some, and decides DMARC.
// Standard input: { fields: [text], make: [[method, status]], cases: [...] } in JSON.
// Prints { read, made, decided } in JSON.

"use strict";

const { readFileSync } = require("node:fs");
const parse = require("mailauth/lib/parse-dkim-headers");
const { formatAuthHeaderRow } = require("mailauth/lib/tools");
const { evaluateDmarc } = require("mailauth/lib/dmarc/verify");

function readField(field) {
  const { value, header: _, ...methods } = parse(field).parsed;
  const rows = [];
  for (const [method, results] of Object.entries(methods)) {
    for (const one of [].concat(results)) {
      const { value, reason, comment: _, ...types } = one;
      const values = {};
      for (const [type, list] of Object.entries(types)) {
        for (const [name, text] of Object.entries(list)) {
          values[`${type}.${name}`] = text;
        }
      }
      rows.push([method, value, reason ?? null, values]);
    }
  }
  return [value, rows];
}

async function decide({ zone, from, dkim, spf, exists }) {
  const resolver = (name, type) => {
    if (type === "TXT" && zone[name]) {
      return Promise.resolve(zone[name].map((text) => [text]));
    }
    const code = exists.includes(name) || zone[name] ? "ENODATA" : "ENOTFOUND";
    return Promise.reject(Object.assign(new Error(code), { code }));
  };
  const { response } = await evaluateDmarc({
    headerFrom: [`ann@${from}`],
    spfDomains: spf ? [spf] : [],
    dkimDomains: dkim,
    resolver,
  });
  return { result: response.status.result, policy: response.policy ?? null };
}

async function main() {
  const given = JSON.parse(readFileSync(0, "utf8"));
  const decided = [];
  for (const one of given.cases) decided.push(await decide(one));
  console.log(JSON.stringify({
    read: given.fields.map(readField),
    made: given.make.map(([method, status]) =>
      `mx.example.org; ${formatAuthHeaderRow(method, status)}`
    ),
    decided,
  }));
}

main();
