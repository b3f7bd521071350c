/**
 * The table of decisions: what is known of a host, and the TLS that it must have.
 * The rows of the file that depend on a certificate are in tlsa_match_test.ts.
 */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import type { TlsSecurity } from "../../lib/client/next_hop.ts";
import type { TlsaRecord } from "../../lib/dns/outcome.ts";
import {
  type DaneState,
  decideTls,
  type StsFacts,
} from "../../lib/secure_transport/tls_decision.ts";

const DATA = "ab".repeat(32);
const USABLE: TlsaRecord = { usage: 3, selector: 1, matching: 1, data: DATA };
const UNUSABLE: TlsaRecord = { ...USABLE, usage: 1 };
const NONE: DaneState = { status: "none" };
const FAILED: DaneState = { status: "failed", reason: "SERVFAIL" };

function found(...records: readonly TlsaRecord[]): DaneState {
  return { status: "found", base: "base.test", records };
}

function sts(mode: StsFacts["mode"], listsHost: boolean): StsFacts {
  const policy = { type: "sts", domain: "dest.test", lines: [], mode } as const;
  return { mode, listsHost, policy };
}

/** The decision in words. */
function decide(
  configured: TlsSecurity,
  dane: DaneState,
  policy?: StsFacts,
): string {
  const decision = decideTls({
    ...{ host: "mx.dest.test", domain: "dest.test", configured, dane },
    sts: policy,
  });
  if (decision.action === "skip") return `skip ${decision.type}`;
  const { security, tlsa, isTest, name } = decision;
  return [
    security,
    ...(tlsa ? [`tlsa at ${name}`] : []),
    ...(isTest ? ["tested"] : []),
  ].join(", ");
}

const ROWS: readonly [
  what: string,
  configured: TlsSecurity,
  dane: DaneState,
  policy: StsFacts | undefined,
  want: string,
][] = [
  [
    "usable records",
    "opportunistic",
    found(USABLE, UNUSABLE),
    undefined,
    "required, tlsa at base.test",
  ],
  ["no usable record", "opportunistic", found(UNUSABLE), undefined, "required"],
  ["no records", "opportunistic", NONE, undefined, "opportunistic"],
  ["not known", "opportunistic", FAILED, undefined, "skip dnssec-invalid"],
  [
    "verified is not weakened",
    "verified",
    found(USABLE),
    undefined,
    "verified, tlsa at base.test",
  ],
  [
    "verified is not weakened by unusable ones",
    "verified",
    found(UNUSABLE),
    undefined,
    "verified",
  ],
  ["none is not raised", "none", found(USABLE), sts("enforce", false), "none"],
  ["none asks for nothing", "none", FAILED, undefined, "none"],
  [
    "DANE before MTA-STS",
    "opportunistic",
    found(USABLE),
    sts("enforce", false),
    "required, tlsa at base.test",
  ],
  [
    "MTA-STS adds to unusable records",
    "opportunistic",
    found(UNUSABLE),
    sts("enforce", true),
    "verified",
  ],
  [
    "a failure of DANE before MTA-STS",
    "opportunistic",
    FAILED,
    sts("enforce", true),
    "skip dnssec-invalid",
  ],
  ["MTA-STS", "opportunistic", NONE, sts("enforce", true), "verified"],
  [
    "a host that is not listed",
    "opportunistic",
    NONE,
    sts("enforce", false),
    "skip validation-failure",
  ],
  [
    "testing",
    "opportunistic",
    NONE,
    sts("testing", true),
    "opportunistic, tested",
  ],
  [
    "testing, not listed",
    "opportunistic",
    NONE,
    sts("testing", false),
    "opportunistic, tested",
  ],
  [
    "testing does not weaken",
    "verified",
    NONE,
    sts("testing", true),
    "verified, tested",
  ],
  ["mode none", "required", NONE, sts("none", false), "required"],
];

for (const [what, configured, dane, policy, want] of ROWS) {
  Deno.test(`TLS of a host: ${what}`, () => {
    assertEquals(decide(configured, dane, policy), want);
  });
}

Deno.test("Sessions with different records do not stand in for each other", () => {
  const key = (dane: DaneState, policy?: StsFacts) => {
    const decision = decideTls({
      ...{ host: "mx.dest.test", domain: "dest.test", dane, sts: policy },
      configured: "opportunistic",
    });
    return decision.action === "use" ? decision.key : undefined;
  };
  const other = { ...USABLE, data: "cd".repeat(32) };
  const keys = [
    key(NONE),
    key(found(USABLE)),
    key(found(other)),
    key(found(UNUSABLE)),
    key(NONE, sts("enforce", true)),
  ];
  assertEquals(new Set(keys).size, keys.length);
  assertEquals(key(found(USABLE, other)), key(found(other, USABLE)));
});

Deno.test("The domain is a name of a mail exchanger, and none of a configured next hop", () => {
  const use = (domain: string, record: TlsaRecord, isConfigured = false) => {
    const decision = decideTls({
      ...{ host: "mx.test", domain, configured: "opportunistic" },
      ...{ dane: found(record), isConfigured },
    });
    assert(decision.action === "use");
    return decision;
  };
  const authority = { ...USABLE, usage: 2 };
  const one = use("one.test", authority);
  assertEquals(one.names, ["base.test", "mx.test", "one.test"]);
  const smart = use("one.test", authority, true);
  assertEquals(smart.names, ["base.test", "mx.test"]);
  // Names count for usage 2 alone: other sessions are shared by all domains.
  assertNotEquals(one.key, use("two.test", authority).key);
  assertEquals(smart.key, use("two.test", authority, true).key);
  assertEquals(use("one.test", USABLE).key, use("two.test", USABLE).key);
});
