/**
 * DMARC policy records: what a domain asks for, read as the standard says. A fault
 * in a tag is as if the tag were not there; a record without a valid policy counts
 * as "none" if it asks for reports, and else not at all.
 *
 * Never throws. The tags pct, rf and ri of RFC 7489 are without effect.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc9989#section-4.7 | RFC 9989 sections 4.7},
 * {@link https://www.rfc-editor.org/rfc/rfc9989#section-4.8 | 4.8} and
 * {@link https://www.rfc-editor.org/rfc/rfc9989#section-4.10.1 | 4.10.1}
 */

import { trimSpace } from "./tag_list.ts";

/** What a domain asks for mail that fails. */
export type DmarcPolicy = "none" | "quarantine" | "reject";

/** The policies of a record that can be applied. */
export interface DmarcPolicies {
  /** For the domain itself. */
  readonly p: DmarcPolicy;
  /** For domains below it. */
  readonly sp: DmarcPolicy;
  /** For domains below it that do not exist. */
  readonly np: DmarcPolicy;
}

/** A DMARC policy record. */
export interface DmarcRecord {
  /** The record as published. */
  readonly text: string;
  /**
   * The tags by name, in the order in which they stand, values as published;
   * names in lower case. Of a tag that stands there twice, the first.
   */
  readonly tags: ReadonlyMap<string, string>;
  /**
   * The policies in effect, before `t=`; unset if the record has no valid policy
   * and asks for no reports, so that it is not applied.
   */
  readonly policies?: DmarcPolicies | undefined;
  /** Whether a DKIM domain must be the author's domain itself (`adkim=s`). */
  readonly strictDkim: boolean;
  /** Whether the domain of SPF must be the author's domain itself (`aspf=s`). */
  readonly strictSpf: boolean;
  /** Whether the domain only tests its policy (`t=y`): one step less is asked for. */
  readonly testing: boolean;
  /** Whether the domain is a public suffix: `"y"`, `"n"`, or `"u"` for not said. */
  readonly psd: "y" | "n" | "u";
  /** Where aggregate reports go: the valid addresses of `rua=`. */
  readonly rua: readonly string[];
  /** Where failure reports go: the valid addresses of `ruf=`. */
  readonly ruf: readonly string[];
  /** What is wrong with single tags, as sentences without a final period. */
  readonly faults: readonly string[];
}

/** The version, which must come first and be spelt like this. */
const VERSION = /^[vV][ \t]*=[ \t]*DMARC1[ \t]*(?:;|$)/;
const NAME = /^[A-Za-z]+$/;
const POLICIES: readonly string[] = ["none", "quarantine", "reject"];
/** The words that a tag takes; others have values of their own kind. */
const WORDS: Readonly<Record<string, readonly string[]>> = {
  p: POLICIES,
  sp: POLICIES,
  np: POLICIES,
  adkim: ["r", "s"],
  aspf: ["r", "s"],
  t: ["y", "n"],
  psd: ["y", "n", "u"],
};
/** A URI without comma and exclamation mark, which must be encoded. */
const URI =
  /^[a-z][a-z0-9+.-]*:(?:[a-z0-9\-._~:/?#[\]@$&'()*+;=]|%[0-9a-f]{2})+$/i;
/** The limit of a report's size, which is obsolete and without effect. */
const SIZE = /![0-9]+[kmgt]?$/i;

/** Whether a TXT record is a DMARC policy record. */
export function isDmarcRecord(text: string): boolean {
  return VERSION.test(text);
}

/**
 * Reads a record.
 *
 * @param text The record
 * @returns The record, or `undefined` if the text is no DMARC record
 */
export function parseDmarcRecord(text: string): DmarcRecord | undefined {
  if (!isDmarcRecord(text)) return undefined;
  const faults: string[] = [];
  const tags = readTags(text, faults);
  const word = (name: string): string | undefined => {
    const value = tags.get(name)?.toLowerCase();
    return value !== undefined && WORDS[name]!.includes(value)
      ? value
      : undefined;
  };
  for (const [name, words] of Object.entries(WORDS)) {
    if (tags.has(name) && word(name) === undefined) {
      faults.push(`Tag ${name}= must be one of ${words.join(", ")}`);
    }
  }
  const rua = reportAddresses(tags, "rua", faults);
  const ruf = reportAddresses(tags, "ruf", faults);
  return {
    text,
    tags,
    policies: policiesOf(tags, word, rua.length > 0),
    strictDkim: word("adkim") === "s",
    strictSpf: word("aspf") === "s",
    testing: word("t") === "y",
    psd: (word("psd") ?? "u") as DmarcRecord["psd"],
    rua,
    ruf,
    faults,
  };
}

function readTags(text: string, faults: string[]): Map<string, string> {
  const tags = new Map<string, string>();
  for (const part of text.split(";")) {
    if (trimSpace(part) === "") continue;
    const equals = part.indexOf("=");
    const name = trimSpace(equals < 0 ? part : part.slice(0, equals))
      .toLowerCase();
    const value = equals < 0 ? "" : trimSpace(part.slice(equals + 1));
    if (!NAME.test(name)) faults.push("A tag has no valid name");
    else if (value === "") faults.push(`Tag ${name}= has no value`);
    else if (tags.has(name)) faults.push(`Tag ${name}= stands there twice`);
    else tags.set(name, value);
  }
  return tags;
}

function policiesOf(
  tags: ReadonlyMap<string, string>,
  word: (name: string) => string | undefined,
  hasReports: boolean,
): DmarcPolicies | undefined {
  const p = word("p") as DmarcPolicy | undefined;
  const isValid = ["sp", "np"].every((name) =>
    !tags.has(name) || word(name) !== undefined
  );
  if (p === undefined || !isValid) {
    return hasReports ? { p: "none", sp: "none", np: "none" } : undefined;
  }
  const sp = (word("sp") ?? p) as DmarcPolicy;
  return { p, sp, np: (word("np") ?? sp) as DmarcPolicy };
}

function reportAddresses(
  tags: ReadonlyMap<string, string>,
  name: string,
  faults: string[],
): readonly string[] {
  const list = tags.get(name);
  if (list === undefined) return [];
  const addresses: string[] = [];
  for (const part of list.split(",")) {
    const address = trimSpace(part).replace(SIZE, "");
    const isValid = URI.test(address) &&
      (!/^mailto:/i.test(address) || reportDomain(address) !== "");
    if (isValid) addresses.push(address);
    else faults.push(`Tag ${name}= has an address that is no URI`);
  }
  return addresses;
}

/** The domain to which a `mailto:` address sends reports, as written; `""` for another URI. */
export function reportDomain(address: string): string {
  const [, path = ""] = /^mailto:([^?#]*)/i.exec(address) ?? [];
  const at = path.lastIndexOf("@");
  return at <= 0 ? "" : path.slice(at + 1);
}

/** The policy one step below, which a domain that only tests asks for. */
export function testedPolicy(policy: DmarcPolicy): DmarcPolicy {
  return policy === "reject" ? "quarantine" : "none";
}
