/**
 * What a server said it can do: the reply to EHLO or LHLO, taken apart. Owns
 * the reading of extension keywords; what to do with them is decided elsewhere.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.1.1.1 | RFC 5321 section 4.1.1.1}
 */

import type { SmtpReply } from "../reply.ts";

/**
 * The extension keywords of a server and their parameters. Immutable.
 *
 * @example Ask what a server offers
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
  /** What a server offers that only knows HELO: nothing. */
  static readonly NONE: ClientCapabilities = new ClientCapabilities(new Map());
  readonly #keywords: ReadonlyMap<string, readonly string[]>;

  /**
   * Makes a list of what a server offers.
   *
   * @param keywords Upper-case keywords with their parameters as written
   */
  constructor(keywords: ReadonlyMap<string, readonly string[]>) {
    this.#keywords = keywords;
  }

  /** Reads the lines after the first of a reply to EHLO or LHLO. Odd lines are passed over. */
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

  /** Whether the server named the keyword; upper and lower case are the same. */
  has(keyword: string): boolean {
    return this.#keywords.has(keyword.toUpperCase());
  }

  /** What stood after the keyword; empty where nothing did. */
  parameters(keyword: string): readonly string[] {
    return this.#keywords.get(keyword.toUpperCase()) ?? [];
  }

  /**
   * Bytes the server takes in one message (SIZE), `undefined` where it set no
   * limit. {@link https://www.rfc-editor.org/rfc/rfc1870#section-4 | RFC 1870 section 4}
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
      // A limit of 0 says nothing that could be kept to.
      return Math.min(...values.filter((value) => value > 0));
    };
    return {
      mailMax: find("MAILMAX"),
      rcptMax: find("RCPTMAX"),
      rcptDomainMax: find("RCPTDOMAINMAX"),
    };
  }

  /** The same without some keywords: what is not to be used. */
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

/** What a server says of the transactions it takes (RFC 9422); `Infinity` where it says nothing. */
export interface ClientLimits {
  /** Transactions in one session. */
  readonly mailMax: number;
  /** Recipients in one transaction. */
  readonly rcptMax: number;
  /** Different domains among the recipients of one transaction. */
  readonly rcptDomainMax: number;
}

/** The words of a line; `AUTH=PLAIN`, an old way of writing, counts as two. */
function words(line: string): readonly string[] {
  return line.trim().replace(/^AUTH=/i, "AUTH ").split(/[ \t]+/);
}
