/**
 * Names of mailboxes as an operator writes them: `ann@example.com`, `ann` for
 * that local part in every local domain, `@example.com` for all of a domain; and
 * a map with them. Two names are the same as two mailboxes of a store are: quotes,
 * the case of ASCII letters and the spelling of the domain do not count.
 */

import { type Rule, where } from "../options.ts";
import { Address, unquoted } from "../protocol/address.ts";
import { lowerAscii } from "../protocol/domain.ts";

/** A name, in the form for comparison. */
export interface MailboxName {
  /** The local part without quotes, in lower case; `undefined` for all of a domain. */
  readonly local: string | undefined;
  /** The domain with A-labels; `undefined` for every local domain. */
  readonly domain: string | undefined;
  /** The local part as written. */
  readonly written: string;
}

/** Whether a text can be the character before an extension. */
export function isDelimiter(text: string): boolean {
  return /^[+\-_=#!%*/?&~^$]$/.test(text);
}

/** The rule for the option `recipientDelimiter`. */
export const DELIMITER_RULE: Rule = where(
  'one character before extensions, as "+"',
  (value) => typeof value === "string" && isDelimiter(value),
);

/** A domain that stands for none, in the check of a local part. */
const NO_DOMAIN = "a.example";

/**
 * Reads a name.
 *
 * @throws {AddressSyntaxError} If it has none of the three forms
 */
export function parseMailboxName(text: string): MailboxName {
  const isQuoted = text.endsWith('"');
  if (isQuoted || !text.includes("@")) {
    const { localPart } = new Address(text, NO_DOMAIN);
    return {
      local: localName(localPart),
      domain: undefined,
      written: localPart,
    };
  }
  if (text.startsWith("@")) {
    const { asciiDomain } = new Address("a", text.slice(1));
    return { local: undefined, domain: asciiDomain, written: "" };
  }
  const { localPart, asciiDomain } = Address.parse(text);
  return {
    local: localName(localPart),
    domain: asciiDomain,
    written: localPart,
  };
}

/** A local part in the form for comparison. */
export function localName(localPart: string): string {
  return lowerAscii(unquoted(localPart));
}

/** Values by the names of mailboxes. */
export class NameMap<T> {
  readonly #addresses = new Map<string, T>();
  readonly #locals = new Map<string, T>();
  readonly #domains = new Map<string, T>();

  /** Sets a value; `false` if the name has one. */
  add({ local, domain }: MailboxName, value: T): boolean {
    const [map, key] = local === undefined
      ? [this.#domains, domain!] as const
      : domain === undefined
      ? [this.#locals, local] as const
      : [this.#addresses, `${local}@${domain}`] as const;
    if (map.has(key)) return false;
    map.set(key, value);
    return true;
  }

  /** The value of a mailbox: that of the address, or else that of its local part. */
  find(local: string, domain: string): T | undefined {
    return this.#addresses.get(`${local}@${domain}`) ?? this.#locals.get(local);
  }

  /** The value of all of a domain. */
  ofDomain(domain: string): T | undefined {
    return this.#domains.get(domain);
  }
}

/**
 * The address without its extension: `ann@` for `ann+shop@`. The address itself
 * where it has none.
 *
 * @param delimiter The character before the extension
 */
export function withoutExtension(
  address: Address,
  delimiter: string | undefined,
): Address {
  if (delimiter === undefined || address.domain === "") return address;
  const { localPart } = address;
  const text = unquoted(localPart);
  // An extension without a name is a name.
  const at = text.indexOf(delimiter, 1);
  if (at < 0) return address;
  const cut = text.slice(0, at);
  const written = text === localPart
    ? cut
    : `"${cut.replaceAll(/["\\]/g, "\\$&")}"`;
  const domain = address.toString().slice(localPart.length + 1);
  try {
    return new Address(written, domain);
  } catch {
    // What is left is no local part, as in `a.+b`.
    return address;
  }
}

/**
 * Whether another server may take a local part for an address beyond it, as
 * `a%b.example`. Danger: that server may trust this one, and would relay for everyone.
 */
export function hasRoute({ localPart }: Address): boolean {
  return /[@%!]/.test(localPart);
}
