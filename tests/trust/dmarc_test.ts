/**
 * DMARC (RFC 9989 sections 4.10, 5.3 and appendix A.4): 32 cases, the tree walk,
 * and what other implementations got wrong.
 */

import { assert, assertEquals } from "@std/assert";
import { checkDmarc } from "../../lib/trust/dmarc.ts";
import type { AuthorDomain } from "../../lib/trust/author.ts";
import type {
  AuthResult,
  DkimResult,
  DmarcResult,
  SpfResult,
} from "../../lib/trust/result.ts";
import { TreeWalks } from "../../lib/trust/tree_walk.ts";
import { mailDomain } from "../../lib/trust/author.ts";
import { zone, type ZoneAnswer, type ZoneOptions } from "../support/zone.ts";

interface Case {
  readonly name: string;
  readonly zone: Record<string, string[]>;
  readonly from: string;
  readonly dkim: readonly string[];
  readonly spf: string | null;
  readonly exists: readonly string[];
  readonly want: {
    readonly result: string;
    readonly policy?: string;
    readonly organization?: string;
    readonly asked?: readonly string[];
  };
}

const cases: readonly Case[] = JSON.parse(
  await Deno.readTextFile(
    new URL("data/dmarc/rfc9989-cases.json", import.meta.url),
  ),
);

function dkimOf(domain: string, result: AuthResult = "pass"): DkimResult {
  return {
    result,
    domain,
    selector: "s",
    identity: `@${domain}`,
    algorithm: "rsa-sha256",
    testing: false,
    signature: "",
  };
}

function spfOf(
  domain: string,
  result: AuthResult = "pass",
  identity: SpfResult["identity"] = "mailfrom",
): SpfResult {
  return { result, identity, domain, lookups: 0 };
}

/** Runs a check over a table of TXT records at `_dmarc.NAME`. */
async function check(
  records: Readonly<Record<string, string>>,
  facts: { from?: string; spf?: SpfResult; dkim?: readonly DkimResult[] },
  options: ZoneOptions = {},
): Promise<DmarcResult & { asked: readonly string[] }> {
  const table: Record<string, ZoneAnswer> = {};
  for (const [name, text] of Object.entries(records)) {
    table[`_dmarc.${name}`] = text === "silent" ? text : [text];
  }
  const { dns, asked } = zone(table, options);
  const result = await checkDmarc({
    author: { domain: facts.from ?? "example.com" },
    spf: facts.spf,
    dkim: facts.dkim ?? [],
  }, { dns });
  return { ...result, asked };
}

Deno.test("checkDmarc() decides all 32 cases as RFC 9989 does", async (t) => {
  assertEquals(cases.length, 32);
  for (const one of cases) {
    await t.step(one.name, async () => {
      const { dns, asked } = zone(one.zone, { exists: one.exists });
      const found = await checkDmarc({
        author: { domain: one.from },
        spf: one.spf === null ? undefined : spfOf(one.spf),
        dkim: one.dkim.map((domain) => dkimOf(domain)),
      }, { dns });
      const { want } = one;
      assertEquals(found.result, want.result);
      assertEquals(found.policy, want.policy as DmarcResult["policy"]);
      if (want.organization) {
        assertEquals(found.organization, want.organization);
      }
      if (want.asked) {
        assertEquals(asked, want.asked.map((name) => `TXT ${name}`));
      }
    });
  }
});

Deno.test("A walk asks 8 names at most, and a message no name twice", async () => {
  const labels = Array.from({ length: 100 }, (_, at) => `l${at}`);
  const from = [...labels.slice(0, 50), "example", "com"].join(".");
  const { asked } = await check({ "example.com": "v=DMARC1; p=none" }, {
    from,
    dkim: [dkimOf("a.example.com"), dkimOf("b.example.com")],
    spf: spfOf("a.example.com"),
  });
  assertEquals(asked.length, 8 + 2);
  assertEquals(new Set(asked).size, asked.length);
  for (const count of [1, 2, 7, 8, 9]) {
    const { dns, asked } = zone({});
    const name = Array.from({ length: count }, () => "x").join(".");
    await new TreeWalks({ dns }).walk(name);
    assertEquals(asked.length, Math.min(count, 8), name);
  }
});

Deno.test("Signatures of many domains make no more questions than a limit allows", async () => {
  const dkim = Array.from({ length: 200 }, (_, at) => dkimOf(`x${at}.a.test`));
  const { asked, result } = await check({
    "a.test": "v=DMARC1; p=reject",
    // None of the identities align: each has an organization of its own.
    ...Object.fromEntries(
      dkim.map(({ domain }) => [domain, "v=DMARC1; p=none; psd=n"]),
    ),
  }, { from: "a.test", dkim });
  assert(asked.length < 20, `${asked.length} questions`);
  assertEquals(result, "temperror");
});

Deno.test("A domain that no one can share with the author makes no question", async () => {
  const { asked } = await check({ "example.com": "v=DMARC1; p=reject" }, {
    dkim: [dkimOf("other.org"), dkimOf("badexample.com"), dkimOf("[1.2.3.4]")],
    spf: spfOf(""),
  });
  assertEquals(asked, ["TXT _dmarc.example.com", "TXT _dmarc.com"]);
});

const REJECT = { "example.com": "v=DMARC1; p=reject" };

Deno.test("An SPF pass of HELO is no pass for DMARC", async () => {
  const spf = spfOf("example.com", "pass", "helo");
  const { result, policy } = await check(REJECT, { spf });
  assertEquals([result, policy], ["fail", "reject"]);
});

Deno.test("A pass never pairs with the domain of another result", async () => {
  const dkim = [dkimOf("example.com", "fail"), dkimOf("evil.test")];
  const spf = spfOf("example.com", "softfail");
  assertEquals((await check(REJECT, { dkim, spf })).result, "fail");
});

Deno.test("Strict means equal", async () => {
  const strict = { "example.com": "v=DMARC1; p=reject; adkim=s; aspf=s" };
  for (const domain of ["a.example.com", "com", "xexample.com"]) {
    const facts = { dkim: [dkimOf(domain)], spf: spfOf(domain) };
    assertEquals((await check(strict, facts)).result, "fail", domain);
  }
  const equal = await check(strict, { dkim: [dkimOf("EXAMPLE.com.")] });
  assertEquals([equal.result, equal.alignedBy], ["pass", ["dkim"]]);
});

Deno.test("A permanent error vouches for nothing, and is a fail", async () => {
  const facts = {
    dkim: [dkimOf("example.com", "permerror")],
    spf: spfOf("example.com", "permerror"),
  };
  assertEquals((await check(REJECT, facts)).result, "fail");
});

Deno.test("A temporary error is a temperror only if its domain aligns and nothing else passed", async (t) => {
  const rows: [
    name: string,
    facts: { spf?: SpfResult; dkim?: DkimResult[] },
    want: AuthResult,
  ][] = [
    ["aligned SPF", { spf: spfOf("a.example.com", "temperror") }, "temperror"],
    [
      "aligned DKIM",
      { dkim: [dkimOf("example.com", "temperror")] },
      "temperror",
    ],
    [
      "DKIM of another",
      { dkim: [dkimOf("other.test", "temperror")] },
      "fail",
    ],
    [
      "HELO",
      { spf: spfOf("example.com", "temperror", "helo") },
      "fail",
    ],
    [
      "beside a pass",
      {
        spf: spfOf("example.com", "temperror"),
        dkim: [dkimOf("example.com", "temperror"), dkimOf("example.com")],
      },
      "pass",
    ],
  ];
  for (const [name, facts, want] of rows) {
    await t.step(name, async () => {
      assertEquals((await check(REJECT, facts)).result, want);
    });
  }
});

Deno.test("A walk that does not end is never a fail while it matters", async (t) => {
  const half = { ...REJECT, com: "silent" } as const;
  const rows: [
    name: string,
    records: Readonly<Record<string, string>>,
    dkim: string,
    want: AuthResult,
  ][] = [
    [
      "no record known",
      { "example.com": "silent" },
      "example.com",
      "temperror",
    ],
    ["the very domain passes", half, "example.com", "pass"],
    ["one that could align", half, "a.example.com", "temperror"],
    ["one that cannot", half, "other.test", "fail"],
    [
      "the walk of the identity",
      { ...REJECT, "a.example.com": "silent" },
      "a.example.com",
      "temperror",
    ],
  ];
  for (const [name, records, domain, want] of rows) {
    await t.step(name, async () => {
      const { result } = await check(records, { dkim: [dkimOf(domain)] });
      assertEquals(result, want);
    });
  }
});

Deno.test("np is for names that do not exist", async (t) => {
  const records = {
    "example.com": "v=DMARC1; p=none; sp=quarantine; np=reject",
  };
  const from = "a.example.com";
  const dangling = [from];
  const exists = [from];
  const silent = [from];
  const policy = async (options: ZoneOptions) => {
    const found = await check(records, { from }, options);
    return [found.result, found.policy];
  };
  await t.step("gone", async () => {
    assertEquals(await policy({}), ["fail", "reject"]);
  });
  await t.step("without addresses", async () => {
    assertEquals(await policy({ exists }), ["fail", "quarantine"]);
  });
  await t.step("an alias whose target is gone exists", async () => {
    assertEquals(await policy({ dangling }), ["fail", "quarantine"]);
  });
  await t.step("not known: temperror, and no policy", async () => {
    assertEquals(await policy({ silent }), ["temperror", undefined]);
  });
  await t.step("not known beside a pass: the weaker one", async () => {
    const found = await check(records, {
      from,
      dkim: [dkimOf(from)],
    }, { silent });
    assertEquals([found.result, found.policy], ["pass", "quarantine"]);
  });
  await t.step("not asked where it makes no difference", async () => {
    const { asked } = await check({ "example.com": "v=DMARC1; p=reject" }, {
      from,
    });
    assertEquals(asked.filter((one) => !one.startsWith("TXT")), []);
  });
});

Deno.test("A message without one author's domain is a permerror and asks nothing", async () => {
  const { dns, asked } = zone({});
  const authors: AuthorDomain[] = [{ reason: "From is broken" }, {
    domain: "a b",
  }, { domain: "" }];
  for (const author of authors) {
    const { result } = await checkDmarc({ author, spf: undefined, dkim: [] }, {
      dns,
    });
    assertEquals(result, "permerror");
  }
  assertEquals(asked, []);
});

Deno.test("A client that throws after an abort makes a temperror", async () => {
  const signal = AbortSignal.abort(new Error("Out of time"));
  const dns = { query: () => Promise.reject(signal.reason) };
  const found = await checkDmarc({
    author: { domain: "example.com" },
    spf: undefined,
    dkim: [],
  }, { dns, signal });
  assertEquals([found.result, found.reason], [
    "temperror",
    "The DNS gave no answer",
  ]);
});

Deno.test("A record above that is between the author and the organization is not the policy", async () => {
  const found = await check({
    "b.example.com": "v=DMARC1; p=reject",
    "example.com": "v=DMARC1; p=none; sp=quarantine",
  }, { from: "a.b.example.com" });
  assertEquals([found.recordAt, found.policy], ["example.com", "quarantine"]);
});

// Where the walk and the list of public suffixes differ: the walk knows what
// is published. A suffix with psd=y gives the same organization as the list.
Deno.test("A suffix that publishes psd=y is what the list of suffixes says", async () => {
  const text = await Deno.readTextFile(
    new URL("data/dmarc/tests.txt", import.meta.url),
  );
  let rows = 0;
  for (const line of text.split("\n")) {
    const [name = "", registered = ""] = line.split(" ");
    const domain = mailDomain(name);
    const want = mailDomain(registered);
    if (line.startsWith("//") || domain === undefined) continue;
    if (registered === "null" || want === undefined) continue;
    const suffix = want.slice(want.indexOf(".") + 1);
    const { dns } = zone({
      [`_dmarc.${suffix}`]: ["v=DMARC1; p=none; psd=y"],
    });
    const walk = await new TreeWalks({ dns }).walk(domain);
    assertEquals(walk.organization, want, line);
    // Without any record a domain is its own organization.
    const bare = await new TreeWalks({ dns: zone({}).dns }).walk(domain);
    assertEquals(bare.organization, domain, line);
    rows++;
  }
  assert(rows > 50, `only ${rows} rows`);
});
