/** `cli.ts lookup dmarc`: the record that applies, its words, its faults, and the exit codes. */

import { assert, assertEquals } from "@std/assert";
import { runCli } from "../support/cli.ts";
import { startWireServer, txtAnswer } from "../support/dns.ts";

const [SERVFAIL, NXDOMAIN] = [2, 3];

const RECORDS: Readonly<Record<string, readonly string[]>> = {
  "_dmarc.good.test": [
    "v=DMARC1; p=reject; rua=mailto:d@good.test,mailto:d@taker.test",
    "other",
  ],
  "good.test._report._dmarc.taker.test": ["v=DMARC1;"],
  "_dmarc.twice.test": ["v=DMARC1; p=none", "v=DMARC1; p=reject"],
  "_dmarc.old.test": [
    "v=DMARC1; p=quarantine; sp=none; pct=50; ri=86400; t=y; x=y; rua=mailto:d@silent.test,mailto:no",
  ],
  "_dmarc.empty.test": ["v=DMARC1; adkim=x"],
  "_dmarc.bare.test": ["v=DMARC1; rua=mailto:d@bare.test"],
};

async function lookup(
  ...args: readonly string[]
): Promise<{ code: number; stdout: string; stderr: string }> {
  await using names = await startWireServer((name) => {
    if (name.includes("broken.test")) return { rcode: SERVFAIL };
    const texts = RECORDS[name.toLowerCase()];
    return texts === undefined ? { rcode: NXDOMAIN } : txtAnswer(texts);
  });
  return await runCli([
    ...["lookup", "dmarc", ...args, "--dns", names.nameServer],
  ]);
}

Deno.test("lookup dmarc explains the record that applies, and where it was found", async () => {
  const { code, stdout, stderr } = await lookup("mail.good.test");
  assertEquals([code, stderr], [0, ""]);
  assertEquals(stdout.trimEnd().split("\n"), [
    "_dmarc.mail.good.test: no DMARC record",
    "_dmarc.good.test: v=DMARC1; p=reject; rua=mailto:d@good.test,mailto:d@taker.test",
    "_dmarc.test: no DMARC record",
    "",
    "applies to mail.good.test: the record at _dmarc.good.test",
    "organizational domain: good.test",
    "  v=DMARC1: a DMARC record",
    "  p=reject: mail that fails is to be refused",
    "  rua=mailto:d@good.test,mailto:d@taker.test: 2 valid addresses for aggregate reports",
    "policy for mail.good.test: reject",
  ]);
});

Deno.test("lookup dmarc names what is wrong, and its exit code says so", async (t) => {
  const rows: readonly (readonly [
    name: string,
    code: number,
    wants: readonly string[],
  ])[] = [
    ["twice.test", 1, [
      "wrong: _dmarc.twice.test has 2 DMARC records: all of them are ignored",
      "twice.test: no DMARC record applies",
    ]],
    ["old.test", 1, [
      "advice: Tag pct= is obsolete and without effect",
      "advice: Tag ri= is obsolete",
      "advice: Tag x= is unknown",
      "wrong: Tag rua= has an address that is no URI",
      "wrong: silent.test gets no reports: old.test._report._dmarc.silent.test",
      "policy for old.test: quarantine, less one step",
    ]],
    ["empty.test", 1, [
      "wrong: Tag adkim= must be one of r, s",
      "wrong: The record has no valid policy and asks for no reports",
      "adkim=x: not valid, without effect",
    ]],
    ["_dmarc.bare.test", 1, [
      "wrong: Tag p= is missing: the policy is none",
      "policy for bare.test: none",
    ]],
    ["gone.test", 1, ["gone.test: no DMARC record applies"]],
    ["two words", 1, ["The name is no domain"]],
    ["broken.test", 75, ["_dmarc.broken.test: no answer"]],
  ];
  for (const [name, want, texts] of rows) {
    await t.step(name, async () => {
      const { code, stdout, stderr } = await lookup(name);
      const all = stdout + stderr;
      for (const text of texts) assert(all.includes(text), `${text}: ${all}`);
      assertEquals(code, want);
    });
  }
});

Deno.test("lookup dmarc --json is one object", async () => {
  const { code, stdout } = await lookup("bücher.good.test", "--json");
  const found = JSON.parse(stdout);
  assertEquals(code, 0);
  assertEquals(found.domain, "xn--bcher-kva.good.test");
  assertEquals(found.recordAt, "good.test");
  assertEquals(found.asked.length, 3);
  assertEquals(found.tags[1], {
    tag: "p",
    value: "reject",
    meaning: "mail that fails is to be refused",
  });
  assertEquals(found.findings, []);
});
