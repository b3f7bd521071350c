/**
 * When a message may leave and by when it must arrive: the parameters HOLDFOR,
 * HOLDUNTIL and BY of MAIL. Pure: the time of day is handed in.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc4865#section-4 | RFC 4865 section 4},
 * {@link https://www.rfc-editor.org/rfc/rfc3339#section-5.6 | RFC 3339 section 5.6},
 * {@link https://www.rfc-editor.org/rfc/rfc2852#section-4 | RFC 2852 section 4}
 */

import { holdRefused, replies } from "./replies.ts";
import type { SmtpReply } from "./reply.ts";
import { civil, DAY_MS, pad } from "./trace.ts";

/** Longest hold of a message, in seconds: 30 days. */
export const MAX_HOLD: number = 30 * 24 * 3600;

/**
 * The time in which a message is to be delivered, from BY (RFC 2852).
 *
 * @example Ask for delivery within an hour
 * ```ts
 * import type { DeliverBy } from "@smtp/server";
 *
 * const by: DeliverBy = { seconds: 3600, mode: "return" };
 * console.assert(by.trace === undefined);
 * ```
 */
export interface DeliverBy {
  /** Seconds from now on; 0 and less only with the mode `"notify"`. At most 9 digits. */
  readonly seconds: number;
  /**
   * What happens afterwards: the message is returned, or the sender gets a notice
   * of the delay and the server goes on.
   */
  readonly mode: "return" | "notify";
  /** Set if the sender gets a notice of each host that has taken the message. */
  readonly trace?: true;
}

/** The parameters of MAIL about time. */
interface Timing {
  readonly holdFor?: number;
  readonly holdUntil?: string;
  readonly by?: DeliverBy;
}

const BY = /^([+-]?\d{1,9});([RrNn])([Tt]?)$/;
const DATE_TIME =
  /^(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.\d{1,9})?(?:[Zz]|[+-](\d\d):(\d\d))$/;

/** Parses the value of BY; `undefined` if it is malformed. A message can be returned only after a time to come. */
export function readBy(text = ""): DeliverBy | undefined {
  const match = BY.exec(text);
  if (match === null) return undefined;
  const seconds = Number(match[1]);
  const isReturn = match[2]!.toUpperCase() === "R";
  if (isReturn && seconds <= 0) return undefined;
  return {
    // No -0: it would be printed as "0" and compared as another value.
    seconds: seconds === 0 ? 0 : seconds,
    mode: isReturn ? "return" : "notify",
    ...(match[3] !== "" && { trace: true as const }),
  };
}

/** Whether a value of a program can be printed as BY. */
export function isDeliverBy(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  const { seconds, mode, trace } = value as Partial<DeliverBy>;
  return Number.isInteger(seconds) && Math.abs(seconds!) < 1e9 &&
    (mode === "notify" || mode === "return" && seconds! > 0) &&
    (trace === undefined || trace === true);
}

/**
 * Parses a date-time of RFC 3339.
 *
 * @returns Milliseconds since 1970; `undefined` if it is malformed or no such day exists
 */
export function parseReleaseTime(text: string): number | undefined {
  const match = DATE_TIME.exec(text);
  if (match === null) return undefined;
  const [year, month, day, hour, minute, second, zoneHour, zoneMinute] = match
    .slice(1).map((digits) => Number(digits ?? 0)) as [
      ...[number, number, number, number],
      ...[number, number, number, number],
    ];
  const isTime = hour < 24 && minute < 60 && second <= 60 &&
    zoneHour < 24 && zoneMinute < 60;
  const isDay = month >= 1 && month <= 12 && day >= 1 &&
    day <= daysBefore(year, month + 1) - daysBefore(year, month);
  if (!isTime || !isDay) return undefined;
  const zone = (60 * zoneHour + zoneMinute) *
    (/-\d\d:/.test(text.slice(19)) ? -1 : 1);
  const fraction = Math.floor(1000 * Number(/\.\d+/.exec(text)?.[0] ?? 0));
  // A leap second is the first of the next minute.
  const minutes = 60 * hour + minute - zone;
  return (daysBefore(year, month) + day - 1) * DAY_MS + minutes * 60_000 +
    second * 1000 + fraction;
}

/** Days from 1970 to the first day of a month, which may be the 13th. */
function daysBefore(year: number, month: number): number {
  // Years begin with March, so that the leap day is the last of its year.
  const shifted = month < 3 ? year - 1 : year;
  const months = (month + 9) % 12;
  const era = Math.floor(shifted / 400);
  const ofEra = shifted - era * 400;
  const leapDays = Math.floor(ofEra / 4) - Math.floor(ofEra / 100);
  const inYear = Math.floor((153 * months + 2) / 5);
  return era * 146_097 + 365 * ofEra + leapDays + inYear - 719_468;
}

/** Formats a time for EHLO, in whole seconds. */
export function formatReleaseTime(time: number): string {
  const days = Math.floor(time / DAY_MS);
  const { year, month, day } = civil(days);
  const second = Math.floor((time - days * DAY_MS) / 1000);
  const clock = [Math.floor(second / 3600), Math.floor(second / 60) % 60];
  const [hour, minute, rest] = [...clock, second % 60].map(pad);
  return `${year}-${pad(month + 1)}-${pad(day)}T${hour}:${minute}:${rest}Z`;
}

/**
 * When a message that came at a time is released, in milliseconds since 1970;
 * `undefined` if it is not held.
 */
export function releaseTime(
  { holdFor, holdUntil }: Timing,
  cameAt: number,
): number | undefined {
  if (holdFor !== undefined) return cameAt + holdFor * 1000;
  return holdUntil === undefined ? undefined : parseReleaseTime(holdUntil);
}

/** Whether a message is held before it is delivered. */
export function isHeld({ holdFor, holdUntil }: Timing): boolean {
  return holdFor !== undefined || holdUntil !== undefined;
}

/** The reply that refuses times that cannot be kept, if any. */
export function refuseTiming(
  parameters: Timing,
  now: number,
): SmtpReply | undefined {
  if (!isHeld(parameters)) return undefined;
  const { holdFor, holdUntil, by } = parameters;
  if (holdFor !== undefined && holdUntil !== undefined) {
    return replies.holdTwice;
  }
  const release = releaseTime(parameters, now)!;
  if (release <= now) return replies.holdPast;
  if (release > now + MAX_HOLD * 1000) {
    return holdRefused(MAX_HOLD, formatReleaseTime(now + MAX_HOLD * 1000));
  }
  return by !== undefined && by.seconds * 1000 <= release - now
    ? replies.holdBeyondBy
    : undefined;
}
