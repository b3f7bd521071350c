/**
 * The one spelling in which domains are compared: what stands behind the `@`
 * of an address, in an option or in a table is the same domain if this says the
 * same of both. It stands alone because sessions, stores, the queue and the
 * relay all compare domains, and none of them may do so by a rule of its own.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5890#section-2.3.2.1 | RFC 5890 section 2.3.2.1},
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.1.3 | RFC 5321 section 4.1.3}
 */

import { isAscii } from "./bytes.ts";
import { addressLiteral, parseAddressLiteral } from "./ip.ts";

/** Characters that would end or change the host of a URL; no domain has them. */
const NOT_HOST = /[\s/?#@:\\[\]%]/;
/** A last label that makes a URL's host an IPv4 address. */
const NUMBER_LAST = /(?:^|\.)(?:\d+|0x[\da-f]*)\.?$/;
/** Characters that conversion drops; joiners count. */
const IGNORED = /(?![\u200c\u200d])\p{Default_Ignorable_Code_Point}/u;

/**
 * A domain with A-labels in place of U-labels, in lower case, without a final
 * dot; an address literal in its shortest form, in lower case. Text that is no
 * domain comes back with its ASCII letters in lower case: so do look-alikes,
 * such as wide letters, which are a domain of their own. Never throws.
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

/** Whether case and composition alone set the text apart from its U-labels. */
function isSpelling(name: string): boolean {
  return !IGNORED.test(name) &&
    name.normalize("NFKC") === name.normalize("NFC");
}

/** The name with A-labels, `""` where a U-label has none or the last label is a number. */
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
 * A name with A-labels in place of U-labels, in lower case; `""` where it has no
 * such form. Look-alikes become the letters that they look like, and ASCII is
 * not checked: a caller that lets a stranger's text through checks the result.
 *
 * @param name A host name, or any other text
 */
export function aLabels(name: string): string {
  if (isAscii(name)) return name.toLowerCase();
  if (NOT_HOST.test(name)) return "";
  try {
    // The label behind it keeps a URL from reading an IPv4 address.
    return new URL(`http://${name}.a`).hostname.slice(0, -2);
  } catch {
    return "";
  }
}

/** Lower case of ASCII letters; others stay: some of them would become ASCII letters. */
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
 * An address with A-labels in place of U-labels where its local part is ASCII,
 * as it can stand in a field or notice that must be ASCII; else as it is.
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
