/**
 * Makes the name of a mailbox from its address: one path component that is safe
 * on every file system and readable for ordinary addresses. Two addresses share
 * a name only if they mean the same mailbox.
 *
 * Never lets an address choose a path: the name has no separator, is neither `.`
 * nor `..`, and begins with neither a dot nor a hyphen.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.1.2 | RFC 5321 section 4.1.2},
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-2.4 | RFC 5321 section 2.4}
 */

import { createHash } from "node:crypto";
import { type Address, unquoted } from "../protocol/address.ts";
import { asciiDomain, lowerAscii } from "../protocol/domain.ts";

/** Most bytes of a name: 255 is the usual limit, and locks and suffixes need room. */
const MAX_NAME = 200;
/** Hexadecimal digits of the digest at the end of a name that was cut. */
const DIGEST_DIGITS = 32;
const UNSAFE = /[^A-Za-z0-9._+=@-]/gu;
/** Device names of Windows, with or without an extension. */
const RESERVED = /^(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)/i;
const encoder = new TextEncoder();

/**
 * The name of an address's mailbox as a file or folder: the address itself, with
 * all characters that are not safe percent-encoded.
 *
 * Two addresses share a name only if they differ in nothing but quoting, the
 * spelling of the domain or, without `keepCase`, the case of ASCII letters. The
 * domain has A-labels. Names longer than 200 bytes are cut and end in `~` and a
 * digest of the whole name.
 *
 * @throws {TypeError} If the address is the null sender, which has no mailbox
 * @example The name of a mailbox
 * ```ts
 * import { Address } from "@smtp/server";
 * import { mailboxName } from "@smtp/server/store";
 *
 * console.assert(mailboxName(Address.parse("User@example.com")) === "user@example.com");
 * console.assert(mailboxName(Address.parse('"../x"@example.com')) === "%2E.%2Fx@example.com");
 * ```
 */
export function mailboxName(
  address: Address,
  options: {
    /**
     * Whether the local part keeps its case, so that `User` and `user` are two
     * mailboxes. Not for file systems that ignore case.
     *
     * @default {false}
     */
    readonly keepCase?: boolean | undefined;
  } = {},
): string {
  const local = unquoted(address.localPart);
  const named = options.keepCase === true ? local : lowerAscii(local);
  // An "@" inside a quoted local part must not look like the separator.
  const left = encodeUnsafe(named).replaceAll("@", "%40");
  const domain = asciiDomain(address.domain);
  return finish(domain === "" ? left : `${left}@${encodeUnsafe(domain)}`);
}

/**
 * Any text as one safe path component, by the rules of {@linkcode mailboxName}.
 * Two texts never share a component, except by case on file systems that ignore
 * case.
 *
 * @throws {TypeError} If the text is empty
 * @example A name that tries to leave its folder
 * ```ts ignore
 * safeComponent("../etc/passwd"); // "%2E.%2Fetc%2Fpasswd"
 * ```
 */
export function safeComponent(text: string): string {
  return finish(encodeUnsafe(text));
}

/** Percent-encodes the bytes of all characters that are unsafe in any position. */
function encodeUnsafe(text: string): string {
  // A lone surrogate has no UTF-8 form: all of them would become the replacement
  // character. "%u" has no other source.
  return text.replace(
    UNSAFE,
    (character) =>
      isLoneSurrogate(character)
        ? `%u${character.charCodeAt(0).toString(16)}`
        : percent(character),
  );
}

function isLoneSurrogate(character: string): boolean {
  const unit = character.charCodeAt(0);
  return character.length === 1 && unit >= 0xd800 && unit <= 0xdfff;
}

function percent(character: string): string {
  let encoded = "";
  for (const byte of encoder.encode(character)) {
    encoded += `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return encoded;
}

/** Encodes characters that only their position makes unsafe, and cuts a name that is too long. */
function finish(encoded: string): string {
  if (encoded === "") {
    throw new TypeError("Cannot name a mailbox: want an address, got none");
  }
  let name = encoded;
  if (/^[.-]/.test(name) || RESERVED.test(name)) {
    name = percent(name.slice(0, 1)) + name.slice(1);
  }
  if (name.endsWith(".")) name = `${name.slice(0, -1)}%2E`;
  // "box.lock" is the lock of the mailbox "box".
  if (/\.lock$/i.test(name)) {
    name = `${name.slice(0, -5)}%2E${name.slice(-4)}`;
  }
  return name.length <= MAX_NAME ? name : cut(name);
}

function cut(name: string): string {
  const digest = createHash("sha256").update(name).digest("hex")
    .slice(0, DIGEST_DIGITS);
  const kept = name.slice(0, MAX_NAME - DIGEST_DIGITS - 1)
    .replace(/%[^%]?$/, "");
  return `${kept}~${digest}`;
}
