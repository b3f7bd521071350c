/**
 * `cli.ts lookup tls-rpt`: where a domain wants reports on TLS, and what is wrong
 * with its record. Stands alone: the record has its own words and layout.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc8460#section-3 | RFC 8460 section 3}
 */

import { printableJson } from "../log.ts";
import { readTlsReportRecord } from "../server/mod.ts";
import { EX_TEMPFAIL, oneLine } from "./output.ts";
import type { LookupTools } from "./relay_settings.ts";

/**
 * Prints the record; resolves with the exit code: 0 if there is a record and
 * nothing is wrong with it, 1 if not, 75 if no answer came.
 *
 * @param name The domain, without `_smtp._tls.`
 */
export async function lookupTlsRpt(
  name: string,
  { dns, json, output }: LookupTools,
): Promise<number> {
  const domain = name.replace(/^_smtp\._tls\./i, "").replace(/\.$/, "");
  const answer = await dns.txt(`_smtp._tls.${domain}`);
  if (answer.status === "failed") {
    output.err(`${oneLine(answer.reason)}\n`);
    return EX_TEMPFAIL;
  }
  const texts = answer.status === "found"
    ? answer.records.filter((text) => text.startsWith("v=TLSRPTv1"))
    : [];
  const record = readTlsReportRecord(texts);
  const { places = [] } = record;
  const unusable = record.places === undefined ? [] : record.unusable;
  const findings = [
    ...(record.fault === undefined ? [] : [record.fault]),
    ...unusable.map((uri) => `No report can go to "${uri}"`),
  ].map((text) => ({ level: "wrong", text }));
  if (json) {
    const status = texts.length === 0 ? "none" : "found";
    const value = { domain, status, records: texts, places, findings };
    output.out(`${printableJson(value)}\n`);
  } else {
    const lines = [
      ...texts.map((text) => `_smtp._tls.${domain}: ${text}`),
      ...places.map((place) =>
        place.kind === "mail"
          ? `  reports by mail to ${place.address}`
          : `  reports by POST to ${place.uri}`
      ),
      ...findings.map(({ level, text }) => `${level}: ${text}`),
    ];
    for (const line of lines) output.out(`${oneLine(line)}\n`);
  }
  if (texts.length === 0) {
    output.err(`${oneLine(domain)}: no record that asks for reports on TLS\n`);
    return 1;
  }
  return findings.length > 0 ? 1 : 0;
}
