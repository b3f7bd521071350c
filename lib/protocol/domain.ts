/**
 * The canonical form of a domain: two domains of an address, an option or a
 * table are the same if their forms are equal. It stands alone because
 * sessions, stores, the queue and the relay all compare domains, and must use
 * the same rule.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5890#section-2.3.2.1 | RFC 5890 section 2.3.2.1},
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.1.3 | RFC 5321 section 4.1.3}
 */

import { isAscii } from "./bytes.ts";
import { addressLiteral, parseAddressLiteral } from "./ip.ts";

/** Characters that would end or change the host of a URL. No domain has them. */
const NOT_HOST = /[\s/?#@:\\[\]%]/;
/** A last label that makes the host of a URL an IPv4 address. */
const NUMBER_LAST = /(?:^|\.)(?:\d+|0x[\da-f]*)\.?$/;
/** Characters that the conversion drops; joiners stay. */
const IGNORED = /(?![\u200c\u200d])\p{Default_Ignorable_Code_Point}/u;

/**
 * Returns a domain with A-labels for U-labels, in lower case, without a final
 * dot, or an address literal in its shortest form, in lower case. Returns text
 * that is not a domain with its ASCII letters in lower case. This includes
 * look-alikes, such as wide letters: they make a different domain. Never
 * throws.
 *
 * @param domain A domain or an address literal, `""` included
 *
 * @example One domain, three spellings
 * ```ts ignore
 * asciiDomain("bücher.example"); // "xn--bcher-kva.example"
 * asciiDomain("BÜCHER.example."); // "xn--bcher-kva.example"
 * asciiDomain("XN--Bcher-KVA.Example"); // "xn--bcher-kva.example"
 * asciiDomain("[IPv6:2001:DB8:0::1]"); // "[ipv6:2001:db8::1]"
 * ```
 */
export function asciiDomain(domain: string): string {
  if (domain.charCodeAt(0) === 0x5b) return literal(domain);
  const name = domain.endsWith(".") ? domain.slice(0, -1) : domain;
  if (isAscii(name)) return name.toLowerCase();
  return (isSpelling(name) && convert(name)) || lowerAscii(name);
}

/** Whether the text differs from its U-labels only by case and composition. */
function isSpelling(name: string): boolean {
  return !IGNORED.test(name) &&
    name.normalize("NFKC") === name.normalize("NFC");
}

/** The name with A-labels; `""` if a U-label has no A-label or the last label is a number. */
function convert(name: string): string {
  const host = aLabels(name);
  if (NUMBER_LAST.test(host)) return "";
  const labels = host.split(".");
  const right = name.split(".").every((label, at) =>
    isAscii(label) || labels[at]?.startsWith("xn--")
  );
  return right ? host : "";
}

/**
 * Returns a name with A-labels for U-labels, in lower case; `""` if it has no
 * such form. Look-alikes become the letters that they resemble, and ASCII is
 * not checked: a caller that passes untrusted text checks the result.
 *
 * @param name A host name, or any other text
 */
export function aLabels(name: string): string {
  if (isAscii(name)) return name.toLowerCase();
  if (NOT_HOST.test(name)) return "";
  try {
    // The extra label keeps the URL parser from reading an IPv4 address.
    return new URL(`http://${name}.a`).hostname.slice(0, -2);
  } catch {
    return "";
  }
}

/**
 * The text with its ASCII letters in lower case. Other letters stay: some of
 * them would become ASCII letters.
 */
export function lowerAscii(text: string): string {
  return isAscii(text)
    ? text.toLowerCase()
    : text.replace(/[A-Z]+/g, (part) => part.toLowerCase());
}

function literal(domain: string): string {
  const ip = parseAddressLiteral(domain);
  const shortest = ip === undefined ? domain : addressLiteral(ip) ?? domain;
  return lowerAscii(shortest);
}

/**
 * Returns an address with A-labels for U-labels if its local part is ASCII, for
 * a field or DSN that must be ASCII; otherwise returns it unchanged.
 *
 * @param address The address without angle brackets
 *
 * @example
 * ```ts ignore
 * asciiMailbox("ann@bücher.example"); // "ann@xn--bcher-kva.example"
 * asciiMailbox("Ann@Example.COM"); // "Ann@Example.COM"
 * ```
 */
export function asciiMailbox(address: string): string {
  if (isAscii(address)) return address;
  const at = address.lastIndexOf("@") + 1;
  const changed = address.slice(0, at) + asciiDomain(address.slice(at));
  return isAscii(changed) ? changed : address;
}
