/**
 * `cli.ts lookup mta-sts`: the MTA-STS policy of a domain, explained, and what is
 * wrong with it. Stands alone: a policy has its own words and layout.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc8461#section-3 | RFC 8461 section 3}
 */

import { printableJson } from "../log.ts";
import {
  loadStsPolicy,
  type StsPolicy,
  type StsPolicyOptions,
} from "../queue/mod.ts";
import { listsHost } from "../server/mod.ts";
import { EX_TEMPFAIL, oneLine } from "./output.ts";
import type { LookupTools } from "./relay_settings.ts";

/** What is wrong, or could be better. */
interface Finding {
  readonly level: "wrong" | "advice";
  readonly text: string;
}

/** A host that takes mail for the domain. */
interface Host {
  readonly host: string;
  readonly listed: boolean;
}

const DAY_MS = 86_400_000;
const MODES: Readonly<Record<StsPolicy["mode"], string>> = {
  enforce: "mail goes to listed hosts only, with a verified certificate",
  testing: "failures are reported, mail is delivered",
  none: "there is no policy any more",
};

/**
 * Prints the policy; resolves with the exit code: 0 if there is a policy and
 * nothing is wrong with it, 1 if not, 75 if no answer of the DNS came.
 *
 * @param name The domain, without `_mta-sts.`
 * @param web How the web server is asked; tests replace it
 */
export async function lookupMtaSts(
  name: string,
  { dns, json, output }: LookupTools,
  web: StsPolicyOptions = {},
): Promise<number> {
  const domain = name.replace(/^_mta-sts\./i, "").replace(/\.$/, "");
  const [answer, outcome] = await Promise.all([
    dns.txt(`_mta-sts.${domain}`),
    loadStsPolicy(domain, { ...web, dns }),
  ]);
  const mx = await dns.mx(domain);
  const fault = [answer, mx].find((one) => one.status === "failed");
  if (fault?.status === "failed") {
    output.err(`${oneLine(fault.reason)}\n`);
    return EX_TEMPFAIL;
  }
  const records = answer.status === "found"
    ? answer.records.filter((text) => text.startsWith("v=STSv1"))
    : [];
  const policy = outcome.status === "found" ? outcome.policy : undefined;
  const names = mx.status === "found"
    ? mx.records.map(({ exchange }) => exchange)
    : mx.status === "none"
    ? [domain.toLowerCase()]
    : [];
  const hosts = policy === undefined || policy.mode === "none"
    ? []
    : names.map((host) => ({ host, listed: listsHost(policy, host) }));
  const findings = [...findingsOf({
    ...{ records, policy, hosts, isAnnounced: outcome.status !== "none" },
  })];
  if (outcome.status === "failed") {
    findings.push({ level: "wrong", text: outcome.reason });
  }
  if (json) {
    output.out(`${
      printableJson({
        ...{ domain, status: outcome.status, records },
        ...{ policy, hosts, findings },
      })
    }\n`);
  } else {
    const lines = describe(domain, { records, policy, hosts, findings });
    for (const line of lines) output.out(`${oneLine(line)}\n`);
  }
  if (records.length === 0) {
    output.err(`${oneLine(domain)}: no MTA-STS record\n`);
    return 1;
  }
  return findings.some(({ level }) => level === "wrong") ? 1 : 0;
}

function* findingsOf({ records, isAnnounced, policy, hosts }: {
  readonly records: readonly string[];
  /** Whether the records say that there is a policy. */
  readonly isAnnounced: boolean;
  readonly policy: StsPolicy | undefined;
  readonly hosts: readonly Host[];
}): Generator<Finding> {
  if (records.length > 1) {
    const text = `There are ${records.length} records: all of them are ignored`;
    yield { level: "wrong", text };
  } else if (records.length === 1 && !/;[ \t]*id[ \t]*=/.test(records[0]!)) {
    yield { level: "wrong", text: "The record has no id" };
  } else if (records.length === 1 && !isAnnounced) {
    yield { level: "wrong", text: "The record is malformed" };
  }
  for (const { host, listed } of hosts) {
    if (listed) continue;
    const text = `The policy does not list "${host}", which takes the mail`;
    yield { level: "wrong", text };
  }
  if (policy === undefined) return;
  if (policy.mode === "testing") {
    const text = "The mode is testing: nothing is enforced";
    yield { level: "advice", text };
  }
  if (policy.mode !== "none" && policy.maxAgeMs < DAY_MS) {
    const text = "A max_age of less than a day protects little: want weeks";
    yield { level: "advice", text };
  }
}

function* describe(domain: string, { records, policy, hosts, findings }: {
  readonly records: readonly string[];
  readonly policy: StsPolicy | undefined;
  readonly hosts: readonly Host[];
  readonly findings: readonly Finding[];
}): Generator<string> {
  for (const text of records) yield `_mta-sts.${domain}: ${text}`;
  if (policy !== undefined) {
    yield `https://mta-sts.${domain}/.well-known/mta-sts.txt:`;
    yield `  mode ${policy.mode}: ${MODES[policy.mode]}`;
    for (const host of policy.hosts) yield `  mx ${host}`;
    const seconds = policy.maxAgeMs / 1000;
    const days = Math.round(policy.maxAgeMs / DAY_MS * 10) / 10;
    yield `  max_age ${seconds}: it is kept for ${days} days`;
  }
  for (const { host, listed } of hosts) {
    yield `${host}: ${listed ? "listed" : "not listed"}`;
  }
  for (const { level, text } of findings) yield `${level}: ${text}`;
}
