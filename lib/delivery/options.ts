/**
 * What a delivery and a server's relaying can be told. Options, their checks and
 * nothing else: `delivery.ts` delivers, `service.ts` relays.
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
  where,
  whole,
} from "../options.ts";
import {
  hopName,
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
import type { DnsOutcome, MxOutcome } from "../dns/outcome.ts";
import { NETWORKS_RULE } from "../net/listen_options.ts";
import type { DeliveryJob } from "../queue/job.ts";
import { BOUNCE_FROM_RULE, type RelayQueueOptions } from "../queue/options.ts";
import { RetrySchedule } from "../queue/schedule.ts";
import { type Spool, SPOOL_RULE } from "../spool/spool.ts";
import { CERTIFICATE_RULE, TRUSTED_RULE } from "../tls/context.ts";
import { type ClientPoolOptions, POOL_RULE } from "./pool.ts";

/** The questions that a delivery asks; `DnsClient` answers them. */
export interface RelayDns {
  /** The mail exchangers of a domain. */
  mx(
    name: string,
    options?: { signal?: AbortSignal | undefined },
  ): Promise<MxOutcome>;
  /** The IP addresses of a host. */
  addresses(
    host: string,
    options?: { signal?: AbortSignal | undefined },
  ): Promise<DnsOutcome<string>>;
}

/** Options of {@linkcode Delivery}. */
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
  /** Answers DNS questions. */
  readonly dns: RelayDns;
  /**
   * Further names of this server, besides `hostname`, and IP addresses that
   * lead to it without being its own, as behind a router that translates them:
   * where one is among a destination's hosts, only the better hosts are used.
   *
   * @default {[]}
   */
  readonly ownNames?: readonly string[] | undefined;
  /**
   * Whether this server itself listens at an IP address and port: a domain
   * whose best host is there gets no mail from here, it would come back.
   *
   * @default {no address is}
   */
  readonly isOwnAddress?:
    | ((address: string, port: number) => boolean)
    | undefined;
  /**
   * Whether hosts of a domain may be on the loopback or at an unspecified
   * address. Anybody can publish such a host and so send mail to ports of this
   * machine. Smarthosts may be there in any case.
   *
   * @default {false}
   */
  readonly allowLoopback?: boolean | undefined;
  /** The next hops for all jobs, in order; each destination's own hosts when not given. */
  readonly smarthosts?: readonly NextHop[] | undefined;
  /**
   * The port of hosts found by DNS.
   *
   * @default {25}
   */
  readonly remotePort?: number | undefined;
  /**
   * Received fields that a message may have before it is taken for one that loops.
   *
   * @default {100}
   */
  readonly hopLimit?: number | undefined;
  /** How sessions are kept. */
  readonly pool?: ClientPoolOptions | undefined;
  /** Judges the certificate of a host; `job` is what made us connect. */
  readonly onCertificate?:
    | ((
      peer: PeerCertificate,
      job: DeliveryJob,
    ) => boolean | void | Promise<boolean | void>)
    | undefined;
}

/** What a delivery takes from the machine. Tests give their own. */
export interface DeliveryMachine extends ClientNetwork {
  /** The time in milliseconds; `performance.now` when not given. */
  readonly now?: (() => number) | undefined;
  /** A random number from 0 to below 1; `Math.random` when not given. */
  readonly random?: (() => number) | undefined;
}

/** What the names of this server must be, inside other options. */
export const NAMES_RULE: Rule = list(
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
/** What {@linkcode DeliveryOptions} must be. */
export const DELIVERY_RULES: Rules<DeliveryOptions> = {
  ...{ hostname, security, login, allowInsecureAuth, chunking, timeouts },
  longLines,
  ...{ clientCertificate, trusted },
  dns: required(having("a DnsClient", "mx", "addresses")),
  ownNames: NAMES_RULE,
  isOwnAddress: callable(),
  allowLoopback: flag,
  smarthosts: HOPS_RULE,
  remotePort: port,
  hopLimit: whole(1),
  pool: POOL_RULE,
  onCertificate: callable(),
};

/** Options of relaying: who may, where it goes, how long it is tried. */
export interface RelayingOptions extends
  Pick<
    DeliveryOptions,
    | "allowInsecureAuth"
    | "allowLoopback"
    | "chunking"
    | "clientCertificate"
    | "hopLimit"
    | "longLines"
    | "ownNames"
    | "pool"
    | "timeouts"
    | "trusted"
  > {
  /**
   * Whose mail for other domains is taken: `"authenticated"` for clients that
   * have logged in, `"none"` for nobody beside the networks of `from`. What a
   * handler adds to `server.relays` does not depend on it.
   *
   * @default {"none"}
   */
  allow?: "authenticated" | "none" | undefined;
  /**
   * Networks whose mail for other domains is taken without a log-in, as
   * `["10.0.0.0/8", "::1"]`.
   *
   * @default {[]}
   */
  from?: readonly string[] | undefined;
  /**
   * Where messages are kept until they are delivered: a folder, or a spool of
   * one's own. Without it they are in memory, and lost with the process; a
   * warning says so.
   */
  spool?: string | Spool | undefined;
  /** Next hops for all mail, tried in this order, instead of each domain's own mail exchangers. */
  smarthosts?: readonly NextHop[] | undefined;
  /** The log-in at the smarthosts. Nobody else is shown it. */
  login?: Login | undefined;
  /**
   * How much TLS.
   *
   * @default {"opportunistic", with `login` "verified"}
   */
  security?: TlsSecurity | undefined;
  /**
   * The port of hosts found by DNS: another one than 25 only makes sense in
   * tests.
   *
   * @default {25}
   */
  remotePort?: number | undefined;
  /**
   * The name for EHLO and in notices.
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
   * Milliseconds until what is not delivered is returned.
   *
   * @default {432000000} Five days
   */
  expireAfterMs?: number | undefined;
  /**
   * Milliseconds until the sender is told that a message is late; `Infinity`
   * for never.
   *
   * @default {14400000} Four hours
   */
  delayNoticeMs?: number | undefined;
  /**
   * Milliseconds to wait before the first try.
   *
   * @default {0}
   */
  idleWaitMs?: number | undefined;
  /**
   * Address in the From field of notices.
   *
   * @default {MAILER-DAEMON at the host's name}
   */
  bounceFrom?: string | undefined;
  /**
   * The most deliveries under way, beside those that wait for a word of the
   * other side: these are twice as many at most.
   *
   * @default {100}
   */
  maxConcurrent?: number | undefined;
  /**
   * The most deliveries under way to one destination. The first ones are a few
   * less: the number grows while all goes well.
   *
   * @default {20}
   */
  maxPerDestination?: number | undefined;
  /**
   * The most recipients of one delivery.
   *
   * @default {100}
   */
  maxRecipients?: number | undefined;
}

const RULES: Rules<RelayingOptions> = {
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
  schedule: where(
    'delays, as "30s 5m*3 1h*12 4h", or a RetrySchedule',
    (value) => typeof value === "string" || value instanceof RetrySchedule,
  ),
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
  hopLimit: whole(1),
  ownNames: NAMES_RULE,
  pool: POOL_RULE,
  timeouts: TIMEOUTS_RULE,
  trusted: TRUSTED_RULE,
};

/** What {@linkcode RelayingOptions} must be, inside other options. */
export const RELAYING_RULE: Rule = object(RULES, '{ allow: "authenticated" }');

/** Whether any client may relay by the policy alone. */
export function isOpenToClients(options: RelayingOptions): boolean {
  const { allow, from = [] } = options;
  return allow === "authenticated" || from.length > 0;
}

/** What of the options goes to the queue as it is; what is not given is left out. */
export function queueOptions(
  options: RelayingOptions,
): Partial<RelayQueueOptions> {
  const { schedule, smarthosts = [] } = options;
  return defined({
    schedule: typeof schedule === "string"
      ? RetrySchedule.parse(schedule)
      : schedule,
    expireAfterMs: options.expireAfterMs,
    delayNoticeMs: options.delayNoticeMs,
    idleWaitMs: options.idleWaitMs,
    bounceFrom: options.bounceFrom,
    maxConcurrent: options.maxConcurrent,
    maxPerDestination: options.maxPerDestination,
    maxRecipients: options.maxRecipients,
    // All domains share the smarthosts, and so one window and one session.
    commonDestination: smarthosts[0] && hopName(smarthosts[0]),
  });
}

/** What of the options goes to the delivery as it is. */
export function deliveryOptions(
  options: RelayingOptions,
): Omit<DeliveryOptions, "dns"> {
  return {
    security: options.security,
    login: options.login,
    allowInsecureAuth: options.allowInsecureAuth,
    chunking: options.chunking,
    longLines: options.longLines,
    timeouts: options.timeouts,
    clientCertificate: options.clientCertificate,
    trusted: options.trusted,
    ownNames: options.ownNames,
    allowLoopback: options.allowLoopback,
    smarthosts: options.smarthosts,
    remotePort: options.remotePort,
    hopLimit: options.hopLimit,
    pool: options.pool,
  };
}

/** Leaves out what is `undefined`: given, it would stand in the way of a default. */
export function defined<T extends object>(
  values: T,
): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const given = Object.entries(values).filter(([, value]) =>
    value !== undefined
  );
  return Object.fromEntries(given) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}
