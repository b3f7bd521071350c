/**
 * What a server can be told about relaying. Options and their checks only; who
 * acts on them is in `relay_service.ts`.
 */

import {
  flag,
  number,
  object,
  oneOf,
  ownName,
  path,
  port,
  type Rule,
  type Rules,
  where,
  whole,
} from "../options.ts";
import { formatHostPort, NETWORKS_RULE } from "../net/listen_options.ts";
import { asciiDomain } from "../protocol/domain.ts";
import { DEFAULT_WINDOW, type WindowLimits } from "../queue/destination.ts";
import { BOUNCE_FROM_RULE, type RelayQueueOptions } from "../queue/options.ts";
import { RetrySchedule } from "../queue/schedule.ts";
import { type Spool, SPOOL_RULE } from "../spool/spool.ts";
import { type ClientLogin, LOGIN_RULE } from "../client/options.ts";
import { POOL_RULE } from "./pool.ts";
import { TIMEOUTS_RULE } from "../client/session.ts";
import { type DeliveryOptions, NAMES_RULE } from "./delivery.ts";
import { HOSTS_RULE, type RelayHost } from "./job.ts";
import { TLS_SECURITY_RULE, type TlsSecurity } from "../client/tls_policy.ts";
import { CERTIFICATE_RULE, TRUSTED_RULE } from "../tls/context.ts";

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
  smarthosts?: readonly RelayHost[] | undefined;
  /** The log-in at the smarthosts. Nobody else is shown it. */
  login?: ClientLogin | undefined;
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
  smarthosts: HOSTS_RULE,
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
  const { schedule, smarthosts = [], maxPerDestination } = options;
  return defined({
    schedule: typeof schedule === "string"
      ? RetrySchedule.parse(schedule)
      : schedule,
    expireAfterMs: options.expireAfterMs,
    delayNoticeMs: options.delayNoticeMs,
    idleWaitMs: options.idleWaitMs,
    bounceFrom: options.bounceFrom,
    maxJobs: options.maxConcurrent,
    maxRecipients: options.maxRecipients,
    // All domains share the smarthosts, and so one window and one session.
    commonDestination: smarthosts[0] && nameOf(smarthosts[0]),
    window: maxPerDestination === undefined
      ? undefined
      : windowOf(maxPerDestination),
  });
}

/** What of the options goes to the delivery as it is. */
export function deliveryOptions(
  options: RelayingOptions,
): Omit<DeliveryOptions, "dns"> {
  return {
    security: options.security,
    auth: options.login,
    allowInsecureAuth: options.allowInsecureAuth,
    chunking: options.chunking,
    longLines: options.longLines,
    timeouts: options.timeouts,
    clientCertificate: options.clientCertificate,
    trusted: options.trusted,
    ownNames: options.ownNames,
    allowLoopback: options.allowLoopback,
    smarthosts: options.smarthosts,
    port: options.remotePort,
    hopLimit: options.hopLimit,
    pool: options.pool,
  };
}

/** Few deliveries at first, so that a destination in trouble is not flooded. */
function windowOf(max: number): WindowLimits {
  return { ...DEFAULT_WINDOW, max };
}

function nameOf({ host, port, implicitTls }: RelayHost): string {
  return formatHostPort({
    address: asciiDomain(host),
    port: port ?? (implicitTls ? 465 : 25),
  });
}

/** Leaves out what is `undefined`: given, it would stand in the way of a default. */
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
