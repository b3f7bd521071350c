/**
 * The DNS tree walk: which DMARC record applies to a domain, and where its
 * organization begins. It asks the domain and the names above it, longest first,
 * at most 8 of them; no list of public suffixes takes part.
 *
 * One {@linkcode TreeWalks} serves one message: a name is asked for once, whatever
 * the number of walks. Never throws: a question without an answer ends its walk.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc9989#section-4.10 | RFC 9989 sections 4.10},
 * {@link https://www.rfc-editor.org/rfc/rfc9989#section-4.10.1 | 4.10.1} and
 * {@link https://www.rfc-editor.org/rfc/rfc9989#section-4.10.2 | 4.10.2}
 */

import type { DnsOutcomeOf, DnsQuerier } from "../dns/outcome.ts";
import {
  type DmarcRecord,
  isDmarcRecord,
  parseDmarcRecord,
} from "./dmarc_record.ts";

/** How DMARC asks. */
export interface DmarcOptions {
  /** The client that asks; a failed question makes the result "temperror". */
  readonly dns: DnsQuerier;
  /**
   * Ends the check: what is open then is "temperror". Default: only the client's
   * own time limit ends it.
   */
  readonly signal?: AbortSignal | undefined;
}

/** The DMARC records of one name. */
export interface DmarcStep {
  /** The domain, without `_dmarc.` in front. */
  readonly domain: string;
  /** Its DMARC records as published; more than one are all discarded. */
  readonly texts: readonly string[];
  /** Its record, if it has exactly one. */
  readonly record?: DmarcRecord | undefined;
  /** Why its records are not known, as one sentence without a final period. */
  readonly failure?: string | undefined;
}

/** What a walk found. */
export interface TreeWalk {
  /** The domain at which it began. */
  readonly domain: string;
  /** The names asked for, in order. */
  readonly steps: readonly DmarcStep[];
  /** The organizational domain; unset if a question failed. */
  readonly organization?: string | undefined;
  /** The step whose record applies to the domain; unset if none does, or none is known. */
  readonly applied?: DmarcStep & { readonly record: DmarcRecord } | undefined;
  /** Why the walk did not come to its end, as one sentence without a final period. */
  readonly failure?: string | undefined;
}

/** A name with as many labels or more is cut to one label less than this. */
const LONG_NAME = 8;

/** The names that a walk from a domain may ask for, in order. */
function walkNames(domain: string): string[] {
  const labels = domain.split(".");
  const names = [domain];
  let left = Math.min(labels.length, LONG_NAME) - 1;
  for (; left > 0; left--) names.push(labels.slice(-left).join("."));
  return names;
}

/** The walks of one message. */
export class TreeWalks {
  readonly #options: DmarcOptions;
  readonly #steps = new Map<string, Promise<DmarcStep>>();

  constructor(options: DmarcOptions) {
    this.#options = options;
  }

  /** Asks a question; a client that throws, as after an abort, has failed. */
  async ask<T extends "A" | "CNAME" | "MX" | "TXT">(
    type: T,
    name: string,
  ): Promise<DnsOutcomeOf<T> | Failed> {
    const { dns, signal } = this.#options;
    try {
      return await dns.query(type, name, { signal });
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      return { status: "failed", reason };
    }
  }

  /** The DMARC records of one domain, without those above it. */
  step(domain: string): Promise<DmarcStep> {
    let step = this.#steps.get(domain);
    if (step === undefined) {
      step = this.#ask(domain);
      this.#steps.set(domain, step);
    }
    return step;
  }

  async #ask(domain: string): Promise<DmarcStep> {
    const outcome = await this.ask("TXT", `_dmarc.${domain}`);
    if (outcome.status === "failed") {
      return { domain, texts: [], failure: outcome.reason };
    }
    const texts = outcome.status === "found"
      ? outcome.records.filter(isDmarcRecord)
      : [];
    const record = texts.length === 1 ? parseDmarcRecord(texts[0]!) : undefined;
    return { domain, texts, record };
  }

  /**
   * Walks from a domain upwards.
   *
   * @param domain The domain, with A-labels, in lower case
   */
  async walk(domain: string): Promise<TreeWalk> {
    const steps: DmarcStep[] = [];
    for (const name of walkNames(domain)) {
      const step = await this.step(name);
      steps.push(step);
      const { failure, record } = step;
      if (failure !== undefined) {
        // The record of the domain itself applies, whatever is above it.
        return { domain, steps, failure, applied: withRecord(steps[0]) };
      }
      if (record !== undefined && record.psd !== "u") break;
    }
    const organization = organizationOf(domain, steps);
    const applied = withRecord(steps[0]) ??
      withRecord(steps.find((step) => step.domain === organization)) ??
      withRecord(steps.find(({ record }) => record?.psd === "y"));
    return { domain, steps, organization, applied };
  }
}

/** A question without an answer. */
interface Failed {
  readonly status: "failed";
  readonly reason: string;
}

function withRecord(step: DmarcStep | undefined): TreeWalk["applied"] {
  const record = step?.record;
  return step === undefined || record === undefined
    ? undefined
    : { ...step, record };
}

function organizationOf(domain: string, steps: readonly DmarcStep[]): string {
  let organization = domain;
  for (const { domain: name, record } of steps) {
    if (record === undefined) continue;
    if (record.psd === "y" && name !== domain) {
      const labels = name.split(".").length + 1;
      return domain.split(".").slice(-labels).join(".");
    }
    organization = name;
    if (record.psd === "n") break;
  }
  return organization;
}
