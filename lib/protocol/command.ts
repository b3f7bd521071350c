/**
 * Command lines: the verb, its argument, and how long each may be.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.1 | RFC 5321 section 4.1}
 */

import { isBlank } from "./bytes.ts";

/** The verbs that the server knows. */
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

/** First words of a web client that found the wrong port, or was sent to it. */
const HTTP =
  /^(?:GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH) \S|^Host: |^PRI \* HTTP/;

/** Longest command line without CRLF (RFC 5321 section 4.5.3.1.4: 512 with it). */
const LINE_LIMIT = 510;

/** Longest line of an AUTH exchange without CRLF (RFC 4954 section 4). */
export const AUTH_LINE_LIMIT = 12286;

/**
 * Longest line of each verb, in bytes without CRLF, with what extensions add to
 * MAIL and RCPT: SIZE 26, BODY 17, DSN 500, AUTH 500, SMTPUTF8 10, and for RCPT
 * DSN 500.
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

/** Longest of all command lines but AUTH, without CRLF: what the line buffer must take. */
export const COMMAND_LINE_LIMIT: number = LINE_LIMITS.MAIL;

const VERBS: ReadonlyMap<string, Verb> = new Map(
  (Object.keys(LINE_LIMITS) as Verb[]).map((verb) => [verb, verb]),
);

/** A command line, taken apart. */
export interface Command {
  /** The verb in capitals, `undefined` for one that is not known. */
  readonly verb: Verb | undefined;
  /** What follows the verb, without the blanks and tabs before it and at the end. */
  readonly argument: string;
}

/** A command line whose verb is known. */
export interface KnownCommand extends Command {
  /** The verb in capitals. */
  readonly verb: Verb;
}

/** A verb in any case. Only ASCII: `toUpperCase()` makes S of U+017F and I of U+0131. */
const WORD = /^[A-Za-z]{4,8}$/;

/**
 * Takes a command line apart. Verbs are known in any case; any run of blanks
 * and tabs may stand behind them.
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

/** Where the text goes on behind the blanks and tabs that stand at `at`. */
export function skipBlanks(text: string, at: number): number {
  let next = at;
  while (isBlank(text.charCodeAt(next))) next++;
  return next;
}

function findVerb(word: string): Verb | undefined {
  return WORD.test(word) ? VERBS.get(word.toUpperCase()) : undefined;
}

/** The text without blanks and tabs at its end. */
function trimEnd(text: string): string {
  let end = text.length;
  while (end > 0 && isBlank(text.charCodeAt(end - 1))) end--;
  return text.slice(0, end);
}

/** Longest line that `verb` may have, in bytes without CRLF. */
export function lineLimit(verb: Verb | undefined): number {
  return verb === undefined ? LINE_LIMIT : LINE_LIMITS[verb];
}

/** Whether the line is the first of an HTTP request. */
export function isHttp(line: string): boolean {
  return HTTP.test(line);
}

/** The chunk that a BDAT argument announces, `undefined` where it cannot be read. */
export function parseBdat(
  argument: string,
): { readonly size: number; readonly last: boolean } | undefined {
  const match = /^(\d{1,15})(?:[ \t]+(LAST))?$/i.exec(argument);
  if (match === null) return undefined;
  return { size: Number(match[1]), last: match[2] !== undefined };
}

/** The first bytes of a TLS record: a client that expects TLS where there is none. */
export const TLS_RECORD: readonly number[] = [0x16, 0x03];

/** Whether bytes are those that a TLS connection begins with. */
export function beginsTls(bytes: Uint8Array): boolean {
  return bytes.length > 0 &&
    TLS_RECORD.every((octet, at) => octet === (bytes[at] ?? octet));
}
