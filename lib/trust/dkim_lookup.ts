/**
 * The key record of a DKIM selector, and what is wrong with it: for its publisher.
 * Stands alone: the check of a message needs the key, and no advice.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc6376#section-3.6.1 | RFC 6376 section 3.6.1},
 * {@link https://www.rfc-editor.org/rfc/rfc8301#section-3.2 | RFC 8301 section 3.2}
 */

import { readKeyRecords } from "./dkim_key.ts";
import type { TrustFinding } from "./result.ts";
import type { SpfTools } from "./spf.ts";

/** What {@linkcode lookupDkim} found. */
export interface DkimLookup {
  /** The name of the record: `SELECTOR._domainkey.DOMAIN`. */
  readonly name: string;
  /** Whether there is a record, or why that is not known. */
  readonly status: "found" | "none" | "failed";
  /** Why the question had no answer. */
  readonly reason?: string | undefined;
  /** The texts at the name. */
  readonly texts: readonly string[];
  /** The kind of the key, if it can be read. */
  readonly type?: "rsa" | "ed25519" | undefined;
  /** Bits of the key. */
  readonly bits?: number | undefined;
  /** What is wrong, and what could be better. */
  readonly findings: readonly TrustFinding[];
}

/** Bits that a new RSA key should have. */
const WANTED_BITS = 2048;

/**
 * Finds the key record of a selector, and says what is wrong with it.
 *
 * @param name The name of the record, as `"s1._domainkey.example.com"`
 * @param tools The client that asks the DNS
 *
 * @example A key that was revoked
 * ```ts
 * import { type DkimLookup, lookupDkim } from "@smtp/server/trust";
 * import type { DnsOutcome, DnsQuerier } from "@smtp/server/dns";
 *
 * const answer: DnsOutcome<string> = { status: "found", records: ["p="] };
 * const dns = { query: () => Promise.resolve(answer) } as DnsQuerier;
 * const found: DkimLookup = await lookupDkim("s1._domainkey.example.com", { dns });
 * console.assert(found.findings[0]?.text === "The key is revoked");
 * ```
 */
export async function lookupDkim(
  name: string,
  { dns, signal }: SpfTools,
): Promise<DkimLookup> {
  const outcome = await dns.query("TXT", name, signal ? { signal } : {});
  if (outcome.status === "failed") {
    const { reason } = outcome;
    return { name, status: "failed", reason, texts: [], findings: [] };
  }
  if (outcome.status !== "found") {
    return { name, status: "none", texts: [], findings: [] };
  }
  const texts = outcome.records;
  const read = readKeyRecords(texts);
  if (read.key === undefined) {
    const findings = [{ level: "wrong", text: read.reason } as const];
    return { name, status: "found", texts, findings };
  }
  const { type, bits } = read.key;
  const findings: TrustFinding[] = [];
  if (type === "rsa" && bits < WANTED_BITS) {
    findings.push({
      level: "advice",
      text: `The key has ${bits} bits; want ${WANTED_BITS}`,
    });
  }
  if (read.record.testing) {
    findings.push({
      level: "advice",
      text: "t=y says that DKIM is only tested; remove it when it works",
    });
  }
  return { name, status: "found", texts, type, bits, findings };
}
