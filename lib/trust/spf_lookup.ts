/**
 * The SPF record of a domain with the records that it includes, and what is wrong
 * with it: for its publisher. Stands alone: the check of a message stops at the
 * first term that matches, and must not ask what only a publisher wants to know.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc7208#section-4.6.4 | RFC 7208 sections 4.6.4} and
 * {@link https://www.rfc-editor.org/rfc/rfc7208#section-10.1 | 10.1}
 */

import { mailDomain } from "./author.ts";
import type { TrustFinding } from "./result.ts";
import type { SpfTools } from "./spf.ts";
import {
  isSpfRecord,
  parseSpfRecord,
  type SpfMechanism,
  type SpfRecord,
} from "./spf_record.ts";

/** One term of a record, in words. */
export interface SpfTermNote {
  /** The domain in whose record it stands. */
  readonly domain: string;
  /** How many records include this one: 0 for the domain's own. */
  readonly depth: number;
  /** The term as it stands there. */
  readonly text: string;
  /** What it says. */
  readonly meaning: string;
  /** Whether it asks the DNS, and so counts to the ten. */
  readonly asks: boolean;
}

/** What {@linkcode lookupSpf} found. */
export interface SpfLookup {
  /** The domain, with A-labels. */
  readonly domain: string;
  /** Whether it has a record, or why that is not known. */
  readonly status: "found" | "none" | "failed";
  /** Why a question had no answer. */
  readonly reason?: string | undefined;
  /** The record. */
  readonly text?: string | undefined;
  /** All terms, those of included records behind the term that includes them. */
  readonly terms: readonly SpfTermNote[];
  /** Number of terms that ask the DNS, with those of included records; ten at most. */
  readonly asks: number;
  /** Number of terms whose answer has no records; two at most. */
  readonly voids: number;
  /** What is wrong, and what could be better. */
  readonly findings: readonly TrustFinding[];
}

/** Terms that ask, at most. */
const MOST_TERMS = 10;
/** Answers without records, at most. */
const MOST_VOID = 2;
/** Records that are looked at: more than ten terms can lead to. */
const MOST_RECORDS = 25;

/**
 * Finds the SPF record of a domain, follows what it includes, and says what is
 * wrong with it.
 *
 * @param name The domain, U-labels or A-labels
 * @param tools The client that asks the DNS
 *
 * @example A record that lets everyone send
 * ```ts
 * import { lookupSpf, type SpfLookup, type SpfTermNote } from "@smtp/server/trust";
 * import type { DnsOutcome, DnsQuerier } from "@smtp/server/dns";
 *
 * const answer: DnsOutcome<string> = { status: "found", records: ["v=spf1 +all"] };
 * const dns = { query: () => Promise.resolve(answer) } as DnsQuerier;
 * const found: SpfLookup = await lookupSpf("example.com", { dns });
 * const [term]: readonly SpfTermNote[] = found.terms;
 * console.assert(term?.meaning === "pass: every other client");
 * console.assert(found.findings[0]?.level === "wrong");
 * ```
 */
export async function lookupSpf(
  name: string,
  tools: SpfTools,
): Promise<SpfLookup> {
  const domain = mailDomain(name);
  if (domain === undefined) {
    return {
      ...{ domain: name, status: "none", terms: [], asks: 0, voids: 0 },
      findings: [{ level: "wrong", text: "The text is no domain name" }],
    };
  }
  return await new SpfWalk(domain, tools).run();
}

/** Follows the records of one domain. */
class SpfWalk {
  readonly #domain: string;
  readonly #tools: SpfTools;
  readonly #terms: SpfTermNote[] = [];
  readonly #findings: TrustFinding[] = [];
  readonly #open: string[] = [];
  #records = 0;
  #asks = 0;
  #voids = 0;
  #reason: string | undefined;

  constructor(domain: string, tools: SpfTools) {
    this.#domain = domain;
    this.#tools = tools;
  }

  async run(): Promise<SpfLookup> {
    const domain = this.#domain;
    const text = await this.#follow(domain, 0);
    if (this.#asks > MOST_TERMS) {
      this.#wrong(
        `${this.#asks} terms ask the DNS, of ${MOST_TERMS}: receivers give up with permerror`,
      );
    }
    if (this.#voids > MOST_VOID) {
      this.#wrong(
        `${this.#voids} answers have no records, of ${MOST_VOID}: receivers give up with permerror`,
      );
    }
    const status = text !== undefined
      ? "found"
      : this.#reason === undefined
      ? "none"
      : "failed";
    return {
      ...{ domain, status, reason: this.#reason, text, terms: this.#terms },
      ...{ asks: this.#asks, voids: this.#voids, findings: this.#findings },
    };
  }

  #wrong(text: string): void {
    this.#findings.push({ level: "wrong", text });
  }

  /** Reads the record of a domain and what it includes; returns its text. */
  async #follow(domain: string, depth: number): Promise<string | undefined> {
    if (this.#open.includes(domain)) {
      this.#wrong(`"${domain}" includes itself`);
      return undefined;
    }
    if (++this.#records > MOST_RECORDS) return undefined;
    const texts = await this.#texts(domain);
    if (texts === undefined) return undefined;
    if (texts.length > 1) {
      this.#wrong(`"${domain}" has ${texts.length} SPF records, want one`);
    }
    const [text] = texts;
    if (text === undefined) {
      if (depth > 0) this.#wrong(`"${domain}" has no SPF record`);
      return undefined;
    }
    const record = parseSpfRecord(text);
    if (record.fault !== undefined) {
      this.#wrong(`${record.fault} in "${domain}"`);
      return text;
    }
    this.#open.push(domain);
    await this.#read(record, { domain, depth });
    this.#open.pop();
    return text;
  }

  async #texts(domain: string): Promise<readonly string[] | undefined> {
    const outcome = await this.#ask("TXT", domain);
    if (outcome.status === "failed") return undefined;
    return outcome.status === "found"
      ? (outcome.records as readonly string[]).filter(isSpfRecord)
      : [];
  }

  async #read(
    record: SpfRecord,
    place: { readonly domain: string; readonly depth: number },
  ): Promise<void> {
    const { domain, depth } = place;
    const { mechanisms, redirect, explanation } = record;
    for (const [at, mechanism] of mechanisms.entries()) {
      const { text, name } = mechanism;
      const asks = !["all", "ip4", "ip6"].includes(name);
      if (asks) this.#asks++;
      this.#terms.push({ ...place, text, meaning: meaningOf(mechanism), asks });
      this.#judge(mechanism, { depth, isLast: at + 1 === mechanisms.length });
      if (asks) await this.#look(mechanism, place);
    }
    const hasAll = mechanisms.some(({ name }) => name === "all");
    if (redirect !== undefined) {
      this.#asks++;
      const meaning = hasAll
        ? "without effect: all matches before it"
        : `else as the record of ${redirect} says`;
      const text = `redirect=${redirect}`;
      this.#terms.push({ ...place, text, meaning, asks: true });
      if (!hasAll && !redirect.includes("%")) {
        await this.#follow(redirect, depth + 1);
      }
    } else if (!hasAll && depth === 0) {
      this.#findings.push({
        level: "advice",
        text: 'The record has no "all" at its end: other clients are neutral',
      });
    }
    if (explanation !== undefined) {
      const meaning = `the words for a fail are at ${explanation}`;
      const text = `exp=${explanation}`;
      this.#terms.push({ domain, depth, text, meaning, asks: false });
    }
  }

  /** What is wrong with a term by itself. */
  #judge(
    { name, qualifier, text }: SpfMechanism,
    place: { readonly depth: number; readonly isLast: boolean },
  ): void {
    if (name === "all" && place.depth === 0) {
      if (qualifier === "pass") this.#wrong(`"${text}" lets everyone send`);
      else if (qualifier === "neutral") {
        this.#findings.push({
          level: "advice",
          text: `"${text}" says nothing of other clients; want ~all or -all`,
        });
      }
      if (!place.isLast) this.#wrong(`Terms behind "${text}" have no effect`);
    }
    if (name === "ptr") {
      this.#findings.push({
        level: "advice",
        text: `"${text}" is slow and not reliable; RFC 7208 advises against it`,
      });
    }
  }

  /** Asks what a term asks, as far as that does not depend on a message. */
  async #look(
    { name, domain: target, text }: SpfMechanism,
    { domain, depth }: { readonly domain: string; readonly depth: number },
  ): Promise<void> {
    const asked = target ?? domain;
    if (asked.includes("%")) return;
    if (name === "include") {
      await this.#follow(asked, depth + 1);
    } else if (name === "mx") {
      const outcome = await this.#ask("MX", asked);
      if (outcome.status === "none") this.#void(text, domain);
      if (outcome.status === "found" && outcome.records.length > MOST_TERMS) {
        this.#wrong(`"${text}" has over ${MOST_TERMS} mail exchangers`);
      }
    } else if (name === "a") {
      const [v4, v6] = await Promise.all([
        this.#ask("A", asked),
        this.#ask("AAAA", asked),
      ]);
      if (v4.status === "none" && v6.status === "none") {
        this.#void(text, domain);
      }
    } else if (name === "exists") {
      const outcome = await this.#ask("A", asked);
      if (outcome.status === "none") this.#void(text, domain);
    }
  }

  #void(text: string, domain: string): void {
    this.#voids++;
    this.#findings.push({
      level: "advice",
      text: `"${text}" of "${domain}" has no records`,
    });
  }

  async #ask<T extends "TXT" | "A" | "AAAA" | "MX">(type: T, name: string) {
    const { dns, signal } = this.#tools;
    const outcome = await dns.query(type, name, signal ? { signal } : {});
    if (outcome.status === "failed") this.#reason ??= outcome.reason;
    return outcome;
  }
}

/** What a term says of clients. */
function meaningOf(mechanism: SpfMechanism): string {
  const { name, qualifier, domain = "the domain" } = mechanism;
  const { prefix4, prefix6, text } = mechanism;
  const range = prefix4 < 32 || prefix6 < 128
    ? `, with /${prefix4} for IPv4 and /${prefix6} for IPv6`
    : "";
  const who = {
    all: "every other client",
    include: `clients that the record of ${domain} lets pass`,
    a: `the addresses of ${domain}${range}`,
    mx: `the mail exchangers of ${domain}${range}`,
    ptr: `clients with a name in ${domain}`,
    ip4: text.slice(text.indexOf(":") + 1),
    ip6: text.slice(text.indexOf(":") + 1),
    exists: `clients for which ${domain} has an address`,
  };
  return `${qualifier}: ${who[name]}`;
}
