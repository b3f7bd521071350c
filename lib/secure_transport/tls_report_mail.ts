/**
 * A report on TLS as it is sent: compressed JSON, with the names that go with it,
 * as a message or as the body of a POST. Sends nothing itself.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc8460#section-5 | RFC 8460 section 5}
 */

import { formatDate } from "../protocol/trace.ts";
import type { TlsDay, TlsReportHead } from "./tls_report.ts";

/** A report, ready to be sent. */
export interface TlsReportFile {
  /** The domain that it is about. */
  readonly domain: string;
  /** Its name among all reports. */
  readonly id: string;
  /** The name of the file. */
  readonly name: string;
  /** The JSON, compressed. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The day, as `"2026-12-01"`. */
  readonly day: string;
}

/** The media type of a report. */
export const TLS_REPORT_TYPE = "application/tlsrpt+gzip";

/** Makes the report of a domain. */
export async function makeTlsReport(
  day: TlsDay,
  domain: string,
  head: TlsReportHead,
): Promise<TlsReportFile> {
  const text = JSON.stringify(day.report(domain, head));
  const stream = new Blob([text]).stream()
    .pipeThrough(new CompressionStream("gzip"));
  const bytes = await new Response(stream).bytes();
  const [begin, end] = [day.start / 1000, day.end / 1000 - 1];
  const { submitter } = head;
  return {
    domain,
    id: day.reportId(domain, head),
    name: `${submitter}!${domain}!${begin}!${end}!${day.unique}.json.gz`,
    bytes,
    day: day.day,
  };
}

/** Base64 characters of a line. */
const LINE = 76;
const encoder = new TextEncoder();

/**
 * The report as a message.
 *
 * @param init `from`: the address in From; `to`: the address in To; `now`: its
 * date, in milliseconds since 1970; `unique`: letters and digits, for its
 * Message-ID and its boundary
 */
export function tlsReportMessage(
  { domain, id, name, bytes, day }: TlsReportFile,
  { from, to, now, unique, submitter }: {
    readonly from: string;
    readonly to: string;
    readonly now: number;
    readonly unique: string;
    readonly submitter: string;
  },
): Uint8Array<ArrayBuffer> {
  const boundary = `=_report_${unique}`;
  const head = [
    `From: ${from}`,
    `To: ${to}`,
    `Date: ${formatDate(now, 0)}`,
    `Message-ID: <${unique}.tls-report@${submitter}>`,
    // Each part may be as long as a domain: one on a line.
    `Subject: Report Domain: ${domain}`,
    ` Submitter: ${submitter}`,
    ` Report-ID: <${id}>`,
    `TLS-Report-Domain: ${domain}`,
    `TLS-Report-Submitter: ${submitter}`,
    "TLS-Required: No",
    "Auto-Submitted: auto-generated",
    "MIME-Version: 1.0",
    'Content-Type: multipart/report; report-type="tlsrpt";',
    ` boundary="${boundary}"`,
    "",
    `--${boundary}`,
    "Content-Type: text/plain; charset=us-ascii",
    "Content-Transfer-Encoding: 7bit",
    "",
    `This is a report on the TLS of mail to ${domain}`,
    `from ${submitter}, on ${day} (UTC).`,
    "The attached file has it as JSON, compressed by gzip (RFC 8460).",
    "",
    `--${boundary}`,
    `Content-Type: ${TLS_REPORT_TYPE}`,
    "Content-Transfer-Encoding: base64",
    "Content-Disposition: attachment;",
    ` filename="${name}"`,
    "",
    "",
  ].join("\r\n");
  const coded = bytes.toBase64().replace(
    new RegExp(`.{1,${LINE}}`, "g"),
    "$&\r\n",
  );
  return encoder.encode(`${head}${coded}--${boundary}--\r\n`);
}
