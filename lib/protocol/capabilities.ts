/**
 * The extensions that the server offers: switches them on and off by keyword,
 * and makes the EHLO reply. The state machine asks this class whether a verb or
 * parameter is on, so nothing works that is not offered. Holds the caches of
 * parsed commands as well, because what is offered decides how they are parsed.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.1.1.1 | RFC 5321 section 4.1.1.1}
 */

import type { MailParameterRules } from "./parameters.ts";
import { RecentAddresses, RecentLines } from "./parse_cache.ts";
import { SmtpReply } from "./reply.ts";
import { MAX_HOLD } from "./timing.ts";
import { XCLIENT_ATTRIBUTES } from "./xclient.ts";

/** The extensions that can be switched off, by EHLO keyword. */
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
  | "FUTURERELEASE"
  | "DELIVERBY"
  | "REQUIRETLS"
  | "HELP";

/** What the lines of the EHLO reply are made of. */
interface LineFacts extends CapabilityInit, ConnectionOffer {}

/**
 * The line of each extension in the EHLO reply, in order; `undefined` for HELP,
 * whose line comes last. A line that is `undefined` is not offered to this
 * client.
 */
const LINES: Readonly<
  Record<
    ExtensionKeyword,
    ((offer: LineFacts) => string | undefined) | undefined
  >
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
  FUTURERELEASE: ({ latestRelease }) =>
    latestRelease && `FUTURERELEASE ${MAX_HOLD} ${latestRelease}`,
  DELIVERBY: () => "DELIVERBY",
  REQUIRETLS: ({ tls }) => tls ? "REQUIRETLS" : undefined,
  HELP: undefined,
};

/** All extension keywords, in the order of the EHLO reply. */
export const EXTENSION_KEYWORDS: readonly ExtensionKeyword[] = Object.keys(
  LINES,
) as ExtensionKeyword[];

/** The part of the offer that is the same for all connections of a listener. */
export interface CapabilityInit {
  /** The name of this server. */
  readonly hostname: string;
  /** Largest message, in bytes (`maxSize`); 0 for no limit. */
  readonly maxSize: number;
  /** Most recipients of a message (`maxRecipients`). */
  readonly maxRecipients: number;
  /** Extensions that are switched off. */
  readonly disabled?: readonly ExtensionKeyword[];
  /** Whether a handler answers EXPN. */
  readonly expand?: boolean;
  /** Whether there is a queue that can hold messages; without it FUTURERELEASE is off. */
  readonly canHold?: boolean;
}

/** The part of the offer that depends on the connection. */
export interface ConnectionOffer {
  /** Whether STARTTLS is offered now. */
  readonly startTls: boolean;
  /** The SASL mechanisms offered now; if the list is empty, AUTH is not offered. */
  readonly mechanisms: readonly string[];
  /** Whether the client may send XCLIENT. */
  readonly xclient?: boolean;
  /** Whether the connection is encrypted. */
  readonly tls?: boolean;
  /** The latest time of release, if the client may have messages held. */
  readonly latestRelease?: string | undefined;
}

/** The client that sends MAIL. */
export interface MailClient {
  /** Whether the connection is encrypted. */
  readonly tls: boolean;
  /** Whether the client may have messages held. */
  readonly mayHold: boolean;
}

/** The extensions that one listener offers. */
export class Capabilities {
  /** The parameters that MAIL may have, by what the client may. */
  readonly #mailRules: readonly MailParameterRules[];
  /** Recent commands, by line. */
  readonly commands: RecentLines = new RecentLines();
  /** Recent senders, by the argument of MAIL. */
  readonly senders: RecentAddresses = new RecentAddresses();
  /** Recent recipients, by the argument of RCPT. */
  readonly recipients: RecentAddresses = new RecentAddresses();
  /** The reply to HELO, which lists no extensions. */
  readonly plainHelloReply: SmtpReply;
  readonly #init: CapabilityInit;
  readonly #on: ReadonlySet<ExtensionKeyword>;
  readonly #replies = new Map<string, SmtpReply>();

  /** @param auth Whether this listener ever offers AUTH */
  constructor(init: CapabilityInit, auth: boolean) {
    this.#init = init;
    this.plainHelloReply = new SmtpReply(250, init.hostname);
    const on = new Set(EXTENSION_KEYWORDS);
    for (const keyword of init.disabled ?? []) on.delete(keyword);
    // BINARYMIME needs BDAT (RFC 3030 section 3).
    if (!on.has("CHUNKING")) on.delete("BINARYMIME");
    if (init.canHold !== true) on.delete("FUTURERELEASE");
    this.#on = on;
    const common = {
      size: on.has("SIZE"),
      eightBitMime: on.has("8BITMIME"),
      binaryMime: on.has("BINARYMIME"),
      smtpUtf8: on.has("SMTPUTF8"),
      dsn: on.has("DSN"),
      auth,
      deliverBy: on.has("DELIVERBY"),
    };
    this.#mailRules = [0, 1, 2, 3].map((bits) => ({
      ...common,
      requireTls: (bits & 1) > 0 && on.has("REQUIRETLS"),
      futureRelease: (bits & 2) > 0 && on.has("FUTURERELEASE"),
    }));
  }

  /** The parameters that MAIL of a client may have. AUTH= is known on every listener that may offer AUTH. */
  mailRules({ tls, mayHold }: MailClient): MailParameterRules {
    return this.#mailRules[(tls ? 1 : 0) + (mayHold ? 2 : 0)]!;
  }

  /** Whether the extension is on. */
  has(keyword: ExtensionKeyword): boolean {
    return this.#on.has(keyword);
  }

  /** The reply to EHLO or LHLO. Cached for each {@linkcode ConnectionOffer} without a time. */
  helloReply(offer: ConnectionOffer): SmtpReply {
    if (offer.latestRelease !== undefined && this.has("FUTURERELEASE")) {
      return new SmtpReply(250, this.#lines(offer));
    }
    const { startTls, xclient, mechanisms, tls } = offer;
    const key = `${startTls} ${xclient} ${tls} ${mechanisms}`;
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
    const facts = { ...this.#init, ...offer };
    for (const keyword of this.#on) {
      const line = LINES[keyword]?.(facts);
      if (line !== undefined) lines.push(line);
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
