/**
 * DMARC: whether SPF or DKIM vouches for the domain of the author, and what that
 * domain asks for if neither does.
 *
 * Never says "fail" while it does not know: an identity that would align and was
 * not decided, a walk that did not end, or a policy that hangs on a question
 * without an answer make "temperror". A permanent error of SPF or DKIM vouches for
 * nothing, as a "fail" does. Never throws because of what a message or a domain says.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc9989#section-5.3 | RFC 9989 sections 5.3},
 * {@link https://www.rfc-editor.org/rfc/rfc9989#section-4.10.2 | 4.10.2} (alignment)
 */

import { type AuthorDomain, mailDomain } from "./author.ts";
import { type DmarcPolicy, testedPolicy } from "./dmarc_record.ts";
import type { DkimResult, DmarcResult, SpfResult } from "./result.ts";
import { type DmarcOptions, type TreeWalk, TreeWalks } from "./tree_walk.ts";

/** Names no name server: the reason goes into a field of the message. */
const NO_ANSWER = "The DNS gave no answer";

/** What DMARC judges. */
export interface DmarcFacts {
  /** The domain of the author, or why the message has no such domain. */
  readonly author: AuthorDomain;
  /** The result of SPF for MAIL FROM; that for HELO vouches for nothing here. */
  readonly spf: SpfResult | undefined;
  /** The results of DKIM, one for each signature. */
  readonly dkim: readonly DkimResult[];
}

/** Most identities of a message that are walked for: SPF and the signatures. */
const MOST_WALKS = 12;

/**
 * Checks a message against the policy of its author's domain (RFC 9989 section 5).
 * The record is found by a walk up the names, of 8 questions at most; no list of
 * public suffixes is used.
 *
 * | result | the message |
 * | --- | --- |
 * | `pass` | SPF or DKIM passed for a domain that aligns |
 * | `fail` | neither did: `policy` says what the domain asks for |
 * | `none` | the domain has no policy |
 * | `temperror` | a question of the DNS had no answer, and it matters |
 * | `permerror` | the message has no single author's domain |
 *
 * @param facts The author and the results of SPF and DKIM
 * @param options The client that asks the DNS
 *
 * @example A message that nothing vouches for
 * ```ts
 * import { type AuthorDomain, checkDmarc } from "@smtp/server/trust";
 * import type { DmarcFacts, DmarcOptions } from "@smtp/server/trust";
 * import type { DnsQuerier } from "@smtp/server/dns";
 *
 * const records = ["v=DMARC1; p=reject; psd=n"];
 * const dns = {
 *   query: (_type: string, name: string) =>
 *     Promise.resolve(
 *       name === "_dmarc.example.com"
 *         ? { status: "found", records }
 *         : { status: "none", why: "no-such-name" },
 *     ),
 * } as DnsQuerier;
 *
 * const author: AuthorDomain = { domain: "example.com" };
 * const facts: DmarcFacts = { author, spf: undefined, dkim: [] };
 * const options: DmarcOptions = { dns };
 * const { result, policy } = await checkDmarc(facts, options);
 * console.assert(result === "fail" && policy === "reject");
 * ```
 */
export async function checkDmarc(
  facts: DmarcFacts,
  options: DmarcOptions,
): Promise<DmarcResult> {
  const { domain, reason } = facts.author;
  if (domain === undefined) return { result: "permerror", reason };
  const author = mailDomain(domain);
  if (author === undefined) {
    return { result: "permerror", reason: "From has no valid domain" };
  }
  const walks = new TreeWalks(options);
  const walk = await walks.walk(author);
  const { applied, organization, failure } = walk;
  const place = { author, organization };
  if (applied === undefined) {
    return failure === undefined
      ? { result: "none", ...place }
      : { result: "temperror", reason: NO_ANSWER, ...place };
  }
  const found = { ...place, recordAt: applied.domain };
  if (applied.record.policies === undefined) {
    const reason = "The DMARC record has no valid policy";
    return { result: "none", reason, ...found };
  }
  const [asked, vouched] = await Promise.all([
    askedPolicy(walk, walks),
    vouchers(facts, { walk, walks }),
  ]);
  const { alignedBy, undecided } = vouched;
  const result = { ...found, policy: asked.policy };
  if (alignedBy.length > 0) return { result: "pass", ...result, alignedBy };
  if (undecided !== undefined) {
    return { result: "temperror", reason: undecided, ...result };
  }
  if (asked.undecided !== undefined) {
    return { result: "temperror", reason: asked.undecided, ...found };
  }
  return { result: "fail", ...result };
}

/** The policy that applies; the weaker of two while it is undecided which. */
async function askedPolicy(
  walk: TreeWalk,
  walks: TreeWalks,
): Promise<{ policy: DmarcPolicy; undecided?: string | undefined }> {
  const { domain, record } = walk.applied!;
  const { p, sp, np } = record.policies!;
  const lowered = (policy: DmarcPolicy) =>
    record.testing ? testedPolicy(policy) : policy;
  if (domain === walk.domain) return { policy: lowered(p) };
  if (lowered(sp) === lowered(np)) return { policy: lowered(sp) };
  const exists = await domainExists(walk.domain, walks);
  if (typeof exists === "boolean") return { policy: lowered(exists ? sp : np) };
  const weaker = strength(sp) < strength(np) ? sp : np;
  return { policy: lowered(weaker), undecided: exists.reason };
}

function strength(policy: DmarcPolicy): number {
  return policy === "none" ? 0 : policy === "quarantine" ? 1 : 2;
}

/**
 * Whether the name of a domain exists: it has records of any type, or names below
 * it. An alias exists though its target does not: the answer to a question for its
 * address is about the target.
 */
async function domainExists(
  domain: string,
  walks: TreeWalks,
): Promise<boolean | { readonly reason: string }> {
  for (const type of ["A", "CNAME", "MX"] as const) {
    const outcome = await walks.ask(type, domain);
    if (outcome.status === "failed") return { reason: NO_ANSWER };
    if (outcome.status !== "none") return true;
    if (outcome.why === "no-such-record") return true;
    if (outcome.why === "not-a-name") return false;
    if (outcome.why === "no-such-name" && type !== "A") return false;
  }
  return { reason: `Whether ${domain} exists is not known` };
}

/** The author's domain and the walks of the message. */
interface Place {
  readonly walk: TreeWalk;
  readonly walks: TreeWalks;
}

/** Which checks passed for a domain that aligns, and which of them could still do so. */
async function vouchers(
  { spf, dkim }: DmarcFacts,
  place: Place,
): Promise<{
  readonly alignedBy: readonly ("spf" | "dkim")[];
  readonly undecided?: string | undefined;
}> {
  const { strictSpf, strictDkim } = place.walk.applied!.record;
  const alignedBy: ("spf" | "dkim")[] = [];
  const alignment = new Alignment(place);
  let undecided: string | undefined;
  const judge = async (
    by: "spf" | "dkim",
    { result, domain, reason }: SpfResult | DkimResult,
  ) => {
    if (result !== "pass" && result !== "temperror") return;
    const isStrict = by === "spf" ? strictSpf : strictDkim;
    const aligns = await alignment.of(domain, isStrict);
    if (typeof aligns !== "boolean") undecided ??= aligns.reason;
    else if (!aligns) return;
    else if (result === "temperror") {
      undecided ??= reason ?? `The ${by} result for ${domain} is not known`;
    } else if (!alignedBy.includes(by)) alignedBy.push(by);
  };
  // SPF first: signatures must not use up the walks that it needs.
  if (spf?.identity === "mailfrom") await judge("spf", spf);
  for (const one of dkim) await judge("dkim", one);
  return { alignedBy, undecided };
}

/** Whether identities align with the author's domain. */
class Alignment {
  readonly #place: Place;
  /** The domains that were walked for. */
  readonly #walked = new Set<string>();

  constructor(place: Place) {
    this.#place = place;
  }

  /** Whether a domain aligns; a reason if it is not known. */
  async of(
    text: string,
    isStrict: boolean,
  ): Promise<boolean | { readonly reason: string }> {
    const { walk, walks } = this.#place;
    const domain = mailDomain(text);
    if (domain === undefined) return false;
    if (domain === walk.domain) return true;
    if (isStrict) return false;
    const { organization } = walk;
    if (organization === undefined) {
      // The organization is the author's domain or above it, and so is the identity's.
      return lastLabel(domain) === lastLabel(walk.domain)
        ? { reason: NO_ANSWER }
        : false;
    }
    if (domain !== organization && !domain.endsWith(`.${organization}`)) {
      return false;
    }
    this.#walked.add(domain);
    if (this.#walked.size > MOST_WALKS) {
      return { reason: `More than ${MOST_WALKS} identities could align` };
    }
    const other = await walks.walk(domain);
    return other.organization === undefined
      ? { reason: NO_ANSWER }
      : other.organization === organization;
  }
}

function lastLabel(domain: string): string {
  return domain.slice(domain.lastIndexOf(".") + 1);
}
