/**
 * Fuzz of what SPF and MTA-STS read: records, macros and senders; records, policies
 * and hosts. None throws, and a check of SPF asks a limited number of questions.
 */

import type { DnsQuerier } from "../../lib/dns/outcome.ts";
import {
  listsHost,
  parseStsPolicy,
  stsId,
} from "../../lib/secure_transport/sts_policy.ts";
import { formatReceivedSpf } from "../../lib/trust/received_spf.ts";
import { checkSpf, checkSpfHelo } from "../../lib/trust/spf.ts";
import { chance, type FuzzTarget, mutate, pick, type Random } from "./fuzz.ts";

/** SPF and MTA-STS. */
export const trustTarget: FuzzTarget = {
  name: "trust",
  async check(random) {
    await checkRecord(random);
    checkSts(random);
  },
};

/** Questions of one check: ten terms with ten hosts each, their names, and the client's. */
const MOST_QUESTIONS = 250;

const RECORDS = [
  ...["v=spf1 mx a/24//64 ptr:%{p}.a.test ~all", "v=spf1 redirect=b.test"],
  ...["v=spf1 include:a.test include:b.test ?all", "v=spf1 exp=x.a.test -all"],
  ...["v=spf1 exists:%{l1r-}.%{ir}.%{v}._spf.%{d2} -all", "v=spf1 +all"],
  ...["v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 mx:%{h}", "v=spf1"],
  ...["v=spf1 a:%{o} a:%{s} a:%{L} a:b.test mx:a.test ptr mx mx mx mx mx -all"],
];
const SENDERS = [
  ...["ann@a.test", "@a.test", "ann", "", '"a b"@a.test', "a@b@b.test", "a@"],
  ...["x@[192.0.2.1]", "ann@b\u00fccher.test", "a.b-c+d@x.a.test.", "a@..test"],
];
const POLICIES = [
  ...["version: STSv1\r\nmode: enforce\r\nmx: *.a.test\r\nmax_age: 86400\r\n"],
  ...["version:STSv1\nmode:none\nmax_age:0", "mx: \t a.test", "mode: testing"],
];
const IDS = ["v=STSv1; id=2026a;", "v=STSv1;id=1;x=y", "v=STSv1", "id = a"];
const HOSTS = ["mx.a.test", "A.TEST.", "", ".", "b\u00fccher.test", "*.a.test"];

function text(random: Random, parts: readonly string[], glue = ""): string {
  let value = pick(random, parts);
  for (let more = random(3); more > 0; more--) {
    value += glue + pick(random, parts);
  }
  if (!chance(random, 3)) value = mutate(random, value);
  // What is long must not take longer than its length.
  return chance(random, 500)
    ? value + pick(random, [" ", ".", "%{", "-"]).repeat(30_000) + "x"
    : value;
}

async function checkRecord(random: Random): Promise<void> {
  let asked = 0;
  const query = async (type: string): Promise<unknown> => {
    asked++;
    await Promise.resolve();
    if (chance(random, 12)) return { status: "none", why: "no-such-name" };
    if (chance(random, 40)) {
      return { status: "failed", code: "timeout", reason: "No answer" };
    }
    const hosts = Array.from({ length: 1 + random(12) }, () => "h.a.test");
    switch (type) {
      case "TXT":
        return { status: "found", records: [text(random, RECORDS, " ")] };
      case "MX":
        return {
          status: "found",
          records: hosts.map((exchange) => ({ preference: 1, exchange })),
        };
      case "PTR":
        return { status: "found", records: hosts };
      default:
        return { status: "found", records: ["192.0.2.9", "2001:db8::9"] };
    }
  };
  const facts = {
    ip: pick(random, ["192.0.2.9", "2001:db8::9", "198.51.100.1", "unix", ""]),
    helo: text(random, SENDERS),
    from: text(random, SENDERS),
    receiver: "mx.test",
  };
  const dns = { query } as DnsQuerier;
  const check = chance(random, 2) ? checkSpf : checkSpfHelo;
  const result = await check(facts, { dns });
  if (asked > MOST_QUESTIONS) throw new Error(`Asked ${asked} questions`);
  if (result.lookups > 10) throw new Error(`Counted ${result.lookups} terms`);
  const field = formatReceivedSpf(result, facts);
  if (/[^ -~]/.test(field)) throw new Error(`Printed ${JSON.stringify(field)}`);
}

function checkSts(random: Random): void {
  const id = stsId([text(random, IDS, ";")]);
  if (id !== undefined && !/^[A-Za-z0-9]{1,32}$/.test(id)) {
    throw new Error(`Took the id ${JSON.stringify(id)}`);
  }
  const policy = parseStsPolicy(text(random, POLICIES, "\n"), "a");
  if ("fault" in policy) return;
  if (policy.hosts.length === 0 && policy.mode !== "none") {
    throw new Error("A policy without hosts");
  }
  listsHost(policy, text(random, HOSTS, "."));
}
