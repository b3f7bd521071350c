/**
 * The limits of each user that logs in. As for the other limits, a member of
 * {@linkcode UserLimitOptions} and a row of {@linkcode USER_LIMITS} belong
 * together; one without the other does not compile. This file counts nothing.
 */

import { anyNumber, object, type Rule, type Rules } from "../options.ts";

/**
 * The limits of each user that has logged in, over all listeners, threads and
 * sessions: `limits.perUser`. They bound what a stolen password can send. 0 means
 * no limit.
 *
 * A minute begins with the first thing that is counted in it, and counts what the
 * user tries. A day is the current hour and the 23 hours before it, and counts
 * what was accepted: a message that is refused, or that no store keeps, is taken
 * off again. The clock of the machine may be set meanwhile; the counts do not
 * follow it.
 *
 * A name counts as one user in any case, with or without accents. Networks of
 * `limits.exempt` exempt no user. With a folder as `relay.spool` the counts of the
 * day survive a restart, in its file `users`; that file holds digests of names. A
 * server that had no more than 131,072 users in a day counts them all; beyond, the
 * user with the least of some counts is forgotten for a new one.
 *
 * @example A server for a small office
 * ```ts
 * import { SmtpServer, type UserLimitOptions } from "@smtp/server";
 *
 * const perUser: UserLimitOptions = {
 *   messagesPerDay: 200,
 *   recipientsPerDay: 1000,
 *   bytesPerDay: 500_000_000,
 * };
 * const server = new SmtpServer({ limits: { perUser } });
 * console.assert(!server.active);
 * ```
 */
export interface UserLimitOptions {
  /**
   * Most messages of a user in a minute: MAIL gets 450 4.7.28 beyond it. 0 for no
   * limit.
   *
   * @default {60}
   */
  messagesPerMinute?: number | undefined;
  /**
   * Most recipients of a user in a minute: RCPT gets 450 4.7.28 beyond it. 0 for
   * no limit.
   *
   * @default {300}
   */
  recipientsPerMinute?: number | undefined;
  /**
   * Most messages of a user in a day: MAIL gets 450 4.7.28 beyond it. 0 for no
   * limit.
   *
   * @default {2000}
   */
  messagesPerDay?: number | undefined;
  /**
   * Most recipients of a user in a day: RCPT gets 450 4.7.28 beyond it. A
   * recipient that an alias or `redirect()` sends to several addresses counts once:
   * it is the program that multiplies it. 0 for no limit.
   *
   * @default {10000}
   */
  recipientsPerDay?: number | undefined;
  /**
   * Most bytes of a user in a day. MAIL gets 450 4.7.28 if the declared size is
   * too much, and so does the end of a message that is larger than declared. 0
   * for no limit.
   *
   * @default {0}
   */
  bytesPerDay?: number | undefined;
}

/** One limit of a user. */
export interface UserLimit {
  /** The unit: things or bytes. */
  readonly kind: "count" | "size";
  readonly default: number;
  /** 0 means no limit. */
  readonly least: 0;
  /** The option of the command line. */
  readonly flag: string;
  /** Its line in `--help`. */
  readonly help: string;
}

/** The name of a limit of a user. */
export type UserLimitName = keyof UserLimitOptions;

/** The limits of users in force. */
export type UserLimits = Readonly<Record<UserLimitName, number>>;

/** All limits of a user: the only place of their defaults, options and help. */
export const USER_LIMITS: Readonly<Record<UserLimitName, UserLimit>> = {
  messagesPerMinute: {
    kind: "count",
    default: 60,
    least: 0,
    flag: "user-messages-per-minute",
    help: "messages per minute from one user; 0 for no limit",
  },
  recipientsPerMinute: {
    kind: "count",
    default: 300,
    least: 0,
    flag: "user-recipients-per-minute",
    help: "recipients per minute from one user; 0 for no limit",
  },
  messagesPerDay: {
    kind: "count",
    default: 2000,
    least: 0,
    flag: "user-messages-per-day",
    help: "messages per day from one user; 0 for no limit",
  },
  recipientsPerDay: {
    kind: "count",
    default: 10_000,
    least: 0,
    flag: "user-recipients-per-day",
    help: "recipients per day from one user; 0 for no limit",
  },
  bytesPerDay: {
    kind: "size",
    default: 0,
    least: 0,
    flag: "user-bytes-per-day",
    help: "bytes per day from one user; 0 for no limit",
  },
};

/** The names and rows of the limits of a user. */
export function userLimitRows(): readonly (readonly [
  name: UserLimitName,
  row: UserLimit,
])[] {
  return Object.entries(USER_LIMITS) as [UserLimitName, UserLimit][];
}

/** The check of {@linkcode UserLimitOptions}; {@linkcode userLimitsOf} checks the ranges. */
export const USER_LIMIT_RULE: Rule = object<UserLimitOptions>(
  Object.fromEntries(
    Object.keys(USER_LIMITS).map((name) => [name, anyNumber]),
  ) as Rules<UserLimitOptions>,
  "{ messagesPerDay: 500 }",
);

/**
 * The limits of users in force: those of `options`, else the defaults.
 *
 * @throws {RangeError} If a number is out of range
 */
export function userLimitsOf(options: UserLimitOptions = {}): UserLimits {
  const limits: Partial<Record<UserLimitName, number>> = {};
  for (const [name, row] of userLimitRows()) {
    const value = options[name] ?? row.default;
    if (!Number.isSafeInteger(value) || value < row.least) {
      throw new RangeError(
        `Cannot use limits.perUser.${name} "${value}": want a whole number from ${row.least}`,
      );
    }
    limits[name] = value;
  }
  return limits as Record<UserLimitName, number>;
}
