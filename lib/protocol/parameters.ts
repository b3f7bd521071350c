/**
 * The parameters of MAIL and RCPT: parses the text after the path, and prints
 * it again.
 *
 * Never throws on a peer's text: a parameter that is unknown or not offered
 * gets 555, one that is malformed or repeated with another value gets 501. A
 * peer's keyword never becomes the name of a property.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.1.2 | RFC 5321 section 4.1.2},
 * {@link https://www.rfc-editor.org/rfc/rfc1870 | RFC 1870},
 * {@link https://www.rfc-editor.org/rfc/rfc6152 | RFC 6152},
 * {@link https://www.rfc-editor.org/rfc/rfc3030 | RFC 3030},
 * {@link https://www.rfc-editor.org/rfc/rfc2852#section-4 | RFC 2852 section 4},
 * {@link https://www.rfc-editor.org/rfc/rfc3461#section-4 | RFC 3461 section 4},
 * {@link https://www.rfc-editor.org/rfc/rfc4865#section-4 | RFC 4865 section 4},
 * {@link https://www.rfc-editor.org/rfc/rfc4954#section-5 | RFC 4954 section 5},
 * {@link https://www.rfc-editor.org/rfc/rfc6531#section-3.4 | RFC 6531 section 3.4},
 * {@link https://www.rfc-editor.org/rfc/rfc6533#section-3 | RFC 6533 section 3},
 * {@link https://www.rfc-editor.org/rfc/rfc8689#section-2 | RFC 8689 section 2}
 */

import { parsePath } from "./address.ts";
import { isBlank } from "./bytes.ts";
import { type DeliverBy, parseReleaseTime, readBy } from "./timing.ts";
import {
  doubleParameter,
  malformedParameter,
  replies,
  unknownParameter,
} from "./replies.ts";
import type { SmtpReply } from "./reply.ts";
import { decodeXtext, encodeXtext } from "./xtext.ts";

/** Longest ENVID as written in the command, in characters (RFC 3461 4.4). */
const MAX_ENVID = 100;
/** Longest ORCPT as written in the command, in characters (RFC 3461 4.2). */
const MAX_ORCPT = 500;

/** No flags `iu`: together they accept U+017F and U+212A for `s` and `k`. */
const PARAMETER = /^([A-Za-z\d][A-Za-z\d-]*)(?:=([!-<>-~\u00a0-\uffff]+))?$/;
/** Sent by clients without an account name at hand. */
const EMPTY_AUTH = /^([Aa][Uu][Tt][Hh])=()$/;
const SIZE = /^\d{1,20}$/;
const BODY = /^(?:7BIT|8BITMIME|BINARYMIME)$/;
const RET = /^(?:FULL|HDRS)$/;
const HOLD_FOR = /^\d{1,9}$/;
const NOTIFY =
  /^(?:NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY))*)$/;
const ADDRESS_TYPE = /^[a-z\d!#$%&'*+\-/=?^_`{|}~]+$/i;
const PRINTABLE = /^[ -~]*$/;
const UNICODE_ADDRESS =
  /^(?:[!-*,-<>-[\]-~\u00a0-\ud7ff\ue000-\ufffc\u{10000}-\u{10ffff}]|\\x\{[\dA-F]{2,6}\})*$/u;
const EMBEDDED = /\\x\{([\dA-F]{2,6})\}/g;
const NOT_PLAIN = /[^!-*,-<>-[\]-~]/gu;
// deno-lint-ignore no-control-regex
const CONTROL_OR_HALF = /[\x00-\x1f\x7f-\x9f\ufffd\p{Surrogate}]/u;

/** The parameters that MAIL FROM may have after the address. */
export interface MailParameters {
  /** SIZE: the announced size in bytes (RFC 1870), at most `Number.MAX_SAFE_INTEGER`. */
  readonly size?: number;
  /** BODY (RFC 6152, RFC 3030). */
  readonly body?: "7BIT" | "8BITMIME" | "BINARYMIME";
  /** Set if SMTPUTF8 was given (RFC 6531). */
  readonly smtpUtf8?: true;
  /** RET (RFC 3461). */
  readonly ret?: "FULL" | "HDRS";
  /** ENVID, xtext decoded (RFC 3461). */
  readonly envid?: string;
  /** AUTH=, xtext decoded; "<>" if so given, or if it is not a mailbox (RFC 4954 section 5). */
  readonly auth?: string;
  /**
   * HOLDFOR: seconds for which the message is held before it is delivered (RFC
   * 4865), up to 30 days. Not beside `holdUntil`. A store that a handler has chosen for it gets its copy at once.
   */
  readonly holdFor?: number;
  /** HOLDUNTIL: the time up to which it is held, as `"2027-01-01T08:00:00Z"`, at most 30 days ahead (RFC 4865). */
  readonly holdUntil?: string;
  /** BY: the time in which it is to be delivered, and what happens afterwards (RFC 2852). */
  readonly by?: DeliverBy;
  /** Set if REQUIRETLS was given: it goes to other hosts over verified TLS only (RFC 8689). */
  readonly requireTls?: true;
}

/** The parameters that RCPT TO may have after the address. */
export interface RcptParameters {
  /** NOTIFY, each value once (RFC 3461). */
  readonly notify?: readonly ("NEVER" | "SUCCESS" | "FAILURE" | "DELAY")[];
  /** ORCPT, xtext decoded; the address may be empty (RFC 3461). */
  readonly orcpt?: { readonly type: string; readonly address: string };
}

/** The parameters of MAIL that the server offers. */
export interface MailParameterRules {
  /** SIZE (RFC 1870). */
  readonly size: boolean;
  /** 8BITMIME: BODY=7BIT and BODY=8BITMIME (RFC 6152). */
  readonly eightBitMime: boolean;
  /** BINARYMIME: BODY=BINARYMIME (RFC 3030). */
  readonly binaryMime: boolean;
  /** SMTPUTF8 (RFC 6531). */
  readonly smtpUtf8: boolean;
  /** DSN: RET and ENVID (RFC 3461). */
  readonly dsn: boolean;
  /** AUTH: AUTH=mailbox (RFC 4954). */
  readonly auth: boolean;
  /** FUTURERELEASE: HOLDFOR and HOLDUNTIL (RFC 4865). */
  readonly futureRelease: boolean;
  /** DELIVERBY: BY (RFC 2852). */
  readonly deliverBy: boolean;
  /** REQUIRETLS (RFC 8689). */
  readonly requireTls: boolean;
}

/** The parameters of RCPT that the server offers. */
export interface RcptParameterRules {
  /** DSN: NOTIFY and ORCPT (RFC 3461). */
  readonly dsn: boolean;
  /**
   * Whether ORCPT may contain unencoded characters beyond ASCII: SMTPUTF8 is in
   * force (RFC 6533).
   */
  readonly utf8: boolean;
}

type Writable<T> = { -readonly [Key in keyof T]: T[Key] };
/** The parsed parameters, or the reply that rejects them. */
type Outcome<T> = { readonly parameters: T } | { readonly reply: SmtpReply };

/** How one parameter is offered, parsed and printed. */
interface Parameter<Value, Rules> {
  /** The keyword in capitals. */
  readonly keyword: string;
  /** Whether the server offers it. */
  isOffered(rules: Rules): boolean;
  /** If not offered: `refuse` sends 555, `ignore` drops a valid value. */
  readonly ifNotOffered: "refuse" | "ignore";
  /** Parses the text after `=`, if any; `undefined` if it is malformed. */
  read(text: string | undefined, rules: Rules): Value | undefined;
  /** The value of a parameter given twice, `undefined` for an error. */
  merge(first: Value, second: Value): Value | undefined;
  /** The text after the keyword, `=` included. */
  print(value: Value): string;
}

/**
 * One row for each field of the parsed parameters, in the order of printing. A
 * field without a row does not compile.
 */
type Table<T, Rules> = {
  readonly [Field in keyof T]-?: Parameter<NonNullable<T[Field]>, Rules>;
};

/** DSN parameters may not be repeated (RFC 3461 section 5.1). */
const once = () => undefined;

/**
 * The same value may be given twice: libraries such as Python's smtplib add
 * parameters to those of a program.
 */
const same = <Value>(first: Value, second: Value): Value | undefined =>
  first === second ? second : undefined;

const MAIL: Table<MailParameters, MailParameterRules> = {
  size: {
    keyword: "SIZE",
    isOffered: (rules) => rules.size,
    ifNotOffered: "refuse",
    read: readSize,
    // Each of several sizes is an estimate (RFC 1870 section 6.1).
    merge: Math.max,
    print: (size) => `=${size}`,
  },
  body: {
    keyword: "BODY",
    isOffered: (rules) => rules.eightBitMime || rules.binaryMime,
    ifNotOffered: "refuse",
    read: readBody,
    merge: same,
    print: (body) => `=${body}`,
  },
  smtpUtf8: {
    keyword: "SMTPUTF8",
    isOffered: (rules) => rules.smtpUtf8,
    ifNotOffered: "refuse",
    read: (text) => text === undefined ? true : undefined,
    merge: same,
    print: () => "",
  },
  ret: {
    keyword: "RET",
    isOffered: (rules) => rules.dsn,
    ifNotOffered: "refuse",
    read: readRet,
    merge: once,
    print: (ret) => `=${ret}`,
  },
  envid: {
    keyword: "ENVID",
    isOffered: (rules) => rules.dsn,
    ifNotOffered: "refuse",
    read: readEnvid,
    merge: once,
    print: (envid) => `=${encodeXtext(envid)}`,
  },
  auth: {
    keyword: "AUTH",
    isOffered: (rules) => rules.auth,
    // Without AUTH it means nothing, but some clients send it anyway.
    ifNotOffered: "ignore",
    read: readAuth,
    merge: same,
    print: (auth) => auth === "<>" ? "=<>" : `=${encodeXtext(auth)}`,
  },
  holdFor: {
    keyword: "HOLDFOR",
    isOffered: (rules) => rules.futureRelease,
    ifNotOffered: "refuse",
    read: (text = "") => HOLD_FOR.test(text) ? Number(text) : undefined,
    merge: same,
    print: (seconds) => `=${seconds}`,
  },
  holdUntil: {
    keyword: "HOLDUNTIL",
    isOffered: (rules) => rules.futureRelease,
    ifNotOffered: "refuse",
    read: (text = "") =>
      parseReleaseTime(text) === undefined ? undefined : text,
    merge: same,
    print: (time) => `=${time}`,
  },
  by: {
    keyword: "BY",
    isOffered: (rules) => rules.deliverBy,
    ifNotOffered: "refuse",
    read: readBy,
    merge: once,
    print: ({ seconds, mode, trace }) =>
      `=${seconds};${mode === "return" ? "R" : "N"}${trace ? "T" : ""}`,
  },
  requireTls: {
    keyword: "REQUIRETLS",
    isOffered: (rules) => rules.requireTls,
    ifNotOffered: "refuse",
    read: (text) => text === undefined ? true : undefined,
    merge: same,
    print: () => "",
  },
};

const RCPT: Table<RcptParameters, RcptParameterRules> = {
  notify: {
    keyword: "NOTIFY",
    isOffered: (rules) => rules.dsn,
    ifNotOffered: "refuse",
    read: readNotify,
    merge: once,
    print: (events) => `=${events.join(",")}`,
  },
  orcpt: {
    keyword: "ORCPT",
    isOffered: (rules) => rules.dsn,
    ifNotOffered: "refuse",
    read: readOrcpt,
    merge: once,
    print: printOrcpt,
  },
};

/** A row with the name of its field. */
interface Row<T, Rules> {
  readonly field: keyof T;
  readonly parameter: Parameter<T[keyof T], Rules>;
}

const MAIL_ROWS = rowsOf(MAIL);
const RCPT_ROWS = rowsOf(RCPT);

function rowsOf<T, Rules>(table: Table<T, Rules>): readonly Row<T, Rules>[] {
  const fields = Object.keys(table) as (keyof T)[];
  return fields.map((field) => {
    const parameter = table[field] as Parameter<T[keyof T], Rules>;
    return { field, parameter };
  });
}

const NONE: { readonly parameters: Record<never, never> } = Object.freeze({
  parameters: Object.freeze({}),
});

/**
 * Parses the text after the path of MAIL, such as ` SIZE=100 BODY=8BITMIME`.
 * Never throws.
 *
 * @example
 * ```ts ignore
 * parseMailParameters(" SIZE=100", rules); // { parameters: { size: 100 } }
 * parseMailParameters(" COLOR=RED", rules); // { reply: 555 5.5.4 ... }
 * ```
 */
export function parseMailParameters(
  text: string,
  allowed: MailParameterRules,
): { parameters: MailParameters } | { reply: SmtpReply } {
  if (text === "") return NONE;
  return parse(text, MAIL_ROWS, allowed);
}

/**
 * Parses the text after the path of RCPT, such as ` NOTIFY=NEVER`. Never
 * throws.
 *
 * @example
 * ```ts ignore
 * parseRcptParameters(" NOTIFY=NEVER", { dsn: true, utf8: false });
 * // { parameters: { notify: ["NEVER"] } }
 * ```
 */
export function parseRcptParameters(
  text: string,
  allowed: RcptParameterRules,
): { parameters: RcptParameters } | { reply: SmtpReply } {
  if (text === "") return NONE;
  return parse(text, RCPT_ROWS, allowed);
}

function parse<T, Rules>(
  text: string,
  rows: readonly Row<T, Rules>[],
  rules: Rules,
): Outcome<T> {
  if (!isBlank(text.charCodeAt(0))) {
    return { reply: replies.noSpaceAfterPath };
  }
  const taken = {} as Writable<T>;
  for (const part of text.split(/[ \t]/)) {
    if (part === "") continue;
    const match = PARAMETER.exec(part) ?? EMPTY_AUTH.exec(part);
    if (match === null) {
      return { reply: malformedParameter(part.split("=", 1)[0]!) };
    }
    const keyword = match[1]!.toUpperCase();
    const row = findRow(rows, keyword);
    if (row === undefined) return { reply: unknownParameter(keyword) };
    const { parameter } = row;
    const isOffered = parameter.isOffered(rules);
    if (!isOffered && parameter.ifNotOffered === "refuse") {
      return { reply: unknownParameter(keyword) };
    }
    const value = parameter.read(match[2], rules);
    if (value === undefined) return { reply: malformedParameter(keyword) };
    const reply = isOffered ? store(taken, row, value) : undefined;
    if (reply !== undefined) return { reply };
  }
  return { parameters: taken };
}

/** The row of a keyword. Few rows: a loop is faster than a map. */
function findRow<T, Rules>(
  rows: readonly Row<T, Rules>[],
  keyword: string,
): Row<T, Rules> | undefined {
  for (const row of rows) if (row.parameter.keyword === keyword) return row;
  return undefined;
}

/** Stores a value; a parameter given twice may be refused. */
function store<T, Rules>(
  taken: Writable<T>,
  { field, parameter }: Row<T, Rules>,
  value: T[keyof T],
): SmtpReply | undefined {
  const before = taken[field];
  const merged = before === undefined ? value : parameter.merge(before, value);
  if (merged === undefined) return doubleParameter(parameter.keyword);
  taken[field] = merged;
  return undefined;
}

/**
 * ASCII text in upper case, `""` for other text: `toUpperCase()` turns U+017F
 * and U+0131 into ASCII.
 */
function upper(text: string): string {
  return PRINTABLE.test(text) ? text.toUpperCase() : "";
}

function readSize(value = ""): number | undefined {
  if (!SIZE.test(value)) return undefined;
  return Math.min(Number(value), Number.MAX_SAFE_INTEGER);
}

function readBody(
  value = "",
  allowed: MailParameterRules,
): MailParameters["body"] {
  const body = upper(value);
  if (!BODY.test(body)) return undefined;
  const offered = body === "BINARYMIME"
    ? allowed.binaryMime
    : allowed.eightBitMime;
  return offered ? body as "7BIT" : undefined;
}

function readRet(value = ""): MailParameters["ret"] {
  const ret = upper(value);
  return RET.test(ret) ? ret as "FULL" : undefined;
}

/** Decodes ENVID. Only printable ASCII is allowed: it goes into a header field of the DSN. */
function readEnvid(value = ""): string | undefined {
  if (value.length > MAX_ENVID) return undefined;
  const envid = decodeXtext(value);
  return envid && PRINTABLE.test(envid) ? envid : undefined;
}

/**
 * Decodes AUTH=. Some clients send an account name, or an address that is not
 * xtext: not a mailbox, so the sender is unknown.
 */
function readAuth(value = ""): string | undefined {
  const auth = decodeXtext(value);
  if (auth === undefined) return "<>";
  if (CONTROL_OR_HALF.test(auth)) return undefined;
  const path = `<${auth}>`;
  const parsed = parsePath(path, 0, { kind: "forward", utf8: true });
  return "end" in parsed && parsed.end === path.length &&
      parsed.address.toPath() === path
    ? auth
    : "<>";
}

function readNotify(value = ""): RcptParameters["notify"] {
  const text = upper(value);
  if (!NOTIFY.test(text)) return undefined;
  const events = text.split(",") as NonNullable<RcptParameters["notify"]>;
  return [...new Set(events)];
}

function readOrcpt(
  value = "",
  allowed: RcptParameterRules,
): RcptParameters["orcpt"] {
  const split = value.indexOf(";");
  const type = value.slice(0, Math.max(split, 0));
  if (value.length > MAX_ORCPT || !ADDRESS_TYPE.test(type)) return undefined;
  const encoded = value.slice(split + 1);
  if (type.toLowerCase() === "utf-8") {
    const address = readUnicodeAddress(encoded, allowed);
    return address === undefined ? undefined : { type, address };
  }
  const address = decodeXtext(encoded);
  if (address === undefined || !PRINTABLE.test(address)) return undefined;
  return { type, address };
}

/** Decodes utf-8-addr-xtext and utf-8-addr-unitext (RFC 6533 section 3). */
function readUnicodeAddress(
  encoded: string,
  allowed: RcptParameterRules,
): string | undefined {
  if (!allowed.utf8 && /[^ -~]/.test(encoded)) return undefined;
  if (!UNICODE_ADDRESS.test(encoded)) return undefined;
  let right = true;
  const address = encoded.replace(EMBEDDED, (_, hex: string) => {
    const code = parseInt(hex, 16);
    right &&= code <= 0x10ffff;
    return right ? String.fromCodePoint(code) : "";
  });
  return right && !CONTROL_OR_HALF.test(address) ? address : undefined;
}

/**
 * The parameters without those that are about the way of a message: at its
 * mailbox it has been held, is in time, and goes no further.
 */
export function atMailbox(parameters: MailParameters): MailParameters {
  const { holdFor, holdUntil, by, requireTls, ...others } = parameters;
  const isPlain = holdFor ?? holdUntil ?? by ?? requireTls;
  return isPlain === undefined ? parameters : others;
}

/**
 * Formats the parameters of MAIL for the command, each with a space before it;
 * `""` without parameters.
 *
 * @example
 * ```ts ignore
 * formatMailParameters({ size: 100, body: "8BITMIME" }); // " SIZE=100 BODY=8BITMIME"
 * ```
 */
export function formatMailParameters(parameters: MailParameters): string {
  return print(parameters, MAIL_ROWS);
}

/**
 * Formats the parameters of RCPT for the command, each with a space before it;
 * `""` without parameters. An ORCPT of type `utf-8` is printed in ASCII, which
 * every server with DSN accepts, with or without SMTPUTF8.
 *
 * @throws {TypeError} If the type of `orcpt` is not an atom
 *
 * @example
 * ```ts ignore
 * formatRcptParameters({ notify: ["FAILURE", "DELAY"] }); // " NOTIFY=FAILURE,DELAY"
 * ```
 */
export function formatRcptParameters(parameters: RcptParameters): string {
  return print(parameters, RCPT_ROWS);
}

function print<T, Rules>(
  parameters: T,
  rows: readonly Row<T, Rules>[],
): string {
  let text = "";
  for (const { field, parameter } of rows) {
    const value = parameters[field];
    if (value === undefined) continue;
    text += ` ${parameter.keyword}${parameter.print(value)}`;
  }
  return text;
}

function printOrcpt(
  { type, address }: NonNullable<RcptParameters["orcpt"]>,
): string {
  if (!ADDRESS_TYPE.test(type)) {
    const shown = JSON.stringify(type);
    throw new TypeError(`Cannot print ORCPT of type ${shown}: want an atom`);
  }
  const encoded = type.toLowerCase() === "utf-8"
    ? address.replace(NOT_PLAIN, embed)
    : encodeXtext(address);
  return `=${type};${encoded}`;
}

function embed(char: string): string {
  const hex = char.codePointAt(0)!.toString(16).toUpperCase();
  return `\\x{${hex.padStart(2, "0")}}`;
}
