/**
 * Reads an SPF record: its terms, and what is wrong with it. Asks nothing and
 * expands no macro.
 *
 * Never throws: a record that breaks the grammar is a value with a reason. Names
 * of mechanisms and modifiers have no case.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc7208#section-12 | RFC 7208 section 12}
 */

import { parseIp } from "../protocol/ip.ts";

/** What a mechanism that matches says of the client. */
export type SpfQualifier = "pass" | "fail" | "softfail" | "neutral";

/** One mechanism of a record. */
export interface SpfMechanism {
  /** The name in lower case. */
  readonly name:
    | "all"
    | "include"
    | "a"
    | "mx"
    | "ptr"
    | "ip4"
    | "ip6"
    | "exists";
  readonly qualifier: SpfQualifier;
  /** The term as it stands in the record. */
  readonly text: string;
  /** The domain with its macros; unset for the domain that is checked. */
  readonly domain?: string | undefined;
  /** The address of `ip4` and `ip6`. */
  readonly address?: readonly number[] | undefined;
  /** Bits that must be equal, for IPv4 and for IPv6 clients. */
  readonly prefix4: number;
  readonly prefix6: number;
}

/** A record that was read. */
export interface SpfRecord {
  readonly mechanisms: readonly SpfMechanism[];
  /** The domain of `redirect=` with its macros. */
  readonly redirect?: string | undefined;
  /** The domain of `exp=` with its macros. */
  readonly explanation?: string | undefined;
  readonly fault?: undefined;
}

/** A record that breaks the grammar. */
export interface SpfFault {
  /** Why, as one sentence without a final period. */
  readonly fault: string;
}

const QUALIFIERS: Readonly<Record<string, SpfQualifier>> = {
  "+": "pass",
  "-": "fail",
  "~": "softfail",
  "?": "neutral",
};
const MECHANISM = /^([+\-~?]?)([a-z][a-z0-9]*)(?:([:/])(.*))?$/i;
const MODIFIER = /^([a-z][a-z0-9\-_.]*)=(.*)$/i;
/** A macro-string: printable text whose percent signs are all macros. */
const MACRO_STRING =
  /^(?:[!-$&-~]|%%|%_|%-|%\{[slodiphcrtv]\d*r?[.\-+,/_=]*\})*$/i;
/** The end of a domain: a top label, or a macro. */
const DOMAIN_END =
  /(?:%\{[slodiphcrtv]\d*r?[.\-+,/_=]*\}|\.(?:[a-z0-9]*[a-z][a-z0-9]*|[a-z0-9]+-[a-z0-9-]*[a-z0-9])\.?)$/i;
/** Macros that only an explanation may have. */
const LATE_MACRO = /%\{[crt]/i;
/** Most characters of a record: more do not fit into an answer of the DNS. */
const MOST_CHARACTERS = 65_535;

/** Whether a text of the DNS is an SPF record. */
export function isSpfRecord(text: string): boolean {
  return /^v=spf1(?: |$)/i.test(text);
}

/** Records that were read: the same ones come again and again. */
const known = new Map<string, SpfRecord | SpfFault>();
/** Most records that are remembered; the oldest goes first. */
const MOST_KNOWN = 500;
/** Longer ones are read again each time. */
const LONGEST_KNOWN = 1000;

/** Reads a record. */
export function parseSpfRecord(text: string): SpfRecord | SpfFault {
  const before = known.get(text);
  if (before !== undefined) return before;
  const record = readRecord(text);
  if (text.length > LONGEST_KNOWN) return record;
  if (known.size >= MOST_KNOWN) known.delete(known.keys().next().value!);
  known.set(text, record);
  return record;
}

function readRecord(text: string): SpfRecord | SpfFault {
  if (text.length > MOST_CHARACTERS) return { fault: "The record is too long" };
  if (!/^[ -~]*$/.test(text)) {
    return { fault: "The record has characters beyond printable ASCII" };
  }
  const mechanisms: SpfMechanism[] = [];
  const modifiers = new Map<string, string>();
  for (const term of text.slice("v=spf1".length).split(" ")) {
    if (term === "") continue;
    const modifier = MODIFIER.exec(term);
    if (modifier !== null) {
      const fault = takeModifier(modifiers, modifier[1]!, modifier[2]!);
      if (fault !== undefined) return { fault };
      continue;
    }
    const mechanism = parseMechanism(term);
    if ("fault" in mechanism) return mechanism;
    mechanisms.push(mechanism);
  }
  return {
    mechanisms,
    redirect: modifiers.get("redirect"),
    explanation: modifiers.get("exp"),
  };
}

/** Takes a modifier; returns what is wrong with it. */
function takeModifier(
  taken: Map<string, string>,
  given: string,
  value: string,
): string | undefined {
  const name = given.toLowerCase();
  if (!MACRO_STRING.test(value)) return `Modifier ${name}= is malformed`;
  if (name !== "redirect" && name !== "exp") return undefined;
  if (taken.has(name)) return `Modifier ${name}= stands there twice`;
  if (!isDomainSpec(value)) return `Modifier ${name}= has no valid domain`;
  taken.set(name, value);
  return undefined;
}

/** Whether a text is a domain with macros, of those that terms may have. */
function isDomainSpec(text: string): boolean {
  return MACRO_STRING.test(text) && DOMAIN_END.test(text) &&
    !LATE_MACRO.test(text) && !/%\{[a-z]0+(?:\D|$)/i.test(text);
}

function parseMechanism(term: string): SpfMechanism | SpfFault {
  const match = MECHANISM.exec(term);
  const fault = { fault: `Term "${term.slice(0, 60)}" is malformed` };
  if (match === null) return fault;
  const name = match[2]!.toLowerCase();
  const qualifier = QUALIFIERS[match[1] || "+"]!;
  const value = match[4];
  const common = { qualifier, text: term, prefix4: 32, prefix6: 128 };
  const isPlain = match[3] === undefined;
  switch (name) {
    case "all":
      return isPlain ? { name, ...common } : fault;
    case "include":
    case "exists":
      return match[3] === ":" && isDomainSpec(value!)
        ? { name, domain: value, ...common }
        : fault;
    case "ptr":
      if (isPlain) return { name, ...common };
      return match[3] === ":" && isDomainSpec(value!)
        ? { name, domain: value, ...common }
        : fault;
    case "a":
    case "mx":
      return parseHosts(name, common, isPlain ? "" : match[3]! + value!) ??
        fault;
    case "ip4":
    case "ip6":
      return match[3] === ":"
        ? parseNetwork(name, common, value!) ?? fault
        : fault;
    default:
      return { fault: `There is no mechanism "${name.slice(0, 60)}"` };
  }
}

type Common = Pick<SpfMechanism, "qualifier" | "text" | "prefix4" | "prefix6">;

/** `a` and `mx`: a domain, and the lengths of prefixes. */
function parseHosts(
  name: "a" | "mx",
  common: Common,
  rest: string,
): SpfMechanism | undefined {
  const cidr = /(?:\/(\d+))?(?:\/\/(\d+))?$/.exec(rest)!;
  const prefix4 = prefixOf(cidr[1], 32);
  const prefix6 = prefixOf(cidr[2], 128);
  const named = rest.slice(0, cidr.index);
  if (prefix4 === undefined || prefix6 === undefined) return undefined;
  if (named === "") return { name, ...common, prefix4, prefix6 };
  const domain = named.slice(1);
  return named[0] === ":" && isDomainSpec(domain)
    ? { name, domain, ...common, prefix4, prefix6 }
    : undefined;
}

function parseNetwork(
  name: "ip4" | "ip6",
  common: Common,
  value: string,
): SpfMechanism | undefined {
  const [text, length, ...more] = value.split("/");
  const address = parseIp(text!);
  const most = name === "ip4" ? 32 : 128;
  if (more.length > 0 || address?.length !== most / 8) return undefined;
  if (length === "") return undefined;
  const prefix = prefixOf(length, most);
  if (prefix === undefined) return undefined;
  return name === "ip4"
    ? { name, address, ...common, prefix4: prefix }
    : { name, address, ...common, prefix6: prefix };
}

/** The length of a prefix; `most` where none is given, `undefined` if it is malformed. */
function prefixOf(text: string | undefined, most: number): number | undefined {
  if (text === undefined) return most;
  if (!/^(?:0|[1-9]\d{0,2})$/.test(text)) return undefined;
  const length = Number(text);
  return length <= most ? length : undefined;
}
