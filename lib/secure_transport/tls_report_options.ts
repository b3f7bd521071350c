/**
 * The options of reports on TLS, and their checks. Stands alone: the options of
 * relaying have them, and the reports are loaded only where they are wanted.
 */

import { object, required, type Rule, type Rules, where } from "../options.ts";
import { Address } from "../protocol/address.ts";
import { isAscii } from "../protocol/bytes.ts";

/**
 * Reports on the TLS of the server's own deliveries to the domains that ask for
 * them (TLS-RPT, RFC 8460): what was tried in a day of UTC, what succeeded and
 * what failed.
 *
 * A report goes out within four hours after its day, to each domain that has a
 * record at `_smtp._tls`, by mail or HTTPS. The relay of a report has the tag
 * `"tls-report"`; neither is it counted, nor does a TLS policy hold it up. With a
 * spool folder the counts survive a restart, but for those of the last minute
 * before a crash.
 *
 * @example Reports from an address of one's own
 * ```ts
 * import { SmtpServer } from "@smtp/server";
 * import type { TlsReportOptions } from "@smtp/server/queue";
 *
 * const reports: TlsReportOptions = {
 *   from: "tls-reports@example.com",
 *   organization: "Example Company",
 * };
 * const server = new SmtpServer({ relay: { spool: "./spool", reports } });
 * console.assert(server.relays.count === 0);
 * ```
 */
export interface TlsReportOptions {
  /**
   * The sender of reports, in ASCII. Its domain stands in each report as the
   * submitter; have a key of `dkim` for it: receivers want reports signed.
   */
  readonly from: string;
  /**
   * The name of the organization in reports, at most 200 characters.
   *
   * @default {the domain of `from`}
   */
  readonly organization?: string | undefined;
  /**
   * The address for questions in reports.
   *
   * @default {`from`}
   */
  readonly contact?: string | undefined;
}

/** Whether a value is an address that can send reports. */
export function isReportSender(value: unknown): boolean {
  if (typeof value !== "string" || value === "" || !isAscii(value)) {
    return false;
  }
  try {
    const { isNull, isLiteral, domain } = Address.parse(value);
    return !isNull && !isLiteral && domain !== "";
  } catch {
    return false;
  }
}

const ADDRESS: Rule = where(
  'an address in ASCII, as "tls-reports@example.com"',
  isReportSender,
);

const RULES: Rules<TlsReportOptions> = {
  from: required(ADDRESS),
  organization: where(
    "a name of at most 200 characters without control characters",
    (value) =>
      typeof value === "string" &&
      /^[^\p{Cc}\p{Zl}\p{Zp}]{1,200}$/u.test(value),
  ),
  contact: ADDRESS,
};

/** The rule for {@linkcode TlsReportOptions} in other options. */
export const TLS_REPORTS_RULE: Rule = object(
  RULES,
  '{ from: "tls-reports@example.com" }',
);
