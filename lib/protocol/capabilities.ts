/**
 * What the server offers: the extensions, switched on and off by keyword, and
 * the EHLO reply that lists them. The rest of the machine asks here whether a
 * verb or parameter is on, so that nothing works that is not offered.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.1.1.1 | RFC 5321 section 4.1.1.1}
 */

import type { MailParameterRules } from "./parameters.ts";
import { RecentAddresses, RecentLines } from "./parse_cache.ts";
import { SmtpReply } from "./reply.ts";
import { XCLIENT_ATTRIBUTES } from "./xclient.ts";

/** The extensions that can be switched off, by their EHLO keyword. */
export type ExtensionKeyword =
  | "PIPELINING"
  | "SIZE"
  | "8BITMIME"
  | "BINARYMIME"
  | "CHUNKING"
  | "SMTPUTF8"
  | "ENHANCEDSTATUSCODES"
  | "DSN"
  | "LIMITS"
  | "HELP";

/** How each is listed in the EHLO reply, in this order; `undefined` for HELP, which comes last. */
const LINES: Readonly<
  Record<ExtensionKeyword, ((offer: CapabilityInit) => string) | undefined>
> = {
  PIPELINING: () => "PIPELINING",
  SIZE: ({ maxSize }) => `SIZE ${maxSize}`,
  "8BITMIME": () => "8BITMIME",
  BINARYMIME: () => "BINARYMIME",
  CHUNKING: () => "CHUNKING",
  SMTPUTF8: () => "SMTPUTF8",
  ENHANCEDSTATUSCODES: () => "ENHANCEDSTATUSCODES",
  DSN: () => "DSN",
  LIMITS: ({ maxRecipients }) => `LIMITS RCPTMAX=${maxRecipients}`,
  HELP: undefined,
};

/** All of them, in the order of the EHLO reply. */
export const EXTENSION_KEYWORDS: readonly ExtensionKeyword[] = Object.keys(
  LINES,
) as ExtensionKeyword[];

/** What is on offer, apart from what the connection decides. */
export interface CapabilityInit {
  /** The server's own name. */
  readonly hostname: string;
  /** Largest message, in bytes; 0 for no limit. */
  readonly maxSize: number;
  /** Most recipients of a message. */
  readonly maxRecipients: number;
  /** Extensions that are off. */
  readonly disabled?: readonly ExtensionKeyword[];
  /** Whether somebody answers EXPN. */
  readonly expand?: boolean;
}

/** What of the offer depends on the connection. */
export interface ConnectionOffer {
  /** Whether STARTTLS is offered now. */
  readonly startTls: boolean;
  /** The SASL mechanisms offered now, none for no AUTH. */
  readonly mechanisms: readonly string[];
  /** Whether the client may send XCLIENT. */
  readonly xclient?: boolean;
}

/** The offer of one listener. */
export class Capabilities {
  /** The parameters that MAIL may have. AUTH is known wherever AUTH may be offered. */
  readonly mailRules: MailParameterRules;
  /** The commands seen lately. */
  readonly commands: RecentLines = new RecentLines();
  /** The senders seen lately, by the argument of MAIL. */
  readonly senders: RecentAddresses = new RecentAddresses();
  /** The recipients seen lately, by the argument of RCPT. */
  readonly recipients: RecentAddresses = new RecentAddresses();
  /** The reply to HELO, which knows no extensions. */
  readonly plainHelloReply: SmtpReply;
  readonly #init: CapabilityInit;
  readonly #on: ReadonlySet<ExtensionKeyword>;
  readonly #replies = new Map<string, SmtpReply>();

  /** @param auth Whether AUTH is ever offered on this listener */
  constructor(init: CapabilityInit, auth: boolean) {
    this.#init = init;
    this.plainHelloReply = new SmtpReply(250, init.hostname);
    const on = new Set(EXTENSION_KEYWORDS);
    for (const keyword of init.disabled ?? []) on.delete(keyword);
    // A binary body has no other way in than BDAT (RFC 3030 section 3).
    if (!on.has("CHUNKING")) on.delete("BINARYMIME");
    this.#on = on;
    this.mailRules = {
      size: on.has("SIZE"),
      eightBitMime: on.has("8BITMIME"),
      binaryMime: on.has("BINARYMIME"),
      smtpUtf8: on.has("SMTPUTF8"),
      dsn: on.has("DSN"),
      auth,
    };
  }

  /** Whether the extension is on. */
  has(keyword: ExtensionKeyword): boolean {
    return this.#on.has(keyword);
  }

  /** The reply to EHLO or LHLO. Made once for each state of the connection. */
  helloReply(offer: ConnectionOffer): SmtpReply {
    const key = `${offer.startTls} ${offer.xclient} ${offer.mechanisms}`;
    let reply = this.#replies.get(key);
    if (reply === undefined) {
      reply = new SmtpReply(250, this.#lines(offer));
      this.#replies.set(key, reply);
    }
    return reply;
  }

  #lines(offer: ConnectionOffer): string[] {
    const { hostname, expand } = this.#init;
    const lines = [hostname];
    for (const keyword of this.#on) {
      const line = LINES[keyword];
      if (line !== undefined) lines.push(line(this.#init));
    }
    if (expand) lines.push("EXPN");
    if (offer.startTls) lines.push("STARTTLS");
    if (offer.mechanisms.length > 0) {
      lines.push(`AUTH ${offer.mechanisms.join(" ")}`);
    }
    if (offer.xclient) lines.push(`XCLIENT ${XCLIENT_ATTRIBUTES}`);
    if (this.#on.has("HELP")) lines.push("HELP");
    return lines;
  }
}
