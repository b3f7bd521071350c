/**
 * Expands the macros of SPF: `%{i}`, `%{d2}`, `%{lr-}` and the like. Stands alone:
 * records and explanations are written in this language.
 *
 * Pure; the one macro that asks the DNS, `%{p}`, gets its value from the caller.
 * The text was checked by the reader of records, or is an explanation, which is
 * dropped where it is malformed.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc7208#section-7 | RFC 7208 section 7}
 */

import { canonicalIp, reverseLabels } from "../protocol/ip.ts";

/** The values of the macros. */
export interface MacroFacts {
  /** The client's address, canonical. */
  readonly ip: string;
  /** The sender, with `postmaster` where it has no local part. */
  readonly sender: string;
  /** The domain that is evaluated, not that of the sender. */
  readonly domain: string;
  readonly helo: string;
  /** The name of this host. */
  readonly receiver: string;
  /** The time, in milliseconds since 1970. */
  readonly now: number;
  /** The validated name of the client's address; `"unknown"` without one. */
  readonly validated: string;
}

const MACRO = /%(?:%|_|-|\{([a-z])(\d*)(r?)([.\-+,/_=]*)\})/gi;
/** Bytes of a name without its final dot, at most. */
const MOST_NAME = 253;

/** Whether a text uses the validated name. */
export function needsValidated(text: string): boolean {
  return /%\{p/i.test(text);
}

/** The text with its macros expanded; `undefined` if one is malformed. */
export function expandMacros(
  text: string,
  facts: MacroFacts,
): string | undefined {
  let isValid = !text.replace(MACRO, "").includes("%");
  const expanded = text.replace(
    MACRO,
    (all, letter: string | undefined, digits, reverse, delimiters) => {
      if (letter === undefined) {
        return all === "%%" ? "%" : all === "%_" ? " " : "%20";
      }
      const value = valueOf(letter.toLowerCase(), facts);
      const count = digits === "" ? Infinity : Number(digits);
      if (value === undefined || count === 0) {
        isValid = false;
        return "";
      }
      const shown = transformed(value, { count, reverse, delimiters });
      return letter < "a" ? escaped(shown) : shown;
    },
  );
  return isValid ? expanded : undefined;
}

/** The name to ask for: a domain expanded and cut from the left to the length of a name. */
export function expandName(text: string, facts: MacroFacts): string {
  let name = (expandMacros(text, facts) ?? "").replace(/\.$/, "");
  while (name.length > MOST_NAME) {
    const dot = name.indexOf(".");
    if (dot < 0) return "";
    name = name.slice(dot + 1);
  }
  return name;
}

function valueOf(letter: string, facts: MacroFacts): string | undefined {
  const { ip, sender, domain, helo, receiver, now, validated } = facts;
  const at = sender.lastIndexOf("@");
  const isV6 = ip.includes(":");
  switch (letter) {
    case "s":
      return sender;
    case "l":
      return sender.slice(0, at);
    case "o":
      return sender.slice(at + 1);
    case "d":
      return domain;
    case "i":
      return isV6 ? nibbles(ip) : ip;
    case "p":
      return validated;
    case "v":
      return isV6 ? "ip6" : "in-addr";
    case "h":
      return helo;
    case "c":
      return canonicalIp(ip) ?? ip;
    case "r":
      return receiver;
    case "t":
      return String(Math.floor(now / 1000));
    default:
      return undefined;
  }
}

/** The 32 digits of an IPv6 address with dots between them, highest first. */
function nibbles(ip: string): string {
  return (reverseLabels(ip) ?? "").toUpperCase().split(".").reverse()
    .join(".");
}

function transformed(
  value: string,
  how: {
    readonly count: number;
    readonly reverse: string;
    readonly delimiters: string;
  },
): string {
  const { count, reverse, delimiters } = how;
  if (count === Infinity && reverse === "" && delimiters === "") return value;
  const ends = delimiters === "" ? "." : delimiters;
  const parts: string[] = [];
  let from = 0;
  for (let at = 0; at <= value.length; at++) {
    if (at < value.length && !ends.includes(value[at]!)) continue;
    parts.push(value.slice(from, at));
    from = at + 1;
  }
  if (reverse !== "") parts.reverse();
  return parts.slice(-Math.min(count, parts.length)).join(".");
}

/** The text as a part of a URL (RFC 3986 section 2.3). */
function escaped(text: string): string {
  let result = "";
  for (const byte of new TextEncoder().encode(text)) {
    const char = String.fromCharCode(byte);
    result += /[A-Za-z0-9\-._~]/.test(char)
      ? char
      : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return result;
}
