/**
 * The domain of the author of a message: the one in From, for DMARC. A message for
 * which two readers could see two domains has none, and a reason for it.
 *
 * From is read strictly first. A text that breaks the grammar has a domain only if
 * every text after an `@` in it, and every address that a lenient reader finds, is
 * of the same one: a fault of form must not be a way around a policy. Never throws.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc9989#section-5.3.1 | RFC 9989 section 5.3.1},
 * {@link https://www.rfc-editor.org/rfc/rfc5322#section-3.6.2 | RFC 5322 section 3.6.2},
 * {@link https://www.rfc-editor.org/rfc/rfc6854 | RFC 6854} (groups)
 */

import { parseMailboxes } from "../protocol/author_fields.ts";
import { isAscii } from "../protocol/bytes.ts";
import { asciiDomain } from "../protocol/domain.ts";
import { decodeWords, parseAddressList } from "../protocol/header_decoding.ts";
import { latin1Bytes, type RawField, valueOf } from "./canonical_header.ts";

/** The domain of the author, or why the message has no such domain. */
export type AuthorDomain = {
  /** The domain, with A-labels and in lower case. */
  readonly domain: string;
  /** Unset: there is a domain. */
  readonly reason?: undefined;
} | {
  /** Unset: there is no domain. */
  readonly domain?: undefined;
  /** Why the message has no author's domain, as one sentence without a final period. */
  readonly reason: string;
};

/** A From inside another field, for readers that end a line at a bare CR or LF. */
const HIDDEN_FROM = /[\r\n]from[ \t]*:/i;
/** Control characters that no field may have, once it is unfolded. */
// deno-lint-ignore no-control-regex
const CONTROL = /[\0-\x08\x0a-\x1f\x7f]/;
/** What stands behind an `@`, over blanks and comments; an address literal may lack its end. */
const AFTER_AT = /@(?:[ \t]|\([^()]*\))*(\[[^\]]*\]?|[^\s@,;:<>()"\\[\]]+)?/g;
/** Longest name, in bytes (RFC 1035 section 2.3.4). */
const MAX_NAME = 253;
const NAME =
  /^(?=.*[^\d.][^.]*$)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*$/;

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/**
 * The one domain of From.
 *
 * @param fields The header from top to bottom, as it came
 */
export function authorDomain(fields: readonly RawField[]): AuthorDomain {
  const from = fields.filter(({ name }) => name === "from");
  if (from.length === 0) return { reason: "The message has no From" };
  if (from.length > 1) return { reason: "The message has From more than once" };
  if (fields.some(({ text }) => HIDDEN_FROM.test(text))) {
    return { reason: "A line end that is no CRLF hides another From" };
  }
  const value = valueOf(from[0]!).replace(/\r\n(?=[ \t])/g, "");
  if (CONTROL.test(value)) return { reason: "From has a control character" };
  const text = isAscii(value) ? value : decoder.decode(latin1Bytes(value));
  const strict = parseMailboxes(text);
  return onlyDomain(
    strict === undefined
      ? domainsIn(text)
      : new Set(strict.map(({ domain }) => domain)),
  );
}

/** The domains that any reader could find in a text, as written. */
function domainsIn(text: string): ReadonlySet<string> {
  const domains = new Set<string>();
  const readings = text.includes("=?") ? [text, decodeWords(text)] : [text];
  for (const reading of readings) {
    for (const [, domain = ""] of reading.matchAll(AFTER_AT)) {
      domains.add(domain);
    }
    for (const { address } of parseAddressList(reading)) {
      const at = address.lastIndexOf("@");
      // An address in a name without its closing quote has more behind it.
      if (at >= 0) {
        domains.add(/^[^<>()",;\\\s]*/.exec(address.slice(at + 1))![0]);
      }
    }
  }
  return domains;
}

/** The domain, if all of them are spellings of one. */
function onlyDomain(written: ReadonlySet<string>): AuthorDomain {
  let only: string | undefined;
  for (const one of written) {
    if (one.startsWith("[")) {
      return { reason: "From has an IP address in place of a domain" };
    }
    const domain = mailDomain(one);
    if (domain === undefined) return { reason: "From has no valid domain" };
    if (only !== undefined && only !== domain) {
      return { reason: "From names several domains" };
    }
    only = domain;
  }
  return only === undefined
    ? { reason: "From has no address" }
    : { domain: only };
}

/**
 * A domain in the form for comparisons and questions: A-labels, lower case, no
 * final dot. `undefined` if the text is no name of a domain.
 *
 * @param text A domain as written: `""`, an address literal or rubbish included
 */
export function mailDomain(text: string): string | undefined {
  // U-labels can be longer than their A-labels, but not by much.
  if (text.length > 4 * MAX_NAME) return undefined;
  const name = asciiDomain(text);
  return name.length <= MAX_NAME && NAME.test(name) ? name : undefined;
}
