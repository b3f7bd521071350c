/**
 * Options of a delivery and of a server's relaying, their checks, and the tables
 * that pass relaying's options on to the delivery and to the queue. `delivery.ts`
 * delivers, `service.ts` relays.
 */

import {
  callable,
  flag,
  having,
  list,
  number,
  object,
  oneOf,
  ownName,
  path,
  port,
  required,
  type Rule,
  type Rules,
  text,
  whole,
} from "../options.ts";
import {
  hopName,
  hopOf,
  HOPS_RULE,
  type Login,
  LOGIN_RULE,
  type NextHop,
  TLS_SECURITY_RULE,
  type TlsSecurity,
} from "../client/next_hop.ts";
import {
  CLIENT_RULES,
  type ClientNetwork,
  type PeerCertificate,
  type SmtpClientOptions,
} from "../client/options.ts";
import { TIMEOUTS_RULE } from "../client/session.ts";
import type {
  DnsOutcome,
  DnsQuerier,
  DnsQueryOptions,
  MxOutcome,
} from "../dns/outcome.ts";
import type { Logger } from "../log.ts";
import {
  FORWARDING_RULE,
  type ForwardingOptions,
} from "./forwarding_options.ts";
import {
  TLS_REPORTS_RULE,
  type TlsReportOptions,
} from "../secure_transport/tls_report_options.ts";
import type { TlsResult } from "../secure_transport/tls_result.ts";
import { NETWORKS_RULE } from "../net/listen_options.ts";
import type { DeliveryJob } from "../queue/job.ts";
import { BOUNCE_FROM_RULE, type RelayQueueOptions } from "../queue/options.ts";
import { type RetrySchedule, SCHEDULE_RULE } from "../queue/schedule.ts";
import { type Spool, SPOOL_RULE } from "../spool/spool.ts";
import { CERTIFICATE_RULE, TRUSTED_RULE } from "../tls/context.ts";
import { type ClientPoolOptions, POOL_RULE } from "./pool.ts";
import type { ContentSigning } from "./signing.ts";

/** The DNS lookups of a delivery; `DnsClient` implements them. */
export interface RelayDns {
  /** The mail exchangers of a domain. */
  mx(name: string, options?: DnsQueryOptions): Promise<MxOutcome>;
  /** The IP addresses of a host. */
  addresses(
    host: string,
    options?: DnsQueryOptions,
  ): Promise<DnsOutcome<string>>;
  /** Any question; without it there is no DANE and no MTA-STS. */
  readonly query?: DnsQuerier["query"] | undefined;
  /** Whether an answer can be secure (DNSSEC); without it there is no DANE. */
  readonly canValidate?: boolean | undefined;
}

/**
 * Options of {@linkcode Delivery}.
 *
 * @example Hosts from a table
 * ```ts
 * import type { ClientTimeouts } from "@smtp/server/client";
 * import {
 *   type ClientPoolOptions,
 *   Delivery,
 *   type DeliveryOptions,
 *   type RelayDns,
 * } from "@smtp/server/queue";
 *
 * const exchange = "mx.example.org";
 * const dns: RelayDns = {
 *   mx: () =>
 *     Promise.resolve({
 *       status: "found",
 *       records: [{ preference: 10, exchange }],
 *     }),
 *   addresses: () =>
 *     Promise.resolve({ status: "found", records: ["192.0.2.25"] }),
 * };
 * const pool: ClientPoolOptions = { idleMs: 1000 };
 * const timeouts: Partial<ClientTimeouts> = { connect: 5000 };
 * const options: DeliveryOptions = {
 *   hostname: "mail.example.com",
 *   ...{ dns, pool, timeouts },
 * };
 * await using delivery = new Delivery(options);
 * console.assert(typeof delivery.deliver === "function");
 * ```
 */
export interface DeliveryOptions extends
  Pick<
    SmtpClientOptions,
    | "hostname"
    | "security"
    | "login"
    | "allowInsecureAuth"
    | "chunking"
    | "longLines"
    | "timeouts"
    | "clientCertificate"
    | "trusted"
  > {
  /** Does the DNS lookups. */
  readonly dns: RelayDns;
  /**
   * What may demand more of the TLS of hosts than `security`: DANE (RFC 7672),
   * which needs a name server whose answers are validated and believed, and the
   * MTA-STS policy of the domain (RFC 8461). Neither weakens `security`, and
   * `"none"` stays without TLS. Where no host meets the demand, mail waits in the
   * queue. `[]` for neither.
   *
   * @default {["dane", "mta-sts"]}
   */
  readonly policies?: readonly ("dane" | "mta-sts")[] | undefined;
  /**
   * Further names of this server, besides `hostname`, and IP addresses that lead
   * to it without being its own, as those of a router that does NAT. If one of
   * them is among a destination's hosts, only hosts of better preference are used.
   *
   * @default {[]}
   */
  readonly ownNames?: readonly string[] | undefined;
  /**
   * Whether this server itself listens at an IP address and port. Mail for a
   * domain whose best host is there fails: it would come back.
   *
   * @default {always false}
   */
  readonly isOwnAddress?:
    | ((address: string, port: number) => boolean)
    | undefined;
  /**
   * Whether hosts of a domain may be at a loopback or unspecified address. Any
   * domain can publish such a host, and so direct mail to ports of this machine.
   * Smarthosts may always be there.
   *
   * @default {false}
   */
  readonly allowLoopback?: boolean | undefined;
  /**
   * The next hops for all jobs, tried in this order, as `["smtp.example.net:587"]`
   * or with more options. Default: each destination's own hosts.
   */
  readonly smarthosts?: readonly (NextHop | string)[] | undefined;
  /**
   * The port of hosts found by DNS.
   *
   * @default {25}
   */
  readonly remotePort?: number | undefined;
  /**
   * Most Received fields of a message; one with more counts as looping and goes
   * back with a DSN (5.4.6).
   *
   * @default {100}
   */
  readonly hopLimit?: number | undefined;
  /** Limits for idle sessions. Default: those of {@linkcode ClientPoolOptions}. */
  readonly pool?: ClientPoolOptions | undefined;
  /**
   * Judges the certificate of a host; `job` is the delivery that connects.
   * Default: `security` decides.
   */
  readonly onCertificate?:
    | ((
      peer: PeerCertificate,
      job: DeliveryJob,
    ) => boolean | void | Promise<boolean | void>)
    | undefined;
}

/** Options of a delivery whose smarthosts are no texts any more. */
export type SettledDeliveryOptions = Omit<DeliveryOptions, "smarthosts"> & {
  readonly smarthosts?: readonly NextHop[] | undefined;
};

/** Clock, random numbers and network of a delivery. Tests replace them. */
export interface DeliveryMachine extends ClientNetwork {
  /** The folder that keeps MTA-STS policies; in memory if unset. */
  readonly stsFolder?: string | undefined;
  /** The port of web servers with MTA-STS policies; 443 by default. */
  readonly stsPort?: number | undefined;
  /** Takes what became of the TLS of each connection. */
  readonly onTlsResult?:
    | ((result: TlsResult, job: DeliveryJob) => void)
    | undefined;
  /** Whether a job goes out whatever DANE and MTA-STS demand; never if unset. */
  readonly isExempt?: ((job: DeliveryJob) => boolean) | undefined;
  /** Logs a fault of a kept policy; nothing is logged if unset. */
  readonly log?: Logger | undefined;
  /** Signs converted content again; nothing does if unset. */
  readonly signing?: ContentSigning | undefined;
  /** The time in milliseconds; `performance.now` by default. */
  readonly now?: (() => number) | undefined;
  /** A random number from 0 to below 1; `Math.random` by default. */
  readonly random?: (() => number) | undefined;
}

/** The policies that are asked for by default. */
export const DEFAULT_POLICIES: readonly ("dane" | "mta-sts")[] = [
  "dane",
  "mta-sts",
];

const POLICIES_RULE: Rule = list(
  oneOf("dane", "mta-sts"),
  'an array of "dane" and "mta-sts"',
);

const NAMES_RULE: Rule = list(
  text(),
  'an array of names, as ["mail.example.com"]',
);

const {
  hostname,
  security,
  login,
  allowInsecureAuth,
  chunking,
  longLines,
  timeouts,
  clientCertificate,
  trusted,
} = CLIENT_RULES;
/** The rules for {@linkcode DeliveryOptions}. */
export const DELIVERY_RULES: Rules<DeliveryOptions> = {
  ...{ hostname, security, login, allowInsecureAuth, chunking, timeouts },
  longLines,
  ...{ clientCertificate, trusted },
  dns: required(having("a DnsClient", "mx", "addresses")),
  policies: POLICIES_RULE,
  ownNames: NAMES_RULE,
  isOwnAddress: callable(),
  allowLoopback: flag,
  smarthosts: HOPS_RULE,
  remotePort: port,
  hopLimit: whole(1),
  pool: POOL_RULE,
  onCertificate: callable(),
};

/**
 * Options of relaying: which clients may relay, the next hops, the retries.
 *
 * @example Everything through a provider
 * ```ts
 * import { type RelayingOptions, SmtpServer } from "@smtp/server";
 * import type { Login, NextHop, TlsSecurity } from "@smtp/server/client";
 *
 * const provider: NextHop = { host: "smtp.example.net", port: 587 };
 * const login: Login = { username: "ann", password: "secret" };
 * const security: TlsSecurity = "verified";
 * const relay: RelayingOptions = {
 *   from: ["10.0.0.0/8"],
 *   spool: "./spool",
 *   smarthosts: [provider],
 *   ...{ login, security },
 * };
 * const server = new SmtpServer({ domains: ["example.com"], relay });
 * console.assert(server.relays.count === 0);
 * ```
 */
export interface RelayingOptions extends
  Omit<
    DeliveryOptions,
    "dns" | "hostname" | "isOwnAddress" | "onCertificate"
  > {
  /**
   * Which clients may send mail to other domains: `"authenticated"` for those
   * that have logged in, `"none"` for no client outside the networks of `from`.
   * Messages that a handler adds to `server.relays` do not depend on it.
   *
   * @default {"none"}
   */
  allow?: "authenticated" | "none" | undefined;
  /**
   * Networks whose clients may send mail to other domains without a login, as
   * `["10.0.0.0/8", "::1"]`.
   *
   * @default {[]}
   */
  from?: readonly string[] | undefined;
  /**
   * Where messages are kept until they are delivered: a folder, or another spool.
   * Default: in memory, so that they are lost with the process; the server logs a
   * warning then.
   */
  spool?: string | Spool | undefined;
  /**
   * The next hops for all mail, tried in this order, as `["smtp.example.net:587"]`
   * or with more options. Default: each domain's own mail exchangers.
   */
  smarthosts?: readonly (NextHop | string)[] | undefined;
  /** The login at the smarthosts. No other host gets it. Default: no login. */
  login?: Login | undefined;
  /**
   * The TLS policy.
   *
   * @default {"opportunistic", with `login` "verified"}
   */
  security?: TlsSecurity | undefined;
  /**
   * The port of hosts found by DNS. Only tests need another one than 25.
   *
   * @default {25}
   */
  remotePort?: number | undefined;
  /**
   * The name in EHLO and in DSNs.
   *
   * @default {the server's}
   */
  hostname?: string | undefined;
  /**
   * When a deferred delivery is tried again, as `"30s 5m*3 1h*12 4h"`.
   *
   * @default {RetrySchedule.DEFAULT}
   */
  schedule?: RetrySchedule | string | undefined;
  /**
   * Milliseconds until recipients that are still not delivered fail, and the
   * sender gets a DSN.
   *
   * @default {432000000} Five days
   */
  expireAfterMs?: number | undefined;
  /**
   * Milliseconds until the sender of a message still not delivered gets a delay
   * DSN; `Infinity` for never.
   *
   * @default {14400000} Four hours
   */
  delayNoticeMs?: number | undefined;
  /**
   * Milliseconds before the first attempt.
   *
   * @default {0}
   */
  idleWaitMs?: number | undefined;
  /**
   * The address in the From field of DSNs.
   *
   * @default {MAILER-DAEMON at the host's name}
   */
  bounceFrom?: string | undefined;
  /**
   * Most deliveries at a time; others wait. Those that wait for an answer of the
   * host do not count; there are twice as many of these at most.
   *
   * @default {100}
   */
  maxConcurrent?: number | undefined;
  /**
   * Most deliveries to one destination at a time; others wait. A destination
   * begins with fewer; the number grows while deliveries succeed.
   *
   * @default {20}
   */
  maxPerDestination?: number | undefined;
  /**
   * Most recipients of one delivery; more of a message are several deliveries.
   *
   * @default {100}
   */
  maxRecipients?: number | undefined;
  /**
   * Reports on the TLS of deliveries, sent to the domains that ask for them
   * (TLS-RPT, RFC 8460). Default: nothing is counted and no report is sent.
   */
  reports?: TlsReportOptions | undefined;
  /**
   * What is done with mail from outside that leaves again: senders that are
   * rewritten (SRS), and seals (ARC). Default: it stays as it is.
   */
  forwarding?: ForwardingOptions | undefined;
}

/** The rules for {@linkcode RelayingOptions}. */
export const RELAYING_RULES: Rules<RelayingOptions> = {
  allow: oneOf("authenticated", "none"),
  from: NETWORKS_RULE,
  spool: {
    want: 'a folder, as "./spool", or a spool',
    check: (value, at) =>
      (typeof value === "object" ? SPOOL_RULE : path).check(value, at),
  },
  smarthosts: HOPS_RULE,
  login: LOGIN_RULE,
  security: TLS_SECURITY_RULE,
  remotePort: port,
  hostname: ownName,
  schedule: SCHEDULE_RULE,
  expireAfterMs: number(1, Number.MAX_SAFE_INTEGER),
  delayNoticeMs: number(),
  idleWaitMs: number(0, Number.MAX_SAFE_INTEGER),
  bounceFrom: BOUNCE_FROM_RULE,
  maxConcurrent: whole(1),
  maxPerDestination: whole(1),
  maxRecipients: whole(1),
  allowInsecureAuth: flag,
  allowLoopback: flag,
  chunking: flag,
  longLines: oneOf("keep", "encode"),
  clientCertificate: CERTIFICATE_RULE,
  forwarding: FORWARDING_RULE,
  hopLimit: whole(1),
  ownNames: NAMES_RULE,
  policies: POLICIES_RULE,
  pool: POOL_RULE,
  reports: TLS_REPORTS_RULE,
  timeouts: TIMEOUTS_RULE,
  trusted: TRUSTED_RULE,
};

/** The rule for {@linkcode RelayingOptions} inside other options. */
export const RELAYING_RULE: Rule = object(
  RELAYING_RULES,
  '{ allow: "authenticated" }',
);

/** Whether the policy alone lets any client relay. */
export function isOpenToClients(options: RelayingOptions): boolean {
  const { allow, from = [] } = options;
  return allow === "authenticated" || from.length > 0;
}

/** The options that the queue gets as they are: those that have the same name there. */
const TO_QUEUE: Readonly<
  Record<
    Exclude<
      keyof RelayingOptions & keyof RelayQueueOptions,
      "hostname" | "spool"
    >,
    true
  >
> = {
  schedule: true,
  expireAfterMs: true,
  delayNoticeMs: true,
  idleWaitMs: true,
  bounceFrom: true,
  maxConcurrent: true,
  maxPerDestination: true,
  maxRecipients: true,
};

/** The queue's part of the options; options that are `undefined` are left out. */
export function queueOptions(
  options: RelayingOptions,
): Partial<RelayQueueOptions> {
  const { smarthosts = [] } = options;
  return defined({
    ...pick(options, TO_QUEUE),
    // All domains share the smarthosts, and so one window and one session.
    commonDestination: smarthosts[0] && hopName(hopOf(smarthosts[0])),
  });
}

/** The options that the delivery gets as they are: all but those that the server sets itself. */
const TO_DELIVERY: Readonly<
  Record<
    Exclude<
      keyof DeliveryOptions,
      "dns" | "hostname" | "isOwnAddress" | "onCertificate"
    >,
    true
  >
> = {
  security: true,
  login: true,
  allowInsecureAuth: true,
  chunking: true,
  longLines: true,
  timeouts: true,
  clientCertificate: true,
  trusted: true,
  ownNames: true,
  policies: true,
  allowLoopback: true,
  smarthosts: true,
  remotePort: true,
  hopLimit: true,
  pool: true,
};

/** The delivery's part of the options. */
export function deliveryOptions(
  options: RelayingOptions,
): Pick<DeliveryOptions, keyof typeof TO_DELIVERY> {
  return pick(options, TO_DELIVERY);
}

/** The values that a table names. */
export function pick<T extends object, Name extends keyof T & string>(
  values: T,
  table: Readonly<Record<Name, true>>,
): { readonly [Key in Extract<Name, string>]: T[Key] } {
  const names = Object.keys(table) as Name[];
  return Object.fromEntries(
    names.map((name) => [name, values[name]]),
  ) as { [Key in Name]: T[Key] };
}

/** Leaves out values that are `undefined`: they would override a default. */
function defined<T extends object>(
  values: T,
): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const given = Object.entries(values).filter(([, value]) =>
    value !== undefined
  );
  return Object.fromEntries(given) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}
