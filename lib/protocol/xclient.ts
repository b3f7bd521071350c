/**
 * XCLIENT: the command with which a trusted proxy or filter names the client
 * that it acts for. Parses the argument of the command. Other files decide
 * which clients may send it, and what it changes.
 *
 * Accepts all of a command or nothing: one malformed attribute refuses the
 * command.
 *
 * {@link https://www.postfix.org/XCLIENT_README.html | Postfix XCLIENT Howto}
 */

import { formatIp, parseUnmapped } from "./ip.ts";
import {
  doubleAttribute,
  malformedAttribute,
  replies,
  unknownAttribute,
} from "./replies.ts";
import type { SmtpReply } from "./reply.ts";
import { decodeXtext } from "./xtext.ts";

/** The attributes of an XCLIENT command, as far as given. */
export interface XclientAttributes {
  /**
   * The client's host name; `"[UNAVAILABLE]"` if it has none, `"[TEMPUNAVAIL]"`
   * if the lookup failed temporarily.
   */
  readonly name?: string | undefined;
  /** The client's IP address, or `"[UNAVAILABLE]"`. */
  readonly addr?: string | undefined;
  /** The client's port. */
  readonly port?: number | "[UNAVAILABLE]" | undefined;
  /** The protocol of the client. */
  readonly proto?: "SMTP" | "ESMTP" | undefined;
  /** The client's HELO or EHLO name, or `"[UNAVAILABLE]"`. */
  readonly helo?: string | undefined;
  /** The client's login name, or `"[UNAVAILABLE]"` if it has not logged in. */
  readonly login?: string | undefined;
  /** The IP address that the client connected to, or `"[UNAVAILABLE]"`. */
  readonly destaddr?: string | undefined;
  /** The port that the client connected to. */
  readonly destport?: number | "[UNAVAILABLE]" | undefined;
}

type Name = keyof XclientAttributes;

const UNAVAILABLE = "[UNAVAILABLE]";
const TEMPORARY = "[TEMPUNAVAIL]";
/** Longest value, in characters, both encoded and decoded. */
const MAX_VALUE = 255;
const PAIR = /^([A-Za-z]+)=(.+)$/;
const HOST = /^[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?$/;
const WORD = /^[^\p{C}\p{Z}]+$/u;
const TEXT = /^[^\p{Cc}\p{Zl}\p{Zp}\p{Cs}]+$/u;
const PORT = /^\d{1,5}$/;

/** The reader of each attribute; `undefined` for an invalid value. */
const READERS: {
  readonly [Key in Name]: (value: string) => XclientAttributes[Key];
} = {
  name: (value) =>
    unavailable(value) ?? temporary(value) ?? matching(value, HOST),
  addr: (value) => unavailable(value) ?? addressOf(value),
  port: (value) => unavailable(value) ?? portOf(value),
  proto: (value) => {
    const proto = value.toUpperCase();
    return proto === "SMTP" || proto === "ESMTP" ? proto : undefined;
  },
  helo: (value) => unavailable(value) ?? matching(value, WORD),
  login: (value) => unavailable(value) ?? matching(value, TEXT),
  destaddr: (value) => unavailable(value) ?? addressOf(value),
  destport: (value) => unavailable(value) ?? portOf(value),
};

/** The attributes that EHLO lists after XCLIENT. */
export const XCLIENT_ATTRIBUTES: string = Object.keys(READERS).join(" ")
  .toUpperCase();

/**
 * Parses the argument of XCLIENT; returns a reply if it is malformed.
 *
 * @example
 * ```ts ignore
 * parseXclient("NAME=[UNAVAILABLE] ADDR=IPV6:2001:db8::1");
 * // { name: "[UNAVAILABLE]", addr: "2001:db8::1" }
 * ```
 */
export function parseXclient(argument: string): XclientAttributes | SmtpReply {
  const attributes: { [Key in Name]?: XclientAttributes[Name] } = {};
  for (const pair of argument.split(/[ \t]+/)) {
    const [, word = "", encoded = ""] = PAIR.exec(pair) ?? [];
    if (word === "") return replies.wantXclient;
    const name = word.toLowerCase();
    if (!isName(name)) return unknownAttribute(word);
    const text = encoded.length > MAX_VALUE ? undefined : decodeXtext(encoded);
    const value = text === undefined ? undefined : READERS[name](text);
    if (value === undefined) return malformedAttribute(word);
    if (Object.hasOwn(attributes, name)) return doubleAttribute(word);
    attributes[name] = value;
  }
  return attributes as XclientAttributes;
}

function isName(name: string): name is Name {
  return Object.hasOwn(READERS, name);
}

/** The special value, in any case. */
function unavailable(value: string): "[UNAVAILABLE]" | undefined {
  return value.toUpperCase() === UNAVAILABLE ? UNAVAILABLE : undefined;
}

function temporary(value: string): string | undefined {
  return value.toUpperCase() === TEMPORARY ? TEMPORARY : undefined;
}

function matching(value: string, form: RegExp): string | undefined {
  return value.length <= MAX_VALUE && form.test(value) ? value : undefined;
}

/** Reads IPv4, or IPv6 with its tag; IPv4-mapped IPv6 becomes IPv4. */
function addressOf(value: string): string | undefined {
  const tagged = /^IPV6:/i.test(value);
  const text = tagged ? value.slice(5) : value;
  const bytes = text.includes(":") === tagged ? parseUnmapped(text) : undefined;
  return bytes && formatIp(bytes);
}

function portOf(value: string): number | undefined {
  const port = PORT.test(value) ? Number(value) : Infinity;
  return port <= 65535 ? port : undefined;
}
