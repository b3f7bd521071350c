/**
 * SPF beside pyspf and mailauth: all three say the same of the same records,
 * senders and clients, and explain it in the same words.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc7208 | RFC 7208}
 */

import { assert, assertEquals } from "@std/assert";
import { pointerName } from "../../lib/dns/name.ts";
import type {
  DnsOutcomeOf,
  DnsQuerier,
  DnsRecordType,
} from "../../lib/dns/outcome.ts";
import { formatReceivedSpf } from "../../lib/trust/received_spf.ts";
import type { SpfResult } from "../../lib/trust/result.ts";
import { checkSpf } from "../../lib/trust/spf.ts";
import { TestFolder } from "../support/folder.ts";
import { runNode } from "../support/interop/server.ts";
import { run } from "../support/process.ts";

/** The records of a name by type; "failed" where no answer comes. */
type Zone = Readonly<
  Record<string, Readonly<Record<string, readonly unknown[] | "failed">>>
>;

/** Answers from a table, whose names are in lower case; a name that it lacks does not exist. */
function zoneQuerier(zone: Zone): DnsQuerier {
  return {
    query<T extends DnsRecordType>(type: T, name: string) {
      const key = type === "PTR" ? pointerName(name) ?? name : name;
      return Promise.resolve(answer(zone, type, key) as DnsOutcomeOf<T>);
    },
  };
}

function answer(zone: Zone, type: string, name: string) {
  const node = Object.hasOwn(zone, name) ? zone[name]! : undefined;
  if (node === undefined) return { status: "none", why: "no-such-name" };
  const records = node[type];
  if (records === "failed") {
    return { status: "failed", code: "timeout", reason: "No answer" };
  }
  return records === undefined || records.length === 0
    ? { status: "none", why: "no-such-record" }
    : { status: "found", records };
}

const txt = (...texts: string[]) => ({ TXT: texts });
const mx = (...hosts: string[]) =>
  hosts.map((exchange, index) => ({ preference: index, exchange }));

/** What the records of the cases lead to. */
const COMMON: Zone = {
  "host.example": { A: ["192.0.2.1"], AAAA: ["2001:db8::1"] },
  "mail.example": { MX: mx("other.example", "host.example") },
  "other.example": { A: ["192.0.2.99"], AAAA: ["2001:db8::99"] },
  "many.example": {
    MX: mx(...Array.from({ length: 11 }, (_, at) => `m${at}.example`)),
  },
  "pass.example": txt("v=spf1 ip4:192.0.2.1 ip6:2001:db8::1 -all"),
  "none.example": txt("no record"),
  "bad.example": txt("v=spf1 moo -all"),
  "silent.example": { A: "failed", MX: "failed", TXT: "failed" },
  "loop.example": txt("v=spf1 include:loop.example -all"),
  "why.example": txt("%{i} (%{c}) is no host of %{d}, says %{r}: %{S}"),
  "two.example": txt("one", "two"),
  "1.2.0.192.in-addr.arpa": { PTR: ["host.pointer.example"] },
  "host.pointer.example": { A: ["192.0.2.1"] },
  "1.2.0.192.in-addr.listed.example": { A: ["127.0.0.2"] },
  "example.d.example": { A: ["127.0.0.2"] },
  "bad.strong.lp.example": { A: ["127.0.0.2"] },
};

/** Records; where a row says so another client or sender. */
const ROWS: readonly (readonly [
  record: string,
  other?: { readonly ip?: string; readonly from?: string },
])[] = [
  ["v=spf1 +all"],
  ["v=spf1 ~all"],
  ["v=spf1 ?all"],
  ["v=spf1"],
  ["v=spf1 ip4:192.0.2.0/28 -all"],
  ["v=spf1 ip4:192.0.2.128/25 -all"],
  ["v=spf1 ip6:2001:db8::/127 -all", { ip: "2001:db8::1" }],
  ["v=spf1 ip4:0.0.0.0/0 -all", { ip: "2001:db8::1" }],
  ["v=spf1 a:host.example -all"],
  ["v=spf1 a:other.example/25//120 -all"],
  ["v=spf1 a:other.example/32//120 -all", { ip: "2001:db8::1" }],
  ["v=spf1 mx:mail.example -all"],
  ["v=spf1 mx:many.example -all"],
  ["v=spf1 ptr:pointer.example -all"],
  ["v=spf1 ptr:nter.example -all"],
  ["v=spf1 include:pass.example -all"],
  ["v=spf1 include:none.example -all"],
  ["v=spf1 include:bad.example -all"],
  ["v=spf1 include:silent.example -all"],
  ["v=spf1 include:loop.example -all"],
  ["v=spf1 redirect=pass.example", { ip: "192.0.2.2" }],
  ["v=spf1 redirect=none.example"],
  ["v=spf1 a:silent.example -all"],
  ["v=spf1 exists:%{ir}.%{v}.listed.example -all"],
  ["v=spf1 exists:%{o1}.d.example -all"],
  ["v=spf1 exists:%{lr-}.lp.example -all", { from: "strong-bad@" }],
  ["v=spf1 -all exp=why.example"],
  ["v=spf1 -all exp=why.example", { ip: "2001:db8::1", from: "a=b@" }],
  ["v=spf1 -all exp=two.example"],
  ["v=spf1 a:host.example/33 -all"],
  ["v=spf1 a:g1.example a:g2.example a:g3.example +all"],
  [`v=spf1 ${"a:other.example ".repeat(10)}+all`],
  [`v=spf1 ${"a:other.example ".repeat(11)}+all`],
  ["v=spf1 exists:%{x}.example -all"],
  ["v=spf1 unknown=%{d} -all"],
  ["v=spf1 redirect=pass.example redirect=pass.example"],
];

/** The domain of each row's record. */
const domainOf = (index: number) => `row${index}.example`;

const zone: Zone = {
  ...COMMON,
  ...Object.fromEntries(
    ROWS.map(([record], index) => [domainOf(index), txt(record)]),
  ),
};
const cases = ROWS.map(([, other = {}], index) => ({
  ip: other.ip ?? "192.0.2.1",
  helo: "client.example",
  from: `${other.from ?? "ann@"}${domainOf(index)}`,
  receiver: "mx.receiver.example",
}));

let ours: Promise<SpfResult[]> | undefined;

function checkAll(): Promise<SpfResult[]> {
  return ours ??= Promise.all(
    cases.map((facts) => checkSpf(facts, { dns: zoneQuerier(zone) })),
  );
}

/** What a peer has said of the table. */
interface Answer {
  readonly found: readonly (readonly [string, string])[];
  /** What it reads from our Received-SPF fields, one list for each case. */
  readonly read?: readonly (readonly (string | null)[])[];
}

/** Compares a peer's results with ours; its explanation only where the domain gives one. */
async function compare(theirs: Answer["found"]): Promise<void> {
  const said = await checkAll();
  assertEquals(theirs.length, ROWS.length);
  const describe = (index: number, result: string, words: string) =>
    // The digits of an address may be in either case.
    `${ROWS[index]![0]}: ${result} ${words.toLowerCase()}`;
  assertEquals(
    theirs.map(([result, words], index) =>
      describe(index, result, said[index]!.explanation ? words : "")
    ),
    said.map(({ result, explanation = "" }, index) =>
      describe(index, result, explanation)
    ),
  );
}

async function withTable(
  ask: (path: string) => Promise<{ readonly stdout: string }>,
): Promise<Answer> {
  await using folder = await TestFolder.create();
  const path = `${folder.path}/table.json`;
  const said = await checkAll();
  const fields = cases.map((facts, index) =>
    formatReceivedSpf(said[index]!, facts)
  );
  await Deno.writeTextFile(path, JSON.stringify({ zone, cases, fields }));
  return JSON.parse((await ask(path)).stdout);
}

Deno.test("SPF of the table has every result", async () => {
  const found = new Set<string>((await checkAll()).map(({ result }) => result));
  for (
    const result of [
      ...["pass", "fail", "softfail", "neutral", "temperror", "permerror"],
    ]
  ) assert(found.has(result), result);
});

Deno.test("SPF agrees with pyspf, which reads our Received-SPF", async () => {
  const script = new URL("peers/spf_peer.py", import.meta.url).pathname;
  // Debian's package is for Debian's interpreter.
  const { found, read } = await withTable((path) =>
    run("/usr/bin/python3", [script, path], {
      env: { PYTHONDONTWRITEBYTECODE: "1" },
    })
  );
  await compare(found);
  const said = await checkAll();
  assertEquals(
    read,
    cases.map(({ ip, from, helo, receiver }, index) => {
      const { result, mechanism = null } = said[index]!;
      return [result, ip, from, helo, receiver, "mailfrom", mechanism];
    }),
  );
});

Deno.test("SPF agrees with mailauth", async () => {
  const { found } = await withTable((path) => runNode("spf_peer.cjs", [path]));
  await compare(found);
});
