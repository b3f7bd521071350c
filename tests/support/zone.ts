/** A DNS of TXT records for tests of mail trust: it answers from a table and knows what it was asked. */

import type { DnsQuerier } from "../../lib/dns/outcome.ts";

/** What a name answers: TXT records, or a failure. */
export type ZoneAnswer = readonly string[] | "silent";

/** Options of {@linkcode zone}. */
export interface ZoneOptions {
  /** Names that exist without TXT records. */
  readonly exists?: readonly string[];
  /** Names with an alias whose target does not exist. */
  readonly dangling?: readonly string[];
  /** Names for which only questions for TXT have an answer. */
  readonly silent?: readonly string[];
}

/** A DNS over a table. */
export interface Zone {
  readonly dns: DnsQuerier;
  /** The questions in order, as `"TXT _dmarc.example.com"`. */
  readonly asked: string[];
}

/** Makes a DNS whose TXT records are in `table`. */
export function zone(
  table: Readonly<Record<string, ZoneAnswer>>,
  options: ZoneOptions = {},
): Zone {
  const asked: string[] = [];
  const { exists = [], dangling = [], silent = [] } = options;
  const query = async (type: string, name: string): Promise<unknown> => {
    asked.push(`${type} ${name}`);
    await Promise.resolve();
    const answer = Object.hasOwn(table, name) ? table[name] : undefined;
    if (answer === "silent" || (type !== "TXT" && silent.includes(name))) {
      const reason = `No answer for ${name}`;
      return { status: "failed", code: "timeout", reason };
    }
    if (type === "TXT" && answer !== undefined) {
      return { status: "found", records: answer };
    }
    if (type === "CNAME" && dangling.includes(name)) {
      return { status: "found", records: ["gone.example"] };
    }
    return {
      status: "none",
      why: exists.includes(name) || answer !== undefined
        ? "no-such-record"
        : "no-such-name",
    };
  };
  return { dns: { query } as DnsQuerier, asked };
}
