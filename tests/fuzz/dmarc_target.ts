/**
 * Fuzz of what DMARC and Authentication-Results read: From fields, policy records,
 * values of the field. None throws; an author's domain is one that every reader finds
 * in From; and what is printed is read back as the same values.
 */

import { authorDomain } from "../../lib/trust/author.ts";
import {
  bearsAuthservId,
  formatAuthenticationResults,
  parseAuthenticationResults,
} from "../../lib/trust/authentication_results.ts";
import { rawFields } from "../../lib/trust/canonical_header.ts";
import { checkDmarc } from "../../lib/trust/dmarc.ts";
import { lookupDmarc } from "../../lib/trust/dmarc_lookup.ts";
import type { AuthResult, DkimResult } from "../../lib/trust/result.ts";
import { bytesOf } from "../support/bytes.ts";
import { zone } from "../support/zone.ts";
import { chance, type FuzzTarget, mutate, pick, type Random } from "./fuzz.ts";

/** Authors, records, and values of Authentication-Results. */
export const dmarcTarget: FuzzTarget = {
  name: "dmarc",
  async check(random) {
    checkAuthor(random);
    await checkRecord(random);
    checkReading(random);
    checkPrinting(random);
  },
};

const MAILBOXES = [
  ...["ann@a.test", "Ann <ann@a.test>", '"x@b.test" <ann@a.test>', "<>", "Ann"],
  ...["(b@b.test) ann@a.test", '"a@b"@a.test', "<@b.test:ann@a.test>", ":;"],
  ...["ann@b\xc3\xbccher.test", "=?utf-8?q?x=40b.test?= <ann@a.test>", "a @ a"],
  ...["team: ann@a.test, bob@b.test;", "ann@[192.0.2.1]", "ann@a.test."],
];
const RECORDS = [
  ...["v=DMARC1; p=reject; sp=none; np=quarantine", "v=DMARC1; p=none; psd=y"],
  ...["v=DMARC1; adkim=s; aspf=s; rua=mailto:d@b.test!10m,x", "v=DMARC1;;=;p"],
  ...["v = DMARC1 ; t = y ; p = REJECT", "v=DMARC1; p=reject; psd=n; fo=0:d"],
];
const FIELDS = [
  'mx.test; dkim=pass reason="x" header.d=a.test header.b="a/b"; spf=none',
  'mx.test (x) 1; spf=fail smtp.mailfrom="a b"@a.test; none',
  "mx.test;\r\n\tiprev=pass policy.iprev=2001:db8::1;",
  '"mx.test"; a/2 (b(c)) = d e . f = g',
];
const WORDS = [
  ...["a.test", "bank.test", "s2026", "@a.test", "ann@a.test", '"a b"@a.test'],
  ...["", "[192.0.2.1]", "2001:db8::1", "rsa-sha256", "aBc/+12=", "192.0.2.1"],
  ...["a; dkim=pass header.d=bank.test", "(", '\\"', "\r\n x", "\ud800", "é"],
];
const RESULTS: readonly AuthResult[] = [
  ...["pass", "fail", "softfail", "neutral"] as const,
  ...["none", "policy", "temperror", "permerror"] as const,
];

function text(random: Random, parts: readonly string[], glue = ""): string {
  let value = pick(random, parts);
  for (let more = random(3); more > 0; more--) {
    value += glue + pick(random, parts);
  }
  if (!chance(random, 3)) value = mutate(random, value);
  // What is long must not take longer than its length.
  return chance(random, 500) ? value.repeat(1000) : value;
}

function checkAuthor(random: Random): void {
  const glue = pick(random, [", ", ",\r\n ", " ", ";", "\r\nFrom: "]);
  const block = `From: ${text(random, MAILBOXES, glue)}\r\n\r\n`;
  const { domain, reason } = authorDomain(rawFields(bytesOf(block)));
  if ((domain === undefined) === (reason === undefined)) {
    throw new Error(`Neither a domain nor a reason: ${JSON.stringify(block)}`);
  }
  if (domain === undefined || domain.startsWith("xn--")) return;
  if (!domain.includes("xn--") && !block.toLowerCase().includes(domain)) {
    // Comments and encoded words may stand between the parts of a domain.
    if (/[(=]/.test(block)) return;
    throw new Error(`Found ${domain}: ${JSON.stringify(block)}`);
  }
}

async function checkRecord(random: Random): Promise<void> {
  const records = [text(random, RECORDS)];
  if (chance(random, 4)) records.push(text(random, RECORDS));
  const name = pick(random, [
    "_dmarc.a.test",
    "_dmarc.x.a.test",
    "_dmarc.test",
  ]);
  const { dns } = zone({ [name]: records });
  const author = pick(random, ["a.test", "x.a.test", "test", "y.x.a.test"]);
  const dkim = [dkimOf(random, pick(random, ["a.test", "z.a.test", "b.test"]))];
  const { result, policy, alignedBy } = await checkDmarc({
    author: { domain: author },
    spf: undefined,
    dkim,
  }, { dns });
  const isVouched = dkim[0]!.result === "pass" && alignedBy?.[0] === "dkim";
  if ((result === "pass") !== isVouched) {
    throw new Error(`A ${result}: ${JSON.stringify([records, dkim])}`);
  }
  const isKnown = ["none", "quarantine", "reject"].includes(policy ?? "none");
  if (!isKnown || result === "permerror") {
    throw new Error(`${result} with policy ${policy}`);
  }
  await lookupDmarc(author, { dns });
}

function dkimOf(random: Random, domain: string): DkimResult {
  return {
    result: pick(random, RESULTS),
    domain,
    selector: text(random, WORDS),
    identity: text(random, WORDS),
    algorithm: text(random, WORDS),
    testing: chance(random, 2),
    reason: text(random, WORDS),
    signature: text(random, WORDS),
  };
}

function checkReading(random: Random): void {
  const value = text(random, FIELDS, pick(random, ["; ", " ", ";\r\n "]));
  const read = parseAuthenticationResults(value);
  const id = read?.authservId ?? "";
  if (/^[!-~]+$/.test(id) && !bearsAuthservId(value, id)) {
    throw new Error(`Does not bear ${id}: ${JSON.stringify(value)}`);
  }
}

function checkPrinting(random: Random): void {
  const dkim = Array.from(
    { length: random(4) },
    () => dkimOf(random, text(random, WORDS)),
  );
  const results = {
    spf: {
      result: pick(random, RESULTS),
      identity: "mailfrom",
      domain: text(random, WORDS),
      reason: text(random, WORDS),
      lookups: 0,
    },
    from: text(random, WORDS),
    dkim,
    dmarc: {
      result: pick(random, RESULTS),
      author: text(random, WORDS),
      reason: text(random, WORDS),
    },
    reverse: { result: pick(random, RESULTS), ip: text(random, WORDS) },
  } as const;
  const value = formatAuthenticationResults("mx.test", results);
  const fault = printFault(value, results);
  if (fault !== undefined) {
    throw new Error(`${fault}: ${JSON.stringify([value, results])}`);
  }
}

function printFault(
  value: string,
  { spf, dkim, dmarc, reverse }: {
    readonly spf: { readonly result: AuthResult };
    readonly dkim: readonly DkimResult[];
    readonly dmarc: { readonly result: AuthResult };
    readonly reverse: { readonly result: AuthResult };
  },
): string | undefined {
  if (/[^\r\n -~]|\r\n(?! +[^ ])|\r(?!\n)|(?<!\r)\n/.test(value)) {
    return "Printed what no field has";
  }
  const read = parseAuthenticationResults(value);
  const signatures = dkim.length === 0
    ? ["none"]
    : dkim.map(({ result }) => result);
  const want = [
    `iprev=${reverse.result}`,
    `spf=${spf.result}`,
    ...signatures.map((result) => `dkim=${result}`),
    `dmarc=${dmarc.result}`,
  ].join();
  const got = read?.methods.map(({ method, result }) => `${method}=${result}`);
  if (read?.authservId !== "mx.test" || got?.join() !== want) {
    return `Read back ${got}`;
  }
  const fields = read.methods.filter(({ method }) => method === "dkim");
  for (const [at, one] of dkim.entries()) {
    const { properties } = fields[at]!;
    const selector = properties["header.s"];
    if (selector !== undefined && selector !== one.selector) {
      return `Read back the selector ${selector}`;
    }
    const signature = properties["header.b"];
    if (signature !== undefined && signature !== one.signature) {
      return `Read back the signature ${signature}`;
    }
    const domain = properties["header.d"];
    if (domain !== undefined && !/^[a-z0-9_.-]+$/.test(domain)) {
      return `Read back the domain ${domain}`;
    }
  }
}
