/**
 * Command lines: splits a line into verb and argument, and knows the longest
 * line of each verb. Also recognizes clients that speak HTTP or TLS instead.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.1 | RFC 5321 section 4.1}
 */

import { isBlank, skipBlanks } from "./bytes.ts";

/** The verbs that the server implements. */
export type Verb =
  | "HELO"
  | "EHLO"
  | "LHLO"
  | "MAIL"
  | "RCPT"
  | "DATA"
  | "BDAT"
  | "RSET"
  | "NOOP"
  | "QUIT"
  | "HELP"
  | "VRFY"
  | "EXPN"
  | "AUTH"
  | "STARTTLS"
  | "XCLIENT";

/** The first words of an HTTP client on the wrong port, or redirected to this one. */
const HTTP =
  /^(?:GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH) \S|^Host: |^PRI \* HTTP/;

/** Longest command line without CRLF, in bytes (RFC 5321 section 4.5.3.1.4: 512 with it). */
const LINE_LIMIT = 510;

/** Longest line of an AUTH exchange without CRLF, in bytes (RFC 4954 section 4). */
export const AUTH_LINE_LIMIT = 12286;

/**
 * Longest line of each verb, in bytes without CRLF. Extensions add to MAIL:
 * SIZE 26, BODY 17, DSN 500, AUTH 500, SMTPUTF8 10; and to RCPT: DSN 500.
 */
const LINE_LIMITS: Readonly<Record<Verb, number>> = {
  HELO: LINE_LIMIT,
  EHLO: LINE_LIMIT,
  LHLO: LINE_LIMIT,
  MAIL: LINE_LIMIT + 26 + 17 + 500 + 500 + 10,
  RCPT: LINE_LIMIT + 500,
  DATA: LINE_LIMIT,
  BDAT: LINE_LIMIT,
  RSET: LINE_LIMIT,
  NOOP: LINE_LIMIT,
  QUIT: LINE_LIMIT,
  HELP: LINE_LIMIT,
  VRFY: LINE_LIMIT,
  EXPN: LINE_LIMIT,
  AUTH: AUTH_LINE_LIMIT,
  STARTTLS: LINE_LIMIT,
  XCLIENT: LINE_LIMIT,
};

/** Longest command line except AUTH, in bytes without CRLF: the limit of the line buffer. */
export const COMMAND_LINE_LIMIT: number = LINE_LIMITS.MAIL;

const VERBS: ReadonlyMap<string, Verb> = new Map(
  (Object.keys(LINE_LIMITS) as Verb[]).map((verb) => [verb, verb]),
);

/** A command line, split into verb and argument. */
export interface Command {
  /** The verb in capitals, `undefined` if it is unknown. */
  readonly verb: Verb | undefined;
  /** The text after the verb, without spaces and tabs at both ends. */
  readonly argument: string;
}

/** A command with a known verb. */
export interface KnownCommand extends Command {
  /** The verb in capitals. */
  readonly verb: Verb;
}

/** A verb in any case. ASCII only: `toUpperCase()` turns U+017F into S and U+0131 into I. */
const WORD = /^[A-Za-z]{4,8}$/;

/**
 * Splits a command line. A verb may be in any case, and any run of spaces and
 * tabs may follow it.
 */
export function parseCommand(line: string): Command {
  let end = 0;
  while (end < line.length && !isBlank(line.charCodeAt(end))) end++;
  const word = line.slice(0, end);
  return {
    verb: VERBS.get(word) ?? findVerb(word),
    argument: trimEnd(line.slice(skipBlanks(line, end))),
  };
}

function findVerb(word: string): Verb | undefined {
  return WORD.test(word) ? VERBS.get(word.toUpperCase()) : undefined;
}

/** The text without spaces and tabs at its end. */
function trimEnd(text: string): string {
  let end = text.length;
  while (end > 0 && isBlank(text.charCodeAt(end - 1))) end--;
  return text.slice(0, end);
}

/** Longest line of `verb`, in bytes without CRLF. */
export function lineLimit(verb: Verb | undefined): number {
  return verb === undefined ? LINE_LIMIT : LINE_LIMITS[verb];
}

/** Whether the line is the first line of an HTTP request. */
export function isHttp(line: string): boolean {
  return HTTP.test(line);
}

/** The size and the LAST flag of a BDAT argument, `undefined` if it is malformed. */
export function parseBdat(
  argument: string,
): { readonly size: number; readonly last: boolean } | undefined {
  const match = /^(\d{1,15})(?:[ \t]+(LAST))?$/i.exec(argument);
  if (match === null) return undefined;
  return { size: Number(match[1]), last: match[2] !== undefined };
}

/** The first bytes of a TLS record: the client expects implicit TLS on a plain port. */
export const TLS_RECORD: readonly number[] = [0x16, 0x03];

/** Whether the bytes begin like a TLS connection. */
export function beginsTls(bytes: Uint8Array): boolean {
  return bytes.length > 0 &&
    TLS_RECORD.every((byte, at) => byte === (bytes[at] ?? byte));
}
