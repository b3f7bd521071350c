/**
 * Domain names in questions and answers: checked, in lower case, A-labels for
 * U-labels, no final dot.
 *
 * Never passes anything but letters, digits, hyphens, underscores and dots in
 * either direction. A peer's text after an `@` must not reach the resolver. A
 * name that a third party publishes in DNS must not reach a log, a greeting
 * check or a connection. The exception is a question that asks for it
 * (`anyLabel`): macros of SPF make names of the sender's local part.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc1035#section-2.3.4 | RFC 1035 section 2.3.4},
 * {@link https://www.rfc-editor.org/rfc/rfc5890#section-2.3 | RFC 5890 section 2.3},
 * {@link https://www.rfc-editor.org/rfc/rfc8552 | RFC 8552} (labels that start with an underscore)
 */

import { aLabels } from "../protocol/domain.ts";
import { canonicalIp, reverseName } from "../protocol/ip.ts";

/** Bytes of a name without its final dot, at most: the 255 on the wire include a length byte and the root. */
const MAX_NAME = 253;
const LABEL = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;

/**
 * The name to ask for, or `undefined` if the text is not a domain name: it has
 * an empty label, a label of over 63 bytes, over 253 bytes in all, characters
 * other than letters, digits, hyphen and underscore, a hyphen at the end of a
 * label, or a numeric last label, which is a mistyped IP address.
 *
 * @param text A domain name, with or without the final dot, U-labels or A-labels
 *
 * @example The name in a question
 * ```ts ignore
 * console.assert(normalizeName("Bücher.Example.") === "xn--bcher-kva.example");
 * console.assert(normalizeName("two words.example") === undefined);
 * ```
 */
export function normalizeName(text: string): string | undefined {
  // U-labels can be longer than their A-labels, but not by much. Without this
  // check a peer's megabyte would be converted before it is refused.
  if (text.length > 4 * MAX_NAME) return undefined;
  const name = aLabels(text).replace(/\.$/, "");
  if (name === "" || name.length > MAX_NAME) return undefined;
  const labels = name.split(".");
  if (!labels.every((label) => LABEL.test(label))) return undefined;
  return /^\d+$/.test(labels[labels.length - 1]!) ? undefined : name;
}

/** A label of printable ASCII; a space may stand in a local part. */
const ANY_LABEL = /^[ -~]{1,63}$/;

/**
 * The name to ask for where labels may have all printable ASCII, in lower case, or
 * `undefined` if it has an empty label, is too long, or is not ASCII: local parts
 * beyond ASCII are no labels (RFC 8616 section 4).
 *
 * @example The name of a user
 * ```ts ignore
 * console.assert(anyName("Ann+x._spf.example.") === "ann+x._spf.example");
 * ```
 */
export function anyName(text: string): string | undefined {
  const name = text.slice(0, MAX_NAME + 2).replace(/\.$/, "");
  if (name.length > MAX_NAME) return undefined;
  const isName = name.split(".").every((label) => ANY_LABEL.test(label));
  return isName ? name.toLowerCase() : undefined;
}

/**
 * The name whose PTR records to ask for: the reverse name of an address, or a
 * name below `in-addr.arpa` or `ip6.arpa` itself.
 *
 * @param text An IP address or a name below one of the two reverse zones
 * @returns The name, or `undefined` if the text is neither
 *
 * @example An address and its name
 * ```ts ignore
 * console.assert(pointerName("192.0.2.1") === "1.2.0.192.in-addr.arpa");
 * console.assert(pointerName("example.com") === undefined);
 * ```
 */
export function pointerName(text: string): string | undefined {
  if (canonicalIp(text) !== undefined) return reverseName(text);
  const name = normalizeName(text);
  return name !== undefined && /\.(?:in-addr|ip6)\.arpa$/.test(name)
    ? name
    : undefined;
}
