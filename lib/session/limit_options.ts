/**
 * The limits of a server: what they are called, what each is unless told
 * otherwise, and the check of what a program gives. The one place where their
 * defaults are written. Counts nothing.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.5.3 | RFC 5321 section 4.5.3}
 */

import { type Cidr, parseCidr } from "../net/cidr.ts";
import { NETWORKS_RULE } from "../net/listen_options.ts";
import { anyNumber, object, type Rule, type Rules } from "../options.ts";

/**
 * The limits of {@linkcode SmtpServer}. Each is on by default, with room for
 * real use. What is counted per address is counted for an IPv4 address, and for
 * a whole /64 of IPv6, which is one customer.
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
   * goes on sending gets 421 when it is past it by as much again, or by a message
   * of `maxSize` where that is less. 0 for no limit.
   *
   * @default {1073741824}
   */
  bytesPerMinute?: number | undefined;
  /**
   * Largest message, in bytes (RFC 1870); 0 for no limit.
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
   * Recipients of one session that may be refused for good; the next ends it
   * with 421. What VRFY and EXPN refuse counts, too. 0 for no limit.
   *
   * @default {30}
   */
  maxRefusedRecipients?: number | undefined;
  /**
   * Errors of one session that are borne, refused log-ins among them; the next
   * ends it with 421. 0 for no limit.
   *
   * @default {10}
   */
  maxErrors?: number | undefined;
  /**
   * Commands that may follow each other without a message being taken; the next
   * ends the session with 421. RCPT and BDAT have limits of their own. 0 for no
   * limit.
   *
   * @default {10000}
   */
  maxCommandsWithoutMail?: number | undefined;
  /**
   * Longest delay of a reply that refuses a recipient, in ms: it doubles with
   * each that an address has guessed wrong, past the fifth. 0 for no delay, 60,000 at most.
   *
   * @default {8000}
   */
  tarpitMs?: number | undefined;
  /**
   * How long a client may take for a whole command, in ms, and how long it may
   * lag behind {@linkcode LimitOptions.minBytesPerSecond} in the content (RFC
   * 5321 section 4.5.3.2.7).
   *
   * @default {300000}
   */
  timeoutMs?: number | undefined;
  /**
   * How long a session may go on without sending a message, in ms, its content
   * not counted.
   *
   * @default {1800000}
   */
  mailTimeoutMs?: number | undefined;
  /**
   * How long the content of one message may take, in ms, however fast it comes.
   *
   * @default {7200000}
   */
  contentTimeoutMs?: number | undefined;
  /**
   * How long a TLS handshake may take, in ms.
   *
   * @default {30000}
   */
  handshakeTimeoutMs?: number | undefined;
  /**
   * How long a handler or a store may take, in ms, before the session ends with
   * 421 4.3.0. No client waits longer for the reply to its message (RFC 5321
   * section 4.5.3.2.6).
   *
   * @default {600000}
   */
  handlerTimeoutMs?: number | undefined;
  /**
   * Slowest rate of the content of a message, in bytes a second. 0 for no limit.
   *
   * @default {500}
   */
  minBytesPerSecond?: number | undefined;
  /**
   * Networks without limits per address, as `"10.0.0.0/8"`; `[]` for none.
   * Their clients may speak before the greeting, too. The limits of a session
   * and those of failed log-ins hold for them as well.
   *
   * @default {["127.0.0.0/8", "::1/128"]}
   */
  exempt?: readonly string[] | undefined;
}

const RULES: Rules<LimitOptions> = {
  maxConnections: anyNumber,
  maxConnectionsPerIp: anyNumber,
  connectionsPerMinute: anyNumber,
  messagesPerMinute: anyNumber,
  recipientsPerMinute: anyNumber,
  bytesPerMinute: anyNumber,
  maxSize: anyNumber,
  maxRecipients: anyNumber,
  maxRefusedRecipients: anyNumber,
  maxErrors: anyNumber,
  maxCommandsWithoutMail: anyNumber,
  tarpitMs: anyNumber,
  timeoutMs: anyNumber,
  mailTimeoutMs: anyNumber,
  contentTimeoutMs: anyNumber,
  handshakeTimeoutMs: anyNumber,
  handlerTimeoutMs: anyNumber,
  minBytesPerSecond: anyNumber,
  exempt: NETWORKS_RULE,
};

/** What {@linkcode LimitOptions} must be; the ranges of numbers are checked by {@linkcode limitsOf}. */
export const LIMIT_RULE: Rule = object(RULES, "{ maxSize: 10_000_000 }");

/** The limits that are numbers. */
export type LimitNumbers = Readonly<
  Record<Exclude<keyof LimitOptions, "exempt">, number>
>;

/** The limits in force. */
export interface Limits extends LimitNumbers {
  /** Networks without limits per address. */
  readonly exempt: readonly Cidr[];
}

/** Every limit that is not told. */
export const DEFAULT_LIMITS: LimitNumbers & {
  readonly exempt: readonly string[];
} = {
  maxConnections: 10_000,
  maxConnectionsPerIp: 50,
  connectionsPerMinute: 300,
  messagesPerMinute: 600,
  recipientsPerMinute: 5000,
  bytesPerMinute: 1_073_741_824,
  maxSize: 52_428_800,
  maxRecipients: 1000,
  maxRefusedRecipients: 30,
  maxErrors: 10,
  maxCommandsWithoutMail: 10_000,
  tarpitMs: 8000,
  timeoutMs: 300_000,
  mailTimeoutMs: 1_800_000,
  contentTimeoutMs: 7_200_000,
  handshakeTimeoutMs: 30_000,
  handlerTimeoutMs: 600_000,
  minBytesPerSecond: 500,
  exempt: ["127.0.0.0/8", "::1/128"],
};

/** A timer holds no more: it would end at once. */
const MOST_MS = 2_147_483_647;

/** A wait that is longer than this keeps more of the server than of the client. */
const MOST_TARPIT_MS = 60_000;

/** Those that must be there: without them there would be no service, or no end to a wait. */
const AT_LEAST_ONE: ReadonlySet<string> = new Set([
  "maxConnections",
  "maxRecipients",
  "timeoutMs",
  "mailTimeoutMs",
  "contentTimeoutMs",
  "handshakeTimeoutMs",
  "handlerTimeoutMs",
]);

/**
 * The limits in force where a program gives `options`.
 *
 * @throws {RangeError} If a number makes no sense
 * @throws {SyntaxError} If a network cannot be read
 */
export function limitsOf(options: LimitOptions = {}): Limits {
  const { exempt = DEFAULT_LIMITS.exempt, ...numbers } = options;
  const limits: Record<string, number> = {};
  for (const [name, standard] of Object.entries(DEFAULT_LIMITS)) {
    if (typeof standard !== "number") continue;
    const value = numbers[name as keyof typeof numbers] ?? standard;
    const least = AT_LEAST_ONE.has(name) ? 1 : 0;
    const most = name.endsWith("Ms") ? MOST_MS : Number.MAX_SAFE_INTEGER;
    if (!Number.isSafeInteger(value) || value < least || value > most) {
      throw new RangeError(
        `Cannot use ${name} "${value}": want a whole number from ${least}${
          most === MOST_MS ? ` to ${most}` : ""
        }`,
      );
    }
    limits[name] = value;
  }
  if (limits.tarpitMs! > MOST_TARPIT_MS) {
    throw new RangeError(
      `Cannot use tarpitMs "${limits.tarpitMs}": want ${MOST_TARPIT_MS} at most`,
    );
  }
  return { ...limits as LimitNumbers, exempt: exempt.map(parseCidr) };
}
