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
 * {@link https://www.rfc-editor.org/rfc/rfc3461#section-4 | RFC 3461 section 4},
 * {@link https://www.rfc-editor.org/rfc/rfc4954#section-5 | RFC 4954 section 5},
 * {@link https://www.rfc-editor.org/rfc/rfc6531#section-3.4 | RFC 6531 section 3.4},
 * {@link https://www.rfc-editor.org/rfc/rfc6533#section-3 | RFC 6533 section 3}
 */

import { parsePath } from "./address.ts";
import { isBlank } from "./bytes.ts";
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
/** Takes one parameter; `undefined` on success. */
type Take<T> = (
  taken: Writable<T>,
  keyword: string,
  value: string | undefined,
) => SmtpReply | undefined;

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
  return parse<MailParameters>(
    text,
    (taken, keyword, value) => takeMail(taken, { keyword, value, allowed }),
  );
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
  return parse<RcptParameters>(
    text,
    (taken, keyword, value) => takeRcpt(taken, { keyword, value, allowed }),
  );
}

function parse<T>(text: string, take: Take<T>): Outcome<T> {
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
    const reply = take(taken, match[1]!.toUpperCase(), match[2]);
    if (reply !== undefined) return { reply };
  }
  return { parameters: taken };
}

interface Given<Rules> {
  readonly keyword: string;
  readonly value: string | undefined;
  readonly allowed: Rules;
}

function takeMail(
  taken: Writable<MailParameters>,
  { keyword, value, allowed }: Given<MailParameterRules>,
): SmtpReply | undefined {
  switch (keyword) {
    case "SIZE":
      if (!allowed.size) break;
      return putSize(taken, readSize(value));
    case "BODY":
      if (!allowed.eightBitMime && !allowed.binaryMime) break;
      return putAlike(taken, "body", {
        keyword,
        value: readBody(value, allowed),
      });
    case "SMTPUTF8":
      if (!allowed.smtpUtf8) break;
      return putAlike(taken, "smtpUtf8", {
        keyword,
        value: value === undefined ? true : undefined,
      });
    case "RET":
      if (!allowed.dsn) break;
      return put(taken, "ret", { keyword, value: readRet(value) });
    case "ENVID":
      if (!allowed.dsn) break;
      return put(taken, "envid", { keyword, value: readEnvid(value) });
    case "AUTH": {
      const auth = readAuth(value);
      // Without AUTH it means nothing, but some clients send it anyway.
      if (!allowed.auth && auth !== undefined) return undefined;
      return putAlike(taken, "auth", { keyword, value: auth });
    }
  }
  return unknownParameter(keyword);
}

function takeRcpt(
  taken: Writable<RcptParameters>,
  { keyword, value, allowed }: Given<RcptParameterRules>,
): SmtpReply | undefined {
  if (allowed.dsn && keyword === "NOTIFY") {
    return put(taken, "notify", { keyword, value: readNotify(value) });
  }
  if (allowed.dsn && keyword === "ORCPT") {
    return put(taken, "orcpt", { keyword, value: readOrcpt(value, allowed) });
  }
  return unknownParameter(keyword);
}

/** Stores a value that is valid and new; otherwise returns the reply that rejects it. */
function put<T, Key extends keyof T>(
  taken: T,
  field: Key,
  read: { keyword: string; value: NonNullable<T[Key]> | undefined },
): SmtpReply | undefined {
  if (read.value === undefined) return malformedParameter(read.keyword);
  if (taken[field] !== undefined) {
    return doubleParameter(read.keyword);
  }
  taken[field] = read.value;
  return undefined;
}

/**
 * As {@linkcode put}, but accepts the same value twice: libraries such as
 * Python's smtplib add parameters to those of a program. DSN parameters may not
 * be repeated (RFC 3461 section 5.1).
 */
function putAlike<T, Key extends keyof T>(
  taken: T,
  field: Key,
  read: { keyword: string; value: NonNullable<T[Key]> | undefined },
): SmtpReply | undefined {
  const isAlike = read.value !== undefined && taken[field] === read.value;
  return isAlike ? undefined : put(taken, field, read);
}

/** Stores the largest of several sizes: each is an estimate (RFC 1870 section 6.1). */
function putSize(
  taken: Writable<MailParameters>,
  size: number | undefined,
): SmtpReply | undefined {
  if (size === undefined) return malformedParameter("SIZE");
  taken.size = Math.max(taken.size ?? 0, size);
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
 * Formats the parameters of MAIL for the command, each with a space before it;
 * `""` without parameters.
 *
 * @example
 * ```ts ignore
 * formatMailParameters({ size: 100, body: "8BITMIME" }); // " SIZE=100 BODY=8BITMIME"
 * ```
 */
export function formatMailParameters(parameters: MailParameters): string {
  const { size, body, smtpUtf8, ret, envid, auth } = parameters;
  let text = "";
  if (size !== undefined) text += ` SIZE=${size}`;
  if (body !== undefined) text += ` BODY=${body}`;
  if (smtpUtf8) text += " SMTPUTF8";
  if (ret !== undefined) text += ` RET=${ret}`;
  if (envid !== undefined) text += ` ENVID=${encodeXtext(envid)}`;
  if (auth === "<>") text += " AUTH=<>";
  else if (auth !== undefined) text += ` AUTH=${encodeXtext(auth)}`;
  return text;
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
  const { notify, orcpt } = parameters;
  let text = "";
  if (notify !== undefined) text += ` NOTIFY=${notify.join(",")}`;
  if (orcpt === undefined) return text;
  if (!ADDRESS_TYPE.test(orcpt.type)) {
    const type = JSON.stringify(orcpt.type);
    throw new TypeError(`Cannot print ORCPT of type ${type}: want an atom`);
  }
  const address = orcpt.type.toLowerCase() === "utf-8"
    ? orcpt.address.replace(NOT_PLAIN, embed)
    : encodeXtext(orcpt.address);
  return `${text} ORCPT=${orcpt.type};${address}`;
}

function embed(char: string): string {
  const hex = char.codePointAt(0)!.toString(16).toUpperCase();
  return `\\x{${hex.padStart(2, "0")}}`;
}
