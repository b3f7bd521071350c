/**
 * The limits of a server. Each has two declarations: a member of
 * {@linkcode LimitOptions} for the program, and a row of {@linkcode LIMITS} for
 * the code. The row holds the default, the range, and the option of the command
 * line with its help. One without the other does not compile. This file counts
 * nothing.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.5.3 | RFC 5321 section 4.5.3}
 */

import { type Cidr, parsePeers } from "../net/cidr.ts";
import { NETWORKS_RULE } from "../net/listen_options.ts";
import { anyNumber, object, type Rule, type Rules } from "../options.ts";
import {
  USER_LIMIT_RULE,
  type UserLimitOptions,
  type UserLimits,
  userLimitsOf,
} from "./user_limit_options.ts";

/**
 * The limits of {@linkcode SmtpServer}. Each is on by default, with room for
 * real use. "Address" means an IPv4 address or an IPv6 /64, which is one
 * customer.
 *
 * @example A small server
 * ```ts
 * import { type LimitOptions, SmtpServer } from "@smtp/server";
 *
 * const limits: LimitOptions = {
 *   maxConnections: 100,
 *   maxConnectionsPerIp: 5,
 *   exempt: ["127.0.0.0/8", "::1", "10.0.0.0/8"],
 * };
 * const server = new SmtpServer({ limits });
 * console.assert(!server.active);
 * ```
 */
export interface LimitOptions {
  /**
   * Most sessions at once; the next gets 421.
   *
   * @default {10000}
   */
  maxConnections?: number | undefined;
  /**
   * Most sessions at once of one address; the next gets 421. 0 for no limit.
   *
   * @default {50}
   */
  maxConnectionsPerIp?: number | undefined;
  /**
   * Most new connections of one address in a minute; the next gets 421. 0 for
   * no limit.
   *
   * @default {300}
   */
  connectionsPerMinute?: number | undefined;
  /**
   * Most messages of one address in a minute: MAIL gets 450 beyond it. 0 for no
   * limit.
   *
   * @default {600}
   */
  messagesPerMinute?: number | undefined;
  /**
   * Most recipients of one address in a minute: RCPT gets 450 beyond it. 0 for
   * no limit.
   *
   * @default {5000}
   */
  recipientsPerMinute?: number | undefined;
  /**
   * Bytes of one address in a minute after which MAIL gets 450. A session that
   * goes on sending gets 421 when it exceeds the limit by as much again, or by
   * `maxSize` if that is less. 0 for no limit.
   *
   * @default {1073741824}
   */
  bytesPerMinute?: number | undefined;
  /**
   * Largest message, in bytes (RFC 1870): a larger one gets 552. 0 for no limit.
   *
   * @default {52428800}
   */
  maxSize?: number | undefined;
  /**
   * Most recipients of a message; further ones get 452 (RFC 5321 section 4.5.3.1.10).
   *
   * @default {1000}
   */
  maxRecipients?: number | undefined;
  /**
   * Most recipients of one session that are refused with 5xx; the next ends it
   * with 421. Refused names of VRFY and EXPN count as well. 0 for no limit.
   *
   * @default {30}
   */
  maxRefusedRecipients?: number | undefined;
  /**
   * Most errors of one session, including failed logins; the next ends it with
   * 421. 0 for no limit.
   *
   * @default {10}
   */
  maxErrors?: number | undefined;
  /**
   * Most commands since the last accepted message; the next ends the session
   * with 421. RCPT and BDAT have limits of their own. 0 for no limit.
   *
   * @default {10000}
   */
  maxCommandsWithoutMail?: number | undefined;
  /**
   * Longest delay of a reply that refuses a recipient, in ms. The delay begins
   * with the sixth wrong recipient of an address at 250 ms, and doubles with each
   * further one. 0 for no delay, 60,000 at most.
   *
   * @default {8000}
   */
  tarpitMs?: number | undefined;
  /**
   * Most time for a whole command, in ms; then 421. A client may also lag behind
   * {@linkcode LimitOptions.minBytesPerSecond} by so much in the content (RFC
   * 5321 section 4.5.3.2.7).
   *
   * @default {300000}
   */
  timeoutMs?: number | undefined;
  /**
   * Most time of a session without a message, in ms, not counting the content;
   * then 421.
   *
   * @default {1800000}
   */
  mailTimeoutMs?: number | undefined;
  /**
   * Most time for the content of one message, in ms, at any rate; then 421.
   *
   * @default {7200000}
   */
  contentTimeoutMs?: number | undefined;
  /**
   * Most time for a TLS handshake, in ms; then the connection is closed.
   *
   * @default {30000}
   */
  handshakeTimeoutMs?: number | undefined;
  /**
   * Most time for a handler or a store, in ms; after it the session ends with 421
   * 4.3.0. No client waits longer for the reply to its message (RFC 5321 section
   * 4.5.3.2.6).
   *
   * @default {600000}
   */
  handlerTimeoutMs?: number | undefined;
  /**
   * Slowest rate of the content of a message, in bytes a second: a client that
   * falls behind it by `timeoutMs` gets 421. 0 for no limit.
   *
   * @default {500}
   */
  minBytesPerSecond?: number | undefined;
  /**
   * Networks without limits per address, as `"10.0.0.0/8"`; `[]` for none. Their
   * clients may also speak before the greeting. The limits of a session and of
   * failed logins apply to them as well.
   *
   * @default {["127.0.0.0/8", "::1/128"]}
   */
  exempt?: readonly string[] | undefined;
  /** The limits of each user that has logged in. Default: see {@linkcode UserLimitOptions}. */
  perUser?: UserLimitOptions | undefined;
}

/** The members that are limits themselves; `perUser` has a table of its own. */
type OwnLimits = Omit<LimitOptions, "perUser">;

/** What a limit applies to: the whole server, one address, one session or one message. */
export type LimitScope = "server" | "address" | "session" | "message";

/** The part of a row that all limits have. */
interface LimitRow {
  readonly scope: LimitScope;
  /** The option of the command line; `undefined` if only a program can set the limit. */
  readonly flag?: string;
  /** Its line in `--help`. */
  readonly help: string;
}

/** A limit that is a number. */
export interface NumberLimit extends LimitRow {
  /** The unit: things, bytes, ms, or bytes a second. */
  readonly kind: "count" | "size" | "duration" | "rate";
  readonly default: number;
  /** 1 if 0 would stop all service or never end a wait; else 0, which means no limit. */
  readonly least: 0 | 1;
  /** The largest value, if it is less than what a number or a timer can hold. */
  readonly most?: number;
}

/** A limit that is a list of networks. */
export interface NetworksLimit extends LimitRow {
  readonly kind: "networks";
  readonly default: readonly string[];
}

/** One row for each member of {@linkcode LimitOptions} but `perUser`. */
export type LimitTable = {
  readonly [Name in keyof Required<OwnLimits>]:
    NonNullable<OwnLimits[Name]> extends number ? NumberLimit : NetworksLimit;
};

/** All limits: the only place of their defaults, ranges, options and help. */
export const LIMITS: LimitTable = {
  maxConnections: {
    kind: "count",
    default: 10_000,
    least: 1,
    scope: "server",
    flag: "max-connections",
    help: "sessions at once",
  },
  maxConnectionsPerIp: {
    kind: "count",
    default: 50,
    least: 0,
    scope: "address",
    flag: "max-connections-per-ip",
    help: "sessions at once from one address; 0 for no limit",
  },
  connectionsPerMinute: {
    kind: "count",
    default: 300,
    least: 0,
    scope: "address",
    flag: "connections-per-minute",
    help: "new connections per minute from one address; 0 for no limit",
  },
  messagesPerMinute: {
    kind: "count",
    default: 600,
    least: 0,
    scope: "address",
    flag: "messages-per-minute",
    help: "messages per minute from one address; 0 for no limit",
  },
  recipientsPerMinute: {
    kind: "count",
    default: 5000,
    least: 0,
    scope: "address",
    flag: "recipients-per-minute",
    help: "recipients per minute from one address; 0 for no limit",
  },
  bytesPerMinute: {
    kind: "size",
    default: 1_073_741_824,
    least: 0,
    scope: "address",
    flag: "bytes-per-minute",
    help: "bytes per minute from one address; 0 for no limit",
  },
  maxSize: {
    kind: "size",
    default: 52_428_800,
    least: 0,
    scope: "message",
    flag: "max-size",
    help: "size of a message; 0 for no limit",
  },
  maxRecipients: {
    kind: "count",
    default: 1000,
    least: 1,
    scope: "message",
    flag: "max-recipients",
    help: "recipients of a message",
  },
  maxRefusedRecipients: {
    kind: "count",
    default: 30,
    least: 0,
    scope: "session",
    help: "permanently refused recipients of a session; 0 for no limit",
  },
  maxErrors: {
    kind: "count",
    default: 10,
    least: 0,
    scope: "session",
    flag: "max-errors",
    help: "errors of a session; 0 for no limit",
  },
  maxCommandsWithoutMail: {
    kind: "count",
    default: 10_000,
    least: 0,
    scope: "session",
    help: "commands since the last message; 0 for no limit",
  },
  tarpitMs: {
    kind: "duration",
    default: 8000,
    least: 0,
    // A longer delay costs the server more than the client.
    most: 60_000,
    scope: "address",
    help: "longest delay of a reply that refuses a recipient; 0 for no delay",
  },
  timeoutMs: {
    kind: "duration",
    default: 300_000,
    least: 1,
    scope: "session",
    flag: "timeout",
    help: "longest wait for a whole command",
  },
  mailTimeoutMs: {
    kind: "duration",
    default: 1_800_000,
    least: 1,
    scope: "session",
    help: "longest time of a session without a message",
  },
  contentTimeoutMs: {
    kind: "duration",
    default: 7_200_000,
    least: 1,
    scope: "message",
    help: "longest time for the content of a message",
  },
  handshakeTimeoutMs: {
    kind: "duration",
    default: 30_000,
    least: 1,
    scope: "session",
    help: "longest time for a TLS handshake",
  },
  handlerTimeoutMs: {
    kind: "duration",
    default: 600_000,
    least: 1,
    scope: "session",
    help: "longest time for a handler or a store",
  },
  minBytesPerSecond: {
    kind: "rate",
    default: 500,
    least: 0,
    scope: "message",
    help: "lowest rate of the content of a message; 0 for no limit",
  },
  exempt: {
    kind: "networks",
    default: ["127.0.0.0/8", "::1/128"],
    scope: "address",
    flag: "exempt",
    help: "networks without limits per address",
  },
};

/** The limits that are numbers. */
export type LimitNumbers = Readonly<
  Record<Exclude<keyof OwnLimits, "exempt">, number>
>;

/** The limits in force. */
export interface Limits extends LimitNumbers {
  /** Networks without limits per address. */
  readonly exempt: readonly Cidr[];
  /** The limits of each user. */
  readonly perUser: UserLimits;
}

/** The names and rows of the limits that are numbers. */
export function numberLimits(): readonly (readonly [
  name: keyof LimitNumbers,
  row: NumberLimit,
])[] {
  const { exempt: _, ...numbers } = LIMITS;
  return Object.entries(numbers) as [keyof LimitNumbers, NumberLimit][];
}

/** The check of {@linkcode LimitOptions}; {@linkcode limitsOf} checks the ranges of numbers. */
export const LIMIT_RULE: Rule = object<LimitOptions>(
  {
    ...Object.fromEntries(
      Object.entries(LIMITS).map(([name, { kind }]) => [
        name,
        kind === "networks" ? NETWORKS_RULE : anyNumber,
      ]),
    ) as Rules<OwnLimits>,
    perUser: USER_LIMIT_RULE,
  },
  "{ maxSize: 10_000_000 }",
);

/** The most ms of a timer; one with more would fire at once. */
const MOST_MS = 2_147_483_647;

/**
 * The limits in force: those of `options`, else the defaults.
 *
 * @throws {RangeError} If a number is out of range
 * @throws {SyntaxError} If a network cannot be read
 */
export function limitsOf(options: LimitOptions = {}): Limits {
  const limits: Partial<Record<keyof LimitNumbers, number>> = {};
  for (const [name, row] of numberLimits()) {
    limits[name] = checked(name, options[name] ?? row.default);
  }
  const { exempt = LIMITS.exempt.default } = options;
  return {
    ...limits as LimitNumbers,
    exempt: exempt.map(parsePeers),
    perUser: userLimitsOf(options.perUser),
  };
}

/** Checks that the value of a limit is in its range. */
function checked(name: keyof LimitNumbers, value: number): number {
  const { kind, least, most = Infinity } = LIMITS[name];
  const held = kind === "duration" ? MOST_MS : Number.MAX_SAFE_INTEGER;
  if (!Number.isSafeInteger(value) || value < least || value > held) {
    const to = kind === "duration" ? ` to ${held}` : "";
    throw new RangeError(
      `Cannot use limits.${name} "${value}": want a whole number from ${least}${to}`,
    );
  }
  if (value <= most) return value;
  throw new RangeError(
    `Cannot use limits.${name} "${value}": want ${most} at most`,
  );
}
