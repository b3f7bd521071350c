/**
 * The DMARC record that applies to a domain, where it was found, and what is wrong
 * with it: for its publisher. Stands alone: the check of a message must not ask what
 * only a publisher wants to know.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc9989#section-4.10 | RFC 9989 section 4.10},
 * {@link https://www.rfc-editor.org/rfc/rfc9990#section-4 | RFC 9990 section 4} (reports to others)
 */

import { mailDomain } from "./author.ts";
import type { TrustFinding } from "./result.ts";
import { type DmarcRecord, reportDomain } from "./dmarc_record.ts";
import {
  type DmarcOptions,
  type DmarcStep,
  type TreeWalk,
  TreeWalks,
} from "./tree_walk.ts";

/** What {@linkcode lookupDmarc} found. */
export interface DmarcLookup {
  /** The domain, with A-labels. */
  readonly domain: string;
  /** Whether a record applies, or why it is not known. */
  readonly status: "found" | "none" | "failed";
  /** Why a question had no answer. */
  readonly reason?: string | undefined;
  /** The names asked for, in order, with their records. */
  readonly steps: readonly DmarcStep[];
  /** The organizational domain. */
  readonly organization?: string | undefined;
  /** The domain at which the record that applies stands. */
  readonly recordAt?: string | undefined;
  /** The record that applies. */
  readonly record?: DmarcRecord | undefined;
  /** What is wrong, and what could be better. */
  readonly findings: readonly TrustFinding[];
}

/** Tags of RFC 7489 that are without effect now. */
const OBSOLETE: Readonly<Record<string, string>> = {
  pct: "the policy holds for all mail; t=y takes it back by one step",
  rf: "reports have one format",
  ri: "reports come once a day",
};
/** The tags that have a meaning. */
const KNOWN: ReadonlySet<string> = new Set([
  ...["v", "p", "sp", "np", "adkim", "aspf", "t", "psd", "rua", "ruf", "fo"],
]);
/** Most addresses for reports that are asked about. */
const MOST_ADDRESSES = 10;

/**
 * Finds the DMARC record that applies to a domain, and what is wrong with it.
 *
 * @param name The domain, U-labels or A-labels
 * @param options The client that asks the DNS
 *
 * @example Two records are as good as no record
 * ```ts
 * import type { DnsQuerier } from "@smtp/server/dns";
 * import { type DmarcLookup, lookupDmarc } from "@smtp/server/trust";
 * import type { TrustFinding, DmarcPolicies } from "@smtp/server/trust";
 * import type { DmarcPolicy, DmarcRecord, DmarcStep } from "@smtp/server/trust";
 *
 * const records = ["v=DMARC1; p=none", "v=DMARC1; p=reject"];
 * const dns = {
 *   query: (_type: string, name: string) =>
 *     Promise.resolve(
 *       name === "_dmarc.example.com"
 *         ? { status: "found", records }
 *         : { status: "none", why: "no-such-name" },
 *     ),
 * } as DnsQuerier;
 *
 * const found: DmarcLookup = await lookupDmarc("example.com", { dns });
 * const record: DmarcRecord | undefined = found.record;
 * const policies: DmarcPolicies | undefined = record?.policies;
 * const policy: DmarcPolicy | undefined = policies?.p;
 * const [first]: readonly DmarcStep[] = found.steps;
 * const [finding]: readonly TrustFinding[] = found.findings;
 * console.assert(policy === undefined && first?.texts.length === 2);
 * console.assert(finding?.level === "wrong");
 * ```
 */
export async function lookupDmarc(
  name: string,
  options: DmarcOptions,
): Promise<DmarcLookup> {
  const domain = mailDomain(name);
  if (domain === undefined) {
    const text = "The name is no domain";
    const findings = [{ level: "wrong", text }] as const;
    return { domain: name, status: "none", steps: [], findings };
  }
  const walks = new TreeWalks(options);
  const walk = await walks.walk(domain);
  const { steps, organization, applied, failure } = walk;
  const findings = walkFindings(walk);
  if (applied !== undefined) {
    findings.push(...recordFindings(applied.record, walk));
    findings.push(...await reportFindings(applied, { walk, walks }));
  }
  return {
    domain,
    status: applied !== undefined
      ? "found"
      : failure === undefined
      ? "none"
      : "failed",
    reason: failure,
    steps,
    organization,
    recordAt: applied?.domain,
    record: applied?.record,
    findings,
  };
}

function wrong(text: string): TrustFinding {
  return { level: "wrong", text };
}

function advice(text: string): TrustFinding {
  return { level: "advice", text };
}

function walkFindings({ steps }: TreeWalk): TrustFinding[] {
  return steps.filter(({ texts }) => texts.length > 1).map((
    { domain, texts },
  ) =>
    wrong(
      `_dmarc.${domain} has ${texts.length} DMARC records: all of them are ignored`,
    )
  );
}

function* recordFindings(
  record: DmarcRecord,
  walk: TreeWalk,
): Generator<TrustFinding> {
  const { tags, policies } = record;
  const hasPolicy = tags.has("p");
  for (const fault of record.faults) yield wrong(fault);
  if (policies === undefined) {
    yield wrong(
      "The record has no valid policy and asks for no reports: it is not applied",
    );
  } else if (!hasPolicy) {
    yield wrong("Tag p= is missing: the policy is none");
  }
  for (const [tag, meaning] of Object.entries(OBSOLETE)) {
    if (tags.has(tag)) {
      yield advice(`Tag ${tag}= is obsolete and without effect: ${meaning}`);
    }
  }
  for (const tag of tags.keys()) {
    if (!KNOWN.has(tag) && !Object.hasOwn(OBSOLETE, tag)) {
      yield advice(`Tag ${tag}= is unknown and without effect`);
    }
  }
  if (tags.has("fo") && !tags.has("ruf")) {
    yield advice("Tag fo= is without effect: there is no ruf=");
  }
  if (hasPolicy && record.rua.length === 0) {
    yield advice("There is no rua=: no receiver reports what passes and fails");
  }
  const { applied, domain, organization } = walk;
  const isBelow = organization !== undefined && applied?.domain === domain &&
    organization !== domain && record.psd === "u";
  if (isBelow && (tags.has("sp") || tags.has("np"))) {
    yield advice(
      `Tags sp= and np= are without effect: only those at ${organization} count for what is below it`,
    );
  }
}

/** Whether the domains that get the reports want them. */
async function reportFindings(
  applied: DmarcStep & { readonly record: DmarcRecord },
  { walk, walks }: { readonly walk: TreeWalk; readonly walks: TreeWalks },
): Promise<TrustFinding[]> {
  const { rua, ruf } = applied.record;
  const { organization } = walk.domain === applied.domain
    ? walk
    : await walks.walk(applied.domain);
  const findings: TrustFinding[] = [];
  const asked = new Set<string>();
  for (const address of [...rua, ...ruf]) {
    const written = reportDomain(address);
    const domain = mailDomain(written);
    if (domain === undefined) {
      if (written !== "") findings.push(wrong(`${written} is no domain`));
      continue;
    }
    if (asked.has(domain) || domain === applied.domain) continue;
    if (asked.size === MOST_ADDRESSES) break;
    asked.add(domain);
    const there = await walks.walk(domain);
    if (organization !== undefined && there.organization === organization) {
      continue;
    }
    const question = `${applied.domain}._report._dmarc.${domain}`;
    const outcome = await walks.ask("TXT", question);
    if (outcome.status === "failed") {
      findings.push(
        advice(
          `Whether ${domain} takes reports is not known: ${outcome.reason}`,
        ),
      );
      continue;
    }
    // The answer may be a record with nothing but its version.
    const takes = outcome.status === "found" &&
      outcome.records.some((text) => /^v[ \t]*=[ \t]*DMARC1\b/i.test(text));
    if (!takes) {
      findings.push(
        wrong(
          `${domain} gets no reports: ${question} has no TXT record "v=DMARC1"`,
        ),
      );
    }
  }
  return findings;
}
