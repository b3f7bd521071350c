/**
 * `cli.ts lookup`: one DNS query, made and answered as the server does it.
 * Stands alone: each command has its file.
 */

import {
  DnsClient,
  type DnsRecordType,
  type MxRecord,
  type TlsaRecord,
} from "../dns/mod.ts";
import { flag, type RawSettings } from "./arguments.ts";
import { dnsSettings, type LookupTools } from "./relay_settings.ts";
import {
  type LOOKUP_EXPLAINED,
  type LOOKUP_RECORDS,
  LOOKUP_TYPES,
} from "./option.ts";
import { printableJson } from "../log.ts";
import {
  EX_TEMPFAIL,
  hint,
  oneLine,
  type Output,
  UsageError,
} from "./output.ts";

const TYPES: Readonly<Record<typeof LOOKUP_RECORDS[number], DnsRecordType>> = {
  mx: "MX",
  a: "A",
  aaaa: "AAAA",
  ptr: "PTR",
  txt: "TXT",
  tlsa: "TLSA",
};

/** Prints what a name has; resolves with the exit code. */
type Explain = (name: string, tools: LookupTools) => Promise<number>;

/** The lookups that explain, each loaded where it is wanted. */
const EXPLAINED: Readonly<
  Record<typeof LOOKUP_EXPLAINED[number], () => Promise<Explain>>
> = {
  spf: async () => (await import("./lookup_spf.ts")).lookupSpf,
  dkim: async () => (await import("./lookup_dkim.ts")).lookupDkim,
  dmarc: async () => (await import("./lookup_dmarc.ts")).lookupDmarcRecord,
  "mta-sts": async () => (await import("./lookup_sts.ts")).lookupMtaSts,
  "tls-rpt": async () => (await import("./lookup_tls_rpt.ts")).lookupTlsRpt,
};

/**
 * Runs `lookup`; resolves with the exit code: 0 with records, 1 without or with a
 * faulty one, 75 if no answer came.
 *
 * @throws {UsageError} If the arguments are not a type and a name
 */
export async function lookup(
  args: readonly string[],
  raw: RawSettings,
  output: Output,
): Promise<number> {
  const [word = "", name, extra] = args;
  const key = word.toLowerCase();
  const isKnown = LOOKUP_TYPES.some((type) => type === key);
  if (!isKnown || !name?.trim() || extra !== undefined) {
    const words = LOOKUP_TYPES.join(", ").replace(/, (?=[^,]*$)/, " or ");
    throw new UsageError(
      `Cannot run ${["lookup", ...args].join(" ")}: want ${words} and a name${
        isKnown ? "" : hint(key, LOOKUP_TYPES)
      }`,
    );
  }
  const dns = new DnsClient({
    ...dnsSettings(raw),
    onWarning: (message) => output.err(`${oneLine(message)}\n`),
  });
  const json = flag(raw, "json");
  if (Object.hasOwn(EXPLAINED, key)) {
    const explain = await EXPLAINED[key as keyof typeof EXPLAINED]();
    return await explain(name, { dns, raw, json, output });
  }
  const type = TYPES[key as keyof typeof TYPES];
  // Certificate associations count for DANE only if they are validated.
  const secure = type === "TLSA" || undefined;
  const outcome = await dns.query(type, name, { secure });
  if (json) {
    output.out(`${printableJson(outcome)}\n`);
  }
  switch (outcome.status) {
    case "found":
      if (!json) {
        for (const record of outcome.records) output.out(text(record));
        if (secure) output.out(`${validation(outcome, dns)}\n`);
      }
      return 0;
    case "null-mx":
      if (!json) output.out("0 . (takes no mail)\n");
      return 0;
    case "none":
      output.err(
        `${oneLine(name)}: no ${type} record (${
          outcome.why.replaceAll("-", " ")
        })${secure ? `, ${validation(outcome, dns)}` : ""}\n`,
      );
      return 1;
    case "failed":
      output.err(`${oneLine(outcome.reason)}\n`);
      return EX_TEMPFAIL;
  }
}

/** Whether an answer is validated, in words. */
function validation(
  { secure }: { readonly secure?: boolean | undefined },
  dns: DnsClient,
): string {
  if (secure) return "secure (validated by DNSSEC)";
  return dns.canValidate
    ? "not secure (not validated by DNSSEC)"
    : "not secure (the name server is on another machine: see --trust-ad)";
}

function text(record: string | MxRecord | TlsaRecord): string {
  if (typeof record === "string") return `${oneLine(record)}\n`;
  if ("exchange" in record) return `${record.preference} ${record.exchange}\n`;
  const { usage, selector, matching, data } = record;
  return `${usage} ${selector} ${matching} ${data}\n`;
}
