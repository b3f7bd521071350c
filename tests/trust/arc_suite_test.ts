/**
 * The test suite of the ARC drafts by ValiMail: 171 chains to check and 17 to make,
 * with the keys that belong to them.
 */

import { assertEquals } from "@std/assert";
import type { DnsQuerier } from "../../lib/dns/outcome.ts";
import { sealArc } from "../../lib/trust/arc_seal.ts";
import { verifyArc } from "../../lib/trust/arc_verify.ts";
import { rawFields, valueOf } from "../../lib/trust/canonical_header.ts";
import { parseTagList, removeSpace } from "../../lib/trust/tag_list.ts";
import { bytesOf, utf8 } from "../support/bytes.ts";

/** Keys by their name. */
type Keys = Readonly<Record<string, string>>;

interface CheckRow {
  readonly message: string;
  /** What a verifier says; `""` where the newest seal says that the chain failed before. */
  readonly cv: "Pass" | "Fail" | "None" | "";
}

interface SealRow {
  readonly message: string;
  readonly t: number;
  readonly "sig-headers": string;
  readonly "srv-id": string;
  readonly AS: string;
  readonly AMS: string;
  readonly AAR: string;
}

interface Scenario<Row> {
  readonly description: string;
  readonly tests: Readonly<Record<string, Row>>;
  readonly "txt-records": Keys;
}

interface SealScenario extends Scenario<SealRow> {
  readonly domain: string;
  readonly sel: string;
  readonly privatekey: string;
}

function suite<T>(name: string): readonly T[] {
  const url = new URL(`data/arc/arc-draft-${name}-tests.json`, import.meta.url);
  return JSON.parse(Deno.readTextFileSync(url));
}

function keyDns(keys: Keys): DnsQuerier {
  const answer = (name: string) =>
    Object.hasOwn(keys, name)
      ? { status: "found", records: [keys[name]] }
      : { status: "none", why: "no-such-name" };
  return { query: (_type, name) => Promise.resolve(answer(name) as never) };
}

const CHECKS = suite<Scenario<CheckRow>>("validation");
const SEALS = suite<SealScenario>("sign");

for (const scenario of CHECKS) {
  Deno.test(`ARC suite: ${scenario.description}`, async (t) => {
    const dns = keyDns(scenario["txt-records"]);
    for (const [name, { message, cv }] of Object.entries(scenario.tests)) {
      await t.step(name, async () => {
        const found = await verifyArc(utf8(message), { dns });
        const wanted = cv === "" ? "fail" : cv.toLowerCase();
        assertEquals(found.result, wanted, found.reason);
      });
    }
  });
}

/** The tags of a field, without white space inside them. */
function tagsOf(value: string): Record<string, string> {
  const { tags } = parseTagList(value);
  return Object.fromEntries(
    [...tags!].map(([name, text]) => [name, removeSpace(text)]),
  );
}

for (const scenario of SEALS) {
  Deno.test(`ARC suite, sealing: ${scenario.description}`, async (t) => {
    const dns = keyDns(scenario["txt-records"]);
    const { domain, sel: selector, privatekey: key } = scenario;
    for (const [name, row] of Object.entries(scenario.tests)) {
      await t.step(name, async () => {
        const bytes = utf8(row.message);
        const set = await sealArc(bytes, {
          ...{ domain, selector, key },
          headers: row["sig-headers"].split(":"),
        }, {
          arc: await verifyArc(bytes, { dns }),
          authservId: row["srv-id"],
          now: row.t * 1000,
        });
        if (row.AS === "") return assertEquals(set, "");
        const [seal, message, results] = rawFields(bytesOf(`${set}\r\n`))
          .map(valueOf);
        assertEquals(tagsOf(seal!), tagsOf(row.AS));
        assertEquals(tagsOf(message!), tagsOf(row.AMS));
        assertEquals(removeSpace(results!), removeSpace(row.AAR));
      });
    }
  });
}

Deno.test("The suite has 171 chains to check and 17 to make", () => {
  const count = (all: readonly Scenario<unknown>[]) =>
    all.reduce((sum, { tests }) => sum + Object.keys(tests).length, 0);
  assertEquals([count(CHECKS), count(SEALS)], [171, 17]);
});
