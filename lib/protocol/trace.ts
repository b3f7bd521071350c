/**
 * Trace fields: the Received and Return-Path fields that this server adds to a
 * message, their date, and the count of Received fields.
 *
 * Never trusts a peer's text: in a Received field it could end the comment, the
 * clause or the line, and so forge a hop or add a field. Characters that may
 * not stand in a domain become `?`.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.4 | RFC 5321 section 4.4},
 * {@link https://www.rfc-editor.org/rfc/rfc3848 | RFC 3848},
 * {@link https://www.rfc-editor.org/rfc/rfc6531#section-4.3 | RFC 6531 section 4.3},
 * {@link https://www.rfc-editor.org/rfc/rfc5322#section-3.3 | RFC 5322 section 3.3}
 */

import type { ReceivedNames } from "./listener_kind.ts";
import type { Address } from "./address.ts";
import { asciiMailbox } from "./domain.ts";
import type { MessageHeaders } from "./headers.ts";

const WEEKDAYS = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"] as const;
const MONTHS = [
  ...["Jan", "Feb", "Mar", "Apr", "May", "Jun"],
  ...["Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
] as const;
/** Milliseconds of a day. */
export const DAY_MS = 86_400_000;
/** Midnight, 1 January of the years 1900 and 10000: the range of the date syntax. */
const FIRST_MS = -2_208_988_800_000;
const END_MS = 253_402_300_800_000;
/** Preferred length of a line, in characters (RFC 5322 2.1.1). */
const WANTED = 78;

/** The facts that {@linkcode protocolName} needs. */
export interface ProtocolInit {
  /** The names of the protocol. */
  readonly names: ReceivedNames;
  /** Whether the client began with EHLO or LHLO. */
  readonly extended: boolean;
  /** Whether TLS is in force. */
  readonly tls: boolean;
  /** Whether the client has authenticated. */
  readonly authenticated: boolean;
  /** Whether the message came with SMTPUTF8. */
  readonly utf8: boolean;
}

/** The content of a Received field. */
export interface ReceivedInit {
  /** The argument of HELO, EHLO or LHLO; `""` without one. */
  readonly helo: string;
  /** The client's host name by reverse lookup, if there is one. */
  readonly remoteName?: string | undefined;
  /** The client's IP address, without brackets; `"unix"` for one of a unix socket. */
  readonly remoteAddress: string;
  /** The name of this server. */
  readonly hostname: string;
  /** The protocol, as {@linkcode protocolName} returns it. */
  readonly protocol: string;
  /** The encryption in force, if any. */
  readonly tls?:
    | { readonly protocol: string; readonly cipher: string }
    | undefined;
  /** The ID of the message on this server. */
  readonly id: string;
  /** The recipient, if there is only one: several would disclose blind copies. */
  readonly recipient?: Address | undefined;
  /** When the message arrived, in milliseconds since 1970 in UTC. */
  readonly receivedAt: number;
  /**
   * The time zone for the date, in minutes east of UTC.
   *
   * @default {0}
   */
  readonly offsetMinutes?: number | undefined;
}

/**
 * The Received field of a message, folded, with its CRLF.
 *
 * @throws {RangeError} As {@linkcode formatDate}
 *
 * @example
 * ```ts ignore
 * formatReceived({
 *   helo: "client.example",
 *   remoteAddress: "192.0.2.1",
 *   hostname: "mx.example.com",
 *   protocol: "ESMTP",
 *   id: "m1",
 *   receivedAt: 0,
 * });
 * // Received: from client.example ([192.0.2.1])
 * //   by mx.example.com with ESMTP id m1; Thu, 01 Jan 1970 00:00:00 +0000
 * ```
 */
export function formatReceived(init: ReceivedInit): string {
  const { tls, recipient } = init;
  const by = [`\tby ${clean(asciiMailbox(init.hostname), 255)}`];
  by.push(`with ${clean(init.protocol, 32)}`);
  if (tls !== undefined) {
    by.push(`(${comment(`${tls.protocol} ${tls.cipher}`.trim())})`);
  }
  by.push(`id ${clean(init.id, 128)}`);
  if (recipient !== undefined && !recipient.isNull) {
    by.push(`for <${asciiMailbox(String(recipient))}>`);
  }
  const last = by.length - 1;
  by[last] = `${by[last]};`;
  by.push(formatDate(init.receivedAt, init.offsetMinutes ?? 0));
  const from = ["Received: from", clean(init.helo, 255), ...peerOf(init)];
  return `${fold(from)}\r\n${fold(by)}\r\n`;
}

/**
 * The name of the protocol for the `with` clause, as `"ESMTPSA"`.
 *
 * @example
 * ```ts ignore
 * const plain = { tls: false, authenticated: false, utf8: false };
 * protocolName({ names: KINDS.smtp.received, extended: true, ...plain }); // "ESMTP"
 * ```
 */
export function protocolName(init: ProtocolInit): string {
  const suffix = `${init.tls ? "S" : ""}${init.authenticated ? "A" : ""}`;
  const { plain, extended, utf8 } = init.names;
  if (init.utf8) return `${utf8}${suffix}`;
  // STARTTLS and AUTH come with EHLO only. A later HELO does not revoke them,
  // and there are no names for them without the E.
  return init.extended || suffix !== "" ? `${extended}${suffix}` : plain;
}

/**
 * Formats a date for header fields, such as `Thu, 01 Jan 1970 00:00:00 +0000`.
 *
 * @param epochMs Milliseconds since 1970 in UTC
 * @param offsetMinutes The time zone of the result, in minutes east of UTC
 * @throws {RangeError} If the year in that zone is not 1900 to 9999, or the offset is a day or more
 *
 * @example
 * ```ts ignore
 * formatDate(0, -300); // "Wed, 31 Dec 1969 19:00:00 -0500"
 * ```
 */
export function formatDate(epochMs: number, offsetMinutes: number): string {
  if (!Number.isInteger(offsetMinutes) || Math.abs(offsetMinutes) >= 1440) {
    throw new RangeError(
      `Cannot print a date in zone "${offsetMinutes}": want whole minutes, less than 1440`,
    );
  }
  const local = epochMs + offsetMinutes * 60_000;
  if (!(local >= FIRST_MS && local < END_MS)) {
    throw new RangeError(
      `Cannot print the date "${epochMs}": want the years 1900 to 9999`,
    );
  }
  const days = Math.floor(local / DAY_MS);
  const seconds = Math.floor((local - days * DAY_MS) / 1000);
  const { year, month, day } = civil(days);
  const weekday = WEEKDAYS[((days % 7) + 7) % 7]!;
  const time = [
    pad(Math.floor(seconds / 3600)),
    pad(Math.floor(seconds / 60) % 60),
    pad(seconds % 60),
  ].join(":");
  const zone = Math.abs(offsetMinutes);
  const sign = offsetMinutes < 0 ? "-" : "+";
  return `${weekday}, ${pad(day)} ${MONTHS[month]} ${year} ${time} ` +
    `${sign}${pad(Math.floor(zone / 60))}${pad(zone % 60)}`;
}

/**
 * Formats the Return-Path field for the delivery of a message, with its CRLF.
 *
 * @example
 * ```ts ignore
 * formatReturnPath(Address.NULL); // "Return-Path: <>\r\n"
 * ```
 */
export function formatReturnPath(address: Address): string {
  return `Return-Path: <${asciiMailbox(String(address))}>\r\n`;
}

/**
 * The number of Received fields of a message: more than about 100 is a loop
 * (RFC 5321 6.3).
 *
 * @example
 * ```ts ignore
 * countReceived(MessageHeaders.parse(block)) > 100;
 * ```
 */
export function countReceived(headers: MessageHeaders): number {
  return headers.getAll("Received").length;
}

/**
 * Year, month from 0 and day of the month for a day counted from 1970, in the
 * Gregorian calendar.
 */
export function civil(
  days: number,
): { year: number; month: number; day: number } {
  // Counted from 1 March of the year 0, the leap day is the last of its year,
  // its century and its 400 years.
  const sinceMarch = days + 719_468;
  const era = Math.floor(sinceMarch / 146_097);
  const ofEra = sinceMarch - era * 146_097;
  const yearOfEra = Math.floor(
    (ofEra - Math.floor(ofEra / 1460) + Math.floor(ofEra / 36_524) -
      Math.floor(ofEra / 146_096)) / 365,
  );
  const ofYear = ofEra - 365 * yearOfEra - Math.floor(yearOfEra / 4) +
    Math.floor(yearOfEra / 100);
  const fromMarch = Math.floor((5 * ofYear + 2) / 153);
  const day = ofYear - Math.floor((153 * fromMarch + 2) / 5) + 1;
  const month = (fromMarch + 2) % 12;
  return { year: yearOfEra + era * 400 + (month < 2 ? 1 : 0), month, day };
}

/** Two digits. */
export function pad(value: number): string {
  return String(value).padStart(2, "0");
}

/**
 * The client in parentheses: its name, if it is known, and address. Nothing for
 * a client of a unix socket: that has neither, and the clause may be without.
 */
function peerOf(init: ReceivedInit): string[] {
  if (init.remoteAddress === "unix") return [];
  const name = init.remoteName ? `${clean(init.remoteName, 255)} ` : "";
  return [`(${name}${bareLiteral(init.remoteAddress)})`];
}

/**
 * Formats an address without the IPv4-mapped prefix of a dual-stack socket, and
 * without this host's zone index.
 */
function bareLiteral(address: string): string {
  const bare = address.replace(/^::ffff:(?=\d+\.)/i, "").split("%", 1)[0]!;
  const text = clean(bare, 64);
  return text.includes(":") ? `[IPv6:${text}]` : `[${text}]`;
}

/** A peer's word: characters that may not stand in a domain, address literal or name become `?`. */
function clean(word: string, limit: number): string {
  return word.slice(0, limit).replace(/[^\w.:[\]-]/g, "?") || "unknown";
}

/** Text for the inside of a comment, without characters that end it or begin another. */
function comment(text: string): string {
  return text.slice(0, 128).replace(/[^ -'*-[\]-~]/g, "?");
}

/** Joins parts with spaces, and breaks the line where it would be too long. */
function fold(parts: readonly string[]): string {
  let text = "";
  let column = 0;
  for (const part of parts) {
    const breaks = column > 0 && column + 1 + part.length > WANTED;
    if (column > 0) text += breaks ? "\r\n\t" : " ";
    column = breaks
      ? 1 + part.length
      : column + (column > 0 ? 1 : 0) + part.length;
    text += part;
  }
  return text;
}
