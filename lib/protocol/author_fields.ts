/**
 * Reads From and Sender of a header strictly, to decide which mailbox is
 * responsible for a message. What two readers could take for two different
 * mailboxes is an error here: two From fields, a group, a source route, a comment
 * or blank within an address, an address without brackets beside another text, the
 * beginning of an encoded word in an address: some readers decode it there.
 * Display names may have any text, because no reader takes them for an address.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5322#section-3.6.2 | RFC 5322 sections 3.6.2} and
 * {@link https://www.rfc-editor.org/rfc/rfc5322#section-3.4 | 3.4}
 */

import { Address, parsePath } from "./address.ts";
import type { MessageHeaders } from "./headers.ts";

/**
 * The mailbox that is responsible for a message: that of Sender, or without
 * Sender the only one of From. `undefined` if the header does not name one beyond
 * doubt: a field that is missing, occurs twice or cannot be read, several authors
 * without a Sender, or several senders.
 */
export function responsibleMailbox(
  headers: MessageHeaders,
): Address | undefined {
  const from = headers.getAll("From");
  const sender = headers.getAll("Sender");
  if (from.length !== 1 || sender.length > 1) return undefined;
  const authors = parseMailboxes(from[0]!);
  if (authors === undefined) return undefined;
  const responsible = sender.length === 0
    ? authors
    : parseMailboxes(sender[0]!);
  return responsible?.length === 1 ? responsible[0] : undefined;
}

/**
 * The addresses of a list of mailboxes, at least one; `undefined` if the text is
 * anything else.
 *
 * @param text The value of a field, unfolded
 *
 * @example
 * ```ts ignore
 * parseMailboxes('"Ann, of Sales" <ann@example.com>, bob@example.com');
 * ```
 */
export function parseMailboxes(text: string): readonly Address[] | undefined {
  if (CONTROL.test(text)) return undefined;
  const addresses: Address[] = [];
  const scan = new MailboxScanner(text);
  for (;;) {
    const address = scan.mailbox();
    if (address === undefined) return undefined;
    addresses.push(address);
    if (scan.isAtEnd) return addresses;
    if (!scan.comma()) return undefined;
  }
}

/** All control characters but the tab. */
const CONTROL = /(?!\t)\p{Cc}/u;
/** Blanks, the only white space of an unfolded field. */
const BLANKS = /[ \t]*/y;
/** A word of a display name, or the local part of an address. Dots are obsolete in names, and common. */
const ATOM = /[^\s()<>[\]:;@\\,"]+/uy;
const QUOTED = /"(?:[^"\\]|\\.)*"/uy;
/** A domain, up to a character that no domain has. */
const DOMAIN = /@[^\s,()<>"]+/uy;

/** One pass over a list of mailboxes. */
class MailboxScanner {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  get isAtEnd(): boolean {
    return this.#at === this.#text.length;
  }

  comma(): boolean {
    if (this.#text[this.#at] !== ",") return false;
    this.#at++;
    return true;
  }

  /** Reads a mailbox and the blanks and comments around it; `undefined` after an error. */
  mailbox(): Address | undefined {
    if (!this.#blanks()) return undefined;
    const start = this.#at;
    let words = 0;
    let wordEnd = start;
    while (this.#match(QUOTED) || this.#match(ATOM)) {
      words++;
      wordEnd = this.#at;
      if (!this.#blanks()) return undefined;
    }
    const next = this.#text[this.#at];
    const address = next === "<"
      ? this.#bracketed()
      : next === "@" && words === 1 && this.#at === wordEnd
      ? this.#bare(start)
      : undefined;
    if (address === undefined || address.localPart.includes("=?")) return;
    return this.#blanks() ? address : undefined;
  }

  #bracketed(): Address | undefined {
    // A source route: readers disagree on the mailbox of such a text.
    if (/[\s@]/.test(this.#text[this.#at + 1] ?? "@")) return undefined;
    const path = parsePath(this.#text, this.#at, {
      kind: "reverse",
      utf8: true,
    });
    if ("error" in path || path.address.isNull) return undefined;
    this.#at = path.end;
    return path.address;
  }

  #bare(start: number): Address | undefined {
    if (!this.#match(DOMAIN)) return undefined;
    try {
      return Address.parse(this.#text.slice(start, this.#at));
    } catch {
      return undefined;
    }
  }

  /** Skips blanks and comments; `false` if a comment has no end. */
  #blanks(): boolean {
    let depth = 0;
    for (;;) {
      if (depth === 0) this.#match(BLANKS);
      const character = this.#text[this.#at];
      if (character === "(") depth++;
      else if (depth === 0) return true;
      else if (character === undefined) return false;
      else if (character === ")") depth--;
      else if (character === "\\") this.#at++;
      this.#at++;
    }
  }

  #match(form: RegExp): boolean {
    form.lastIndex = this.#at;
    const found = form.exec(this.#text);
    if (found === null) return false;
    this.#at += found[0].length;
    return true;
  }
}
