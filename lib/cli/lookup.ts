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
import { nameServers } from "./relay_settings.ts";
import { LOOKUP_TYPES } from "./option.ts";
import { printableJson } from "../log.ts";
import {
  EX_TEMPFAIL,
  hint,
  oneLine,
  type Output,
  UsageError,
} from "./output.ts";

const TYPES: Readonly<Record<string, DnsRecordType>> = {
  mx: "MX",
  a: "A",
  aaaa: "AAAA",
  ptr: "PTR",
  txt: "TXT",
} satisfies Record<
  Exclude<typeof LOOKUP_TYPES[number], "dmarc">,
  DnsRecordType
>;

/**
 * Runs `lookup`; resolves with the exit code: 0 with records, 1 without, 75 if no
 * answer came.
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
  const type = Object.hasOwn(TYPES, key) ? TYPES[key] : undefined;
  const isDmarc = key === "dmarc";
  const isKnown = type !== undefined || isDmarc;
  if (!isKnown || !name?.trim() || extra !== undefined) {
    throw new UsageError(
      `Cannot run ${
        ["lookup", ...args].join(" ")
      }: want mx, a, aaaa, ptr, txt or dmarc and a name${
        isKnown ? "" : hint(key, LOOKUP_TYPES)
      }`,
    );
  }
  const dns = new DnsClient({ nameServers: nameServers(raw) });
  const json = flag(raw, "json");
  if (type === undefined) {
    const { lookupDmarcRecord } = await import("./lookup_dmarc.ts");
    return await lookupDmarcRecord(name, { dns, json, output });
  }
  const outcome = await dns.query(type, name);
  if (json) {
    output.out(`${printableJson(outcome)}\n`);
  }
  switch (outcome.status) {
    case "found":
      if (!json) {
        for (const record of outcome.records) output.out(text(record));
      }
      return 0;
    case "null-mx":
      if (!json) output.out("0 . (takes no mail)\n");
      return 0;
    case "none":
      output.err(
        `${oneLine(name)}: no ${type} record (${
          outcome.why.replaceAll("-", " ")
        })\n`,
      );
      return 1;
    case "failed":
      output.err(`${oneLine(outcome.reason)}\n`);
      return EX_TEMPFAIL;
  }
}

function text(record: string | MxRecord | TlsaRecord): string {
  if (typeof record === "string") return `${oneLine(record)}\n`;
  if ("exchange" in record) return `${record.preference} ${record.exchange}\n`;
  const { usage, selector, matching, data } = record;
  return `${usage} ${selector} ${matching} ${data}\n`;
}
