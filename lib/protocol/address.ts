/**
 * Addresses: parses the mailbox of a reverse-path or forward-path, from the
 * wire or from a program's text, and prints it again.
 *
 * Never changes the spelling: quotes and case stay, because only the
 * destination host may interpret a local part. Never lets a control character
 * through, so an address can stand in a command, a header field or a log.
 * `address_scanner.ts` has the grammar.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.1.2 | RFC 5321 sections 4.1.2},
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.1.3 | 4.1.3} and
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.5.3.1 | 4.5.3.1},
 * {@link https://www.rfc-editor.org/rfc/rfc6531#section-3.3 | RFC 6531 section 3.3}
 */

import { checkOptions, flag, type Rules } from "../options.ts";
import { AddressScanner, isPostmaster } from "./address_scanner.ts";
import { addressFaults as faults } from "./replies.ts";
import { isBlank, skipBlanks } from "./bytes.ts";
import { asciiDomain, lowerAscii } from "./domain.ts";

/** Bytes of a path, angle brackets and source route included (RFC 5321 4.5.3.1.3). */
const MAX_PATH = 256;

const QUOTE = 0x22;
const OPEN_ROUND = 0x28;
const DOT = 0x2e;
const LESS = 0x3c;
const GREATER = 0x3e;
const AT = 0x40;
const OPEN = 0x5b;

/** Options of {@linkcode Address.parse}. */
type ParseOptions = Parameters<typeof Address.parse>[1] & object;
const RULES: Rules<ParseOptions> = { utf8: flag };
const NO_OPTIONS: ParseOptions = Object.freeze({});

/**
 * A mailbox, the null sender, or the bare `postmaster`. Immutable.
 *
 * @example Split an address into its parts
 * ```ts
 * import { Address } from "@smtp/server";
 *
 * const address = Address.parse('"a b"@Example.COM');
 * console.assert(address.localPart === '"a b"');
 * console.assert(address.domain === "example.com");
 * console.assert(address.toPath() === '<"a b"@Example.COM>');
 * ```
 */
export class Address {
  /** The null reverse-path `<>` of a DSN (RFC 5321 4.5.5). */
  static readonly NULL: Address = new Address("", "");

  /** The local part as written, quotes kept; `""` for the null sender. */
  readonly localPart: string;
  /**
   * The domain, ASCII letters in lower case, or the address literal with its
   * brackets; `""` for the null sender and for the bare `postmaster`.
   */
  readonly domain: string;
  readonly #written: string;

  /**
   * Makes an address from its two parts and checks it.
   *
   * @param localPart The local part, quoted where RFC 5321 requires quotes
   * @param domain The domain or address literal; `""` for the null sender and the bare `postmaster`
   * @throws {AddressSyntaxError} If the two parts do not make an address
   */
  constructor(localPart: string, domain: string) {
    const fault = findFault(localPart, domain);
    if (fault !== undefined) {
      throw syntaxError(
        domain === "" ? localPart : `${localPart}@${domain}`,
        fault,
      );
    }
    this.localPart = localPart;
    this.domain = lowerAscii(domain);
    this.#written = domain;
  }

  /** Whether this is the null sender `<>`. */
  get isNull(): boolean {
    return this.localPart === "";
  }

  /** Whether the domain is an address literal, such as `[192.0.2.1]`. */
  get isLiteral(): boolean {
    return this.domain.charCodeAt(0) === OPEN;
  }

  /**
   * The domain in the form for comparison: A-labels, lower case, address
   * literals in their shortest form (RFC 5890 section 2.3.2.1).
   *
   * @example Both spellings of one domain
   * ```ts
   * import { Address } from "@smtp/server";
   *
   * const address = Address.parse("ann@Bücher.example");
   * console.assert(address.domain === "bücher.example");
   * console.assert(address.asciiDomain === "xn--bcher-kva.example");
   * ```
   */
  get asciiDomain(): string {
    return asciiDomain(this.domain);
  }

  /** Whether the address can be sent without SMTPUTF8. */
  get isAscii(): boolean {
    return isPrintableAscii(this.localPart) && isPrintableAscii(this.#written);
  }

  /** The address as written, without its source route; `""` for the null sender. */
  toString(): string {
    return this.#written === ""
      ? this.localPart
      : `${this.localPart}@${this.#written}`;
  }

  /** The address as {@linkcode Address.toString} returns it, for JSON. */
  toJSON(): string {
    return this.toString();
  }

  /** The path for a command: `<local@domain>`, or `<>` for the null sender. */
  toPath(): string {
    return `<${this.toString()}>`;
  }

  /**
   * Parses an address without angle brackets. `""` is the null sender and
   * `postmaster` may stand alone, so `Address.parse(String(address))` always
   * returns the same address.
   *
   * @throws {AddressSyntaxError} If the text is not an address; the error has the offset
   *
   * @example
   * ```ts
   * import { Address } from "@smtp/server";
   *
   * console.assert(Address.parse("info@example.com").domain === "example.com");
   * console.assert(Address.parse("").isNull);
   * ```
   */
  static parse(
    text: string,
    options: {
      /**
       * Whether characters beyond ASCII may stand in the local part and the
       * domain (RFC 6531).
       *
       * @default {true}
       */
      readonly utf8?: boolean | undefined;
    } = NO_OPTIONS,
  ): Address {
    if (options !== NO_OPTIONS) checkOptions("Address.parse", options, RULES);
    if (text === "") return Address.NULL;
    if (typeof text !== "string") {
      throw new TypeError(
        'Cannot parse an address: want a string, as "ann@example.com"',
      );
    }
    const scan = new AddressScanner(text, 0);
    const split = scan.mailbox(true);
    if (split >= 0) {
      if (scan.at < text.length) scan.fail(faults.notAtEnd);
      else if (scan.byteLength(0) > MAX_PATH - 2) {
        scan.fail(faults.tooLong);
      } else if (options.utf8 === false && scan.wide >= 0) {
        scan.fail(faults.needsUtf8, scan.wide);
      }
    }
    if (scan.error !== "") {
      throw syntaxError(text, { error: scan.error, offset: scan.at });
    }
    return new Address(text.slice(0, split), text.slice(split + 1));
  }
}

/** Options of {@linkcode parsePath}. */
export interface PathOptions {
  /** The kind of path: only MAIL may have `<>`, only RCPT may have `<postmaster>`. */
  readonly kind: "reverse" | "forward";
  /** Whether characters beyond ASCII are allowed: SMTPUTF8 is in force. */
  readonly utf8: boolean;
}

/**
 * The result of {@linkcode parsePath}: the address and the offset after the
 * `>`.
 */
export interface ParsedPath {
  /** The address, without its source route. */
  readonly address: Address;
  /** The offset after the closing `>`, or after an address without brackets. */
  readonly end: number;
}

/** The reason why {@linkcode parsePath} found no path. */
export interface PathFault {
  /** The error text, without any of the peer's text. */
  readonly error: string;
  /** The offset of the error from the beginning of the text. */
  readonly offset: number;
  /** Set when the path is correct with SMTPUTF8: the reply is 553 5.6.7 (RFC 6531 section 3.5). */
  readonly utf8?: true;
}

/**
 * Parses the path that begins at `text[start]`: `<...>`, or an address without
 * brackets up to a space, a tab or the end, as many clients send it. Spaces and
 * tabs may stand inside the brackets at both ends. Never throws. The text is
 * the command line decoded as UTF-8. Rejects U+FFFD: it stands for bytes that
 * were not UTF-8.
 *
 * @example
 * ```ts ignore
 * const path = parsePath("MAIL FROM:<a@b>", 10, { kind: "reverse", utf8: false });
 * // { address: a@b, end: 15 }
 * ```
 */
export function parsePath(
  text: string,
  start: number,
  options: PathOptions,
): ParsedPath | PathFault {
  const forward = options.kind === "forward";
  const scan = new AddressScanner(text, start);
  const bracketed = text.charCodeAt(start) === LESS;
  if (bracketed) scan.at = skipBlanks(text, start + 1);
  const first = scan.at;
  if (bracketed && text.charCodeAt(scan.at) === GREATER) {
    if (forward) return fault(scan, faults.noRecipient);
    return { address: Address.NULL, end: scan.at + 1 };
  }
  const routed = text.charCodeAt(scan.at) === AT;
  if (routed && !scan.sourceRoute()) return fault(scan, scan.error);
  const from = scan.at;
  const split = scan.mailbox(forward && !routed);
  if (split < 0) return fault(scan, whyNoMailbox(scan, from, bracketed));
  const to = scan.at;
  const byteLength = scan.byteLength(first) + 2;
  const end = bracketed ? skipBlanks(text, to) : to;
  const isEnded = bracketed
    ? text.charCodeAt(end) === GREATER
    : end === text.length || isBlank(text.charCodeAt(end));
  if (!isEnded) {
    return fault(scan, whyNotEnded(text.charCodeAt(to), bracketed));
  }
  if (byteLength > MAX_PATH) {
    return fault(scan, faults.pathTooLong);
  }
  if (!options.utf8 && scan.wide >= 0) {
    const error = faults.needsUtf8;
    return { error, offset: scan.wide, utf8: true };
  }
  const address = new Address(
    text.slice(from, split),
    split < to ? text.slice(split + 1, to) : "",
  );
  return { address, end: bracketed ? end + 1 : end };
}

/** The error of a mailbox, chosen by the character at which the scanner stopped. */
function whyNoMailbox(
  { text, at, error }: AddressScanner,
  from: number,
  bracketed: boolean,
): string {
  const code = text.charCodeAt(at);
  if (!bracketed && text.indexOf("<", at) >= 0) {
    return faults.textBefore;
  }
  if (code === OPEN_ROUND) return faults.comment;
  if (code === LESS) return faults.secondLess;
  const isDotEnd = text.charCodeAt(at - 1) === DOT;
  if (isBlank(code) && !isDotEnd && text.charCodeAt(from) !== QUOTE) {
    return faults.blank;
  }
  return code === QUOTE && at > from ? faults.quotesWithin : error;
}

/** The error of a path that continues with `code` after its address. */
function whyNotEnded(code: number, bracketed: boolean): string {
  if (code === AT) return faults.secondAt;
  if (code === GREATER) return faults.noLess;
  if (code === OPEN_ROUND) return faults.comment;
  if (Number.isNaN(code)) return faults.noGreater;
  if (isBlank(code)) return faults.blank;
  return bracketed ? faults.notDomainNoGreater : faults.notDomain;
}

function fault(scan: AddressScanner, error: string): PathFault {
  return { error, offset: scan.at };
}

/** The error in the two parts of an address, if any. */
function findFault(localPart: string, domain: string): PathFault | undefined {
  if (domain === "") {
    if (localPart === "" || isPostmaster(localPart)) return undefined;
    return { error: faults.noAtAndDomain, offset: localPart.length };
  }
  const local = new AddressScanner(localPart, 0);
  if (!local.localPart()) return fault(local, local.error);
  if (local.at < localPart.length) {
    return fault(local, faults.noAtAfterLocal);
  }
  const host = new AddressScanner(domain, 0);
  if (host.domain() && host.at < domain.length) {
    host.fail(faults.notAtEnd);
  }
  if (host.error === "") {
    const byteLength = local.byteLength(0) + 1 + host.byteLength(0);
    if (byteLength <= MAX_PATH - 2) return undefined;
    host.fail(faults.tooLong);
  }
  return { error: host.error, offset: localPart.length + 1 + host.at };
}

function syntaxError(text: string, found: PathFault): AddressSyntaxError {
  const shown = JSON.stringify(
    text.length > 300 ? `${text.slice(0, 300)}...` : text,
  );
  return new AddressSyntaxError(
    `Cannot parse the address ${shown}: ${found.error} at offset ${found.offset}`,
    found.offset,
  );
}

/**
 * The local part that a quoted string stands for: `"a\\"b"` is `a"b`. Other
 * local parts stay as they are.
 */
export function unquoted(localPart: string): string {
  return localPart.length >= 2 && localPart.startsWith('"') &&
      localPart.endsWith('"')
    ? localPart.slice(1, -1).replace(/\\(.)/gsu, "$1")
    : localPart;
}

function isPrintableAscii(text: string): boolean {
  return !/[^ -~]/.test(text);
}

/**
 * Thrown for an address that does not match RFC 5321 section 4.1.2.
 *
 * @example Find the position of an error
 * ```ts
 * import { Address, AddressSyntaxError } from "@smtp/server";
 *
 * try {
 *   Address.parse("a b@example.com");
 * } catch (error) {
 *   console.assert(error instanceof AddressSyntaxError && error.offset === 1);
 * }
 * ```
 */
export class AddressSyntaxError extends SyntaxError {
  /** Offset of the first character that does not fit, from 0. */
  readonly offset: number;
  /** `"AddressSyntaxError"`. */
  override readonly name: string = "AddressSyntaxError";

  /**
   * Makes an error that points into the text.
   *
   * @param offset Offset of the error in the text, from 0
   */
  constructor(message: string, offset: number) {
    super(message);
    this.offset = offset;
  }
}
