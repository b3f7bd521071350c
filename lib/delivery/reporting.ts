/**
 * The reports on TLS of a server that relays: made where they are wanted, and
 * sent through its own queue. Stands alone: nothing of it is loaded without the
 * option `reports`.
 *
 * A report must not cause a report, nor wait for the TLS that it complains about:
 * its relay has a tag that no client can set, and which survives a restart.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc8460#section-3 | RFC 8460 section 3}
 */

import type { DnsQuerier } from "../dns/outcome.ts";
import type { Logger } from "../log.ts";
import type { Relay, Relays } from "../queue/relay.ts";
import type { TlsReporter } from "../secure_transport/tls_reporter.ts";
import { type Clock, SYSTEM_CLOCK } from "../spool/clock.ts";
import type { RelayDns, RelayingOptions } from "./options.ts";

/** The tag of a relay that is a report. */
const TAG = "tls-report";
/** Milliseconds after which a report that cannot be delivered is dropped (RFC 8460 section 5.5). */
const EXPIRE_MS = 86_400_000;

/** Whether a relay is a report. */
export function isTlsReport(relay: Relay | undefined): boolean {
  return relay?.tag === TAG;
}

/**
 * Makes and starts the reports; `undefined` if they are not wanted, or the DNS
 * client cannot ask for the records of domains.
 */
export async function startReporting(
  relaying: RelayingOptions,
  { relays, dns, log, clock = SYSTEM_CLOCK }: {
    readonly relays: Relays;
    readonly dns: RelayDns;
    readonly log: Logger;
    readonly clock?: Clock | undefined;
  },
): Promise<TlsReporter | undefined> {
  const { reports, spool, trusted, allowLoopback, ...rest } = relaying;
  if (reports === undefined || dns.query === undefined) return undefined;
  const { TlsReporter } = await import("../secure_transport/tls_reporter.ts");
  // A login must not go to a server that was not verified.
  const isDirect = (rest.smarthosts ?? []).length === 0 && !rest.login;
  const reporter = new TlsReporter({
    ...{ options: reports, dns: dns as DnsQuerier, log, clock },
    ...{ trusted, allowLoopback },
    folder: typeof spool === "string" ? `${spool}/tlsrpt` : undefined,
    async send({ from, to, data }) {
      await relays.add({
        from,
        // A failure is of no interest to a person, and must cause no mail.
        to: [{ address: to, parameters: { notify: ["NEVER"] } }],
        data,
      }, {
        tag: TAG,
        expireAfterMs: EXPIRE_MS,
        ...(isDirect && rest.security !== "none" &&
          { security: "opportunistic" }),
      });
    },
  });
  await reporter.start();
  return reporter;
}
