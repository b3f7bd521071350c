/**
 * The capabilities of a server: parses the reply to EHLO or LHLO. Reads the
 * extension keywords; other files decide how to use them.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.1.1.1 | RFC 5321 section 4.1.1.1}
 */

import type { SmtpReply } from "../reply.ts";

/**
 * The extension keywords of a server and their parameters. Immutable.
 *
 * @example Read what a server offers
 * ```ts
 * import { SmtpReply } from "@smtp/server";
 * import { ClientCapabilities } from "@smtp/server/client";
 *
 * const reply = new SmtpReply(250, ["mx.example", "SIZE 1000", "AUTH PLAIN"]);
 * const offered = ClientCapabilities.parse(reply);
 * console.assert(offered.has("size") && offered.maxSize === 1000);
 * console.assert(offered.mechanisms.includes("PLAIN"));
 * ```
 */
export class ClientCapabilities {
  /** The capabilities of a server that knows only HELO: none. */
  static readonly NONE: ClientCapabilities = new ClientCapabilities(new Map());
  readonly #keywords: ReadonlyMap<string, readonly string[]>;

  /**
   * Makes a list of capabilities.
   *
   * @param keywords Upper-case keywords with their parameters as written
   */
  constructor(keywords: ReadonlyMap<string, readonly string[]>) {
    this.#keywords = keywords;
  }

  /** Parses a reply to EHLO or LHLO, without its first line. Ignores malformed lines. */
  static parse(reply: SmtpReply): ClientCapabilities {
    const keywords = new Map<string, readonly string[]>();
    for (const line of reply.lines.slice(1)) {
      const [keyword = "", ...parameters] = words(line);
      const name = keyword.toUpperCase();
      if (!/^[A-Z0-9][A-Z0-9-]*$/.test(name)) continue;
      keywords.set(name, [...(keywords.get(name) ?? []), ...parameters]);
    }
    return new ClientCapabilities(keywords);
  }

  /** Whether the server offers the keyword, in any case. */
  has(keyword: string): boolean {
    return this.#keywords.has(keyword.toUpperCase());
  }

  /** The parameters of the keyword; may be empty. */
  parameters(keyword: string): readonly string[] {
    return this.#keywords.get(keyword.toUpperCase()) ?? [];
  }

  /**
   * Largest message that the server accepts, in bytes (SIZE), `undefined` if it
   * gave no limit.
   * {@link https://www.rfc-editor.org/rfc/rfc1870#section-4 | RFC 1870 section 4}
   */
  get maxSize(): number | undefined {
    const [size = ""] = this.parameters("SIZE");
    return /^\d{1,15}$/.test(size) && Number(size) > 0
      ? Number(size)
      : undefined;
  }

  /**
   * The limits of sessions and transactions (LIMITS).
   * {@link https://www.rfc-editor.org/rfc/rfc9422#section-4 | RFC 9422 section 4}
   */
  get limits(): ClientLimits {
    const given = this.parameters("LIMITS");
    const find = (name: string): number => {
      const values = given.flatMap((text) => {
        const match = /^([A-Z0-9-]+)=(\d{1,6})$/i.exec(text);
        return match?.[1]?.toUpperCase() === name ? [Number(match[2])] : [];
      });
      // A limit of 0 could not be kept.
      return Math.min(...values.filter((value) => value > 0));
    };
    return {
      mailMax: find("MAILMAX"),
      rcptMax: find("RCPTMAX"),
      rcptDomainMax: find("RCPTDOMAINMAX"),
    };
  }

  /**
   * Seconds that the server needs to deliver a message in time (DELIVERBY), 0 if
   * it says nothing.
   * {@link https://www.rfc-editor.org/rfc/rfc2852#section-2 | RFC 2852 section 2}
   */
  get leastDeliverBy(): number {
    const [options = ""] = this.parameters("DELIVERBY");
    const [least = ""] = options.split(",");
    return /^\d{1,9}$/.test(least) ? Number(least) : 0;
  }

  /** A copy without some keywords, which are not to be used. */
  without(...keywords: readonly string[]): ClientCapabilities {
    const names = new Set(keywords.map((keyword) => keyword.toUpperCase()));
    return new ClientCapabilities(
      new Map([...this.#keywords].filter(([keyword]) => !names.has(keyword))),
    );
  }

  /** The SASL mechanisms of AUTH, in upper case. */
  get mechanisms(): readonly string[] {
    return this.parameters("AUTH").map((name) => name.toUpperCase());
  }
}

/**
 * The limits of a server on sessions and transactions (RFC 9422); `Infinity`
 * where it gives none.
 */
export interface ClientLimits {
  /** Transactions in one session. */
  readonly mailMax: number;
  /** Recipients in one transaction. */
  readonly rcptMax: number;
  /** Different domains among the recipients of one transaction. */
  readonly rcptDomainMax: number;
}

/** The words of a line; `AUTH=PLAIN`, an old spelling, counts as two. */
function words(line: string): readonly string[] {
  return line.trim().replace(/^AUTH=/i, "AUTH ").split(/[ \t]+/);
}
