/**
 * The grammar of addresses: scans local parts, domains, address literals and
 * source routes by character code, once, without backtracking.
 *
 * Never makes a string for an ordinary address, and never throws. Always
 * accepts characters beyond ASCII and records the position of the first: the
 * caller decides whether they are allowed.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.1.2 | RFC 5321 sections 4.1.2},
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.1.3 | 4.1.3} and
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.5.3.1 | 4.5.3.1},
 * {@link https://www.rfc-editor.org/rfc/rfc5890#section-2.3.2.1 | RFC 5890 section 2.3.2.1}
 */

import { skipBlanks } from "./bytes.ts";
import { parseIp } from "./ip.ts";
import { addressFaults as faults } from "./replies.ts";

/** Longest domain or address literal, in bytes (RFC 5321 4.5.3.1.2). */
const MAX_DOMAIN = 255;
/** Longest label, in bytes (RFC 1035 2.3.4). */
const MAX_LABEL = 63;
/** Longest U-label, in characters: its A-label is `xn--` and at least one byte a character. */
const MAX_U_LABEL = 59;

const QUOTE = 0x22;
const COMMA = 0x2c;
const HYPHEN = 0x2d;
const DOT = 0x2e;
const COLON = 0x3a;
const GREATER = 0x3e;
const AT = 0x40;
const OPEN = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE = 0x5d;

const ATEXT = 1;
const LABEL_ASCII = 2;
const DCONTENT = 4;
const CLASSES = classes();
/** Characters that may follow a domain in a path. */
const DOMAIN_ENDS: ReadonlySet<number> = new Set([
  ...[0x09, 0x20, COMMA, COLON, GREATER],
]);

/**
 * Characters beyond ASCII that RFC 5892 allows in a label: letters, marks,
 * digits and the contextual ones.
 */
const LABEL_CHARACTER =
  /^[\p{L}\p{M}\p{Nd}\u00b7\u0375\u05f3\u05f4\u200c\u200d\u30fb]$/u;
const TAG = /^[a-z\d-]*[a-z\d]$/i;

/**
 * One pass over a text. A method either moves `at`, or sets `error` and leaves
 * `at` at the error.
 */
export class AddressScanner {
  /** The text to scan. */
  readonly text: string;
  /** Offset of the next character; after an error, offset of the error. */
  at: number;
  /** The error text, `""` if no error was found. */
  error: string = "";
  /** Offset of the first character beyond ASCII, -1 if all are ASCII. */
  wide: number = -1;
  /** UTF-8 bytes so far, less one for each UTF-16 unit. */
  #extra = 0;

  /** @param at Offset of the first character to scan */
  constructor(text: string, at: number) {
    this.text = text;
    this.at = at;
  }

  /** Records an error. Returns `false`. */
  fail(error: string, at: number = this.at): false {
    this.error = error;
    this.at = at;
    return false;
  }

  /** UTF-8 bytes from `start`, the first offset scanned, to `at`. */
  byteLength(start: number): number {
    return this.at - start + this.#extra;
  }

  /**
   * Scans a mailbox. Returns the offset of its `@`, the end of a bare
   * postmaster, or -1 for an error.
   */
  mailbox(postmaster: boolean): number {
    const start = this.at;
    if (!this.localPart()) return -1;
    const split = this.at;
    if (this.text.charCodeAt(split) !== AT) {
      if (postmaster && isPostmaster(this.text.slice(start, split))) {
        return split;
      }
      this.fail(this.#whyNoAt(start));
      return -1;
    }
    this.at++;
    return this.domain() ? split : -1;
  }

  #whyNoAt(start: number): string {
    const code = this.text.charCodeAt(this.at);
    if (Number.isNaN(code) || code === GREATER) {
      return faults.noDomainAfterLocal;
    }
    return this.text.charCodeAt(start) === QUOTE
      ? faults.noAtAfterLocal
      : faults.notLocal;
  }

  /**
   * Scans `@one,@two:`, which is checked and dropped (RFC 5321 4.1.2, appendix
   * C). Spaces and tabs may follow each route element.
   */
  sourceRoute(): boolean {
    for (;;) {
      if (this.text.charCodeAt(this.at) !== AT) {
        return this.fail(faults.noAtInRoute);
      }
      this.at++;
      if (this.text.charCodeAt(this.at) === OPEN) {
        return this.fail(faults.noDomainInRoute);
      }
      if (!this.domain()) return false;
      const next = this.text.charCodeAt(this.at);
      if (next !== COMMA && next !== COLON) {
        return this.fail(faults.noEndOfDomainInRoute);
      }
      this.at = skipBlanks(this.text, this.at + 1);
      if (next === COLON) return true;
    }
  }

  /**
   * Scans a local part: atoms with dots between them, or a quoted string. Only
   * the limit of the path bounds its length: every server must take 64 bytes,
   * but forwarders and mailing lists make longer ones (RFC 5321 4.5.3.1).
   */
  localPart(): boolean {
    return this.text.charCodeAt(this.at) === QUOTE
      ? this.#quotedString()
      : this.#dotString();
  }

  #dotString(): boolean {
    for (;;) {
      const atom = this.at;
      if (!this.#atom()) return false;
      if (this.at === atom) return this.fail(this.#whyNoAtom());
      if (this.text.charCodeAt(this.at) !== DOT) return true;
      this.at++;
    }
  }

  #whyNoAtom(): string {
    const { text, at } = this;
    const code = text.charCodeAt(at);
    const behindDot = text.charCodeAt(at - 1) === DOT;
    if (code === DOT) {
      return behindDot ? faults.dotsInLocal : faults.dotBeginsLocal;
    }
    if (code !== AT && at < text.length) return faults.notLocal;
    return behindDot ? faults.dotEndsLocal : faults.localEmpty;
  }

  #atom(): boolean {
    const text = this.text;
    for (; this.at < text.length; this.at++) {
      const code = text.charCodeAt(this.at);
      if (code >= 0x80) {
        if (!this.#wideCharacter()) return false;
      } else if (!(CLASSES[code]! & ATEXT)) break;
    }
    return true;
  }

  #quotedString(): boolean {
    const text = this.text;
    for (;;) {
      let code = text.charCodeAt(++this.at);
      if (code === QUOTE) {
        this.at++;
        return true;
      }
      if (code === BACKSLASH) code = text.charCodeAt(++this.at);
      else if (code >= 0x80) {
        if (!this.#wideCharacter()) return false;
        continue;
      }
      if (!(code >= 0x20 && code <= 0x7e)) {
        return this.fail(faults.quoteOpen);
      }
    }
  }

  /** Scans a domain or an address literal. */
  domain(): boolean {
    const start = this.at;
    const extra = this.#extra;
    const literal = this.text.charCodeAt(start) === OPEN;
    if (!(literal ? this.#literal() : this.#labels())) return false;
    return this.at - start + this.#extra - extra <= MAX_DOMAIN ||
      this.fail(faults.domainTooLong);
  }

  #labels(): boolean {
    for (;;) {
      if (!this.#label()) return false;
      if (this.text.charCodeAt(this.at) !== DOT) return true;
      this.at++;
    }
  }

  #label(): boolean {
    const text = this.text;
    const start = this.at;
    let length = 0;
    let ascii = true;
    for (; this.at < text.length; this.at++, length++) {
      const code = text.charCodeAt(this.at);
      if (code >= 0x80) {
        const at = this.at;
        if (!this.#wideCharacter()) return false;
        if (!LABEL_CHARACTER.test(text.slice(at, this.at + 1))) {
          return this.fail(faults.notLetterOrDigit, at);
        }
        ascii = false;
      } else if (!(CLASSES[code]! & LABEL_ASCII)) break;
    }
    if (length === 0) return this.fail(this.#whyNoLabel());
    if (text.charCodeAt(start) === HYPHEN) {
      return this.fail(faults.hyphenBeginsLabel, start);
    }
    if (text.charCodeAt(this.at - 1) === HYPHEN) {
      return this.fail(faults.hyphenEndsLabel, this.at - 1);
    }
    return length <= (ascii ? MAX_LABEL : MAX_U_LABEL) ||
      this.fail(ascii ? faults.labelTooLong : faults.wideLabelTooLong);
  }

  #whyNoLabel(): string {
    const { text, at } = this;
    const code = text.charCodeAt(at);
    const behindDot = text.charCodeAt(at - 1) === DOT;
    if (code === DOT) {
      return behindDot ? faults.dotsInDomain : faults.dotBeginsDomain;
    }
    if (!Number.isNaN(code) && !DOMAIN_ENDS.has(code)) {
      return faults.notDomain;
    }
    return behindDot ? faults.dotEndsDomain : faults.domainEmpty;
  }

  #literal(): boolean {
    const start = ++this.at;
    while (CLASSES[this.text.charCodeAt(this.at)]! & DCONTENT) this.at++;
    if (this.text.charCodeAt(this.at) !== CLOSE) {
      return this.fail(faults.literalOpen);
    }
    const content = this.text.slice(start, this.at);
    if (isIpv6(content)) {
      return this.fail(faults.literalUntagged, start);
    }
    if (!isLiteralContent(content)) {
      return this.fail(faults.literalNotIp, start);
    }
    this.at++;
    return true;
  }

  /**
   * Scans the character beyond ASCII at `at`; the caller steps over its last
   * unit. Rejects C1 controls, unpaired surrogates and U+FFFD (bytes that were
   * not UTF-8): they would not be printed as they were received.
   */
  #wideCharacter(): boolean {
    const code = this.text.codePointAt(this.at)!;
    if (code < 0xa0 || (code >= 0xd800 && code < 0xe000) || code === 0xfffd) {
      return this.fail(faults.notText);
    }
    if (this.wide < 0) this.wide = this.at;
    this.#extra += code < 0x800 ? 1 : 2;
    if (code > 0xffff) this.at++;
    return true;
  }
}

/**
 * Whether the text inside the brackets is an IPv4 address, `IPv6:` and an IPv6
 * address, or `tag:content`.
 */
function isLiteralContent(text: string): boolean {
  const colon = text.indexOf(":");
  if (colon < 0) return isIpv4(text);
  const tag = text.slice(0, colon);
  const content = text.slice(colon + 1);
  if (tag.toLowerCase() === "ipv6") return isIpv6(content);
  return TAG.test(tag) && content !== "";
}

function isIpv4(text: string): boolean {
  return !text.includes(":") && parseIp(text) !== undefined;
}

function isIpv6(text: string): boolean {
  return text.includes(":") && parseIp(text) !== undefined;
}

/** Whether the text is `postmaster`, which needs no domain (RFC 5321 4.5.1). */
export function isPostmaster(text: string): boolean {
  return text.length === 10 && text.toLowerCase() === "postmaster";
}

function classes(): Uint8Array {
  const table = new Uint8Array(128);
  for (let code = 0x21; code < 0x7f; code++) {
    const char = String.fromCharCode(code);
    if (/[a-z\d!#$%&'*+\-/=?^_`{|}~]/i.test(char)) table[code]! |= ATEXT;
    // RFC 5321 has no underscores, but some hosts that send mail have one in
    // their name.
    if (/[a-z\d_-]/i.test(char)) table[code]! |= LABEL_ASCII;
    if (!/[[\\\]]/.test(char)) table[code]! |= DCONTENT;
  }
  return table;
}
