/**
 * Senders of forwarded mail, rewritten so that the forwarder's own domain vouches
 * for them, and bounces find their way back (SRS). Stands alone: only forwarding
 * uses it, and it asks nothing.
 *
 * An address of ours is `SRS0=HASH=DAY=DOMAIN=LOCAL@OURS`; of one that another
 * forwarder has rewritten already, `SRS1=HASH=FIRST=…@OURS`, which leads back to the
 * first. The hash is eight letters of HMAC-SHA-256, compared without case, because
 * hosts on the way change it.
 */

import { createHmac } from "node:crypto";
import {
  anyNumber,
  checkOptions,
  list,
  required,
  type Rules,
  secret,
  text,
  where,
} from "../options.ts";
import { Address } from "../protocol/address.ts";
import { asciiDomain } from "../protocol/domain.ts";
import { equalSecrets } from "../sasl/digest.ts";

/** Options of {@linkcode Srs}. */
export interface SrsOptions {
  /** Our domain, which takes bounces for the rewritten senders. */
  readonly domain: string;
  /**
   * The secrets, at least 16 characters or bytes each. The first one makes hashes, all are
   * accepted: to change the secret put the new one first and keep the old one for
   * three weeks.
   */
  readonly secrets: readonly (string | Uint8Array)[];
  /**
   * Number of days for which an address is valid.
   *
   * @default {21}
   */
  readonly validDays?: number | undefined;
}

const SECRET = where(
  "a text, or bytes",
  (value) => typeof value === "string" || value instanceof Uint8Array,
);

const RULES: Rules<SrsOptions> = {
  domain: required(text("a domain")),
  secrets: required(secret(list(SECRET, "an array of secrets"))),
  validDays: anyNumber,
};

const DAY_MS = 86_400_000;
const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/** Letters of a hash: 40 bits. */
const HASH_LENGTH = 8;
/** Days after which the two letters of a day begin again. */
const CYCLE = 1024;
/** Longest local part (RFC 5321 section 4.5.3.1.1), in bytes. */
const LONGEST_LOCAL = 64;
const SRS0 = /^SRS0[=+-]([A-Z2-7]{4,32})=([A-Z2-7]{2})=([^=]+)=(.*)$/is;
const SRS1 = /^SRS1[=+-]([A-Z2-7]{4,32})=([^=]+)=([=+-].+)$/is;
/** Those of other forwarders, which have other hashes. */
const OTHER_SRS0 = /^SRS0([=+-][^=]+=[^=]+=[^=]+=.*)$/is;
const OTHER_SRS1 = /^SRS1[=+-][^=]+=([^=]+)=([=+-].+)$/is;
const ANY_SRS = /^SRS([01])[=+-]/i;

/** What became of an address that bounces come to. */
export type SrsOutcome =
  /** The address to which they go. */
  | { readonly address: string; readonly fault?: undefined }
  /** Why they go nowhere. */
  | { readonly address?: undefined; readonly fault: "forged" | "expired" };

/**
 * Rewrites senders, and finds what they were.
 *
 * @example There and back
 * ```ts
 * import { Srs, type SrsOptions, type SrsOutcome } from "@smtp/server/trust";
 *
 * const options: SrsOptions = {
 *   domain: "forward.example.org",
 *   secrets: ["a secret of some length"],
 * };
 * const srs = new Srs(options);
 * const sender = srs.forward("ann@example.com");
 * console.assert(sender?.endsWith("=example.com=ann@forward.example.org"));
 * const back: SrsOutcome | undefined = srs.reverse(sender!);
 * console.assert(back?.address === "ann@example.com");
 * ```
 */
export class Srs {
  /** Our domain, as A-labels. */
  readonly domain: string;
  readonly #secrets: readonly (string | Uint8Array)[];
  readonly #validDays: number;

  /**
   * Makes one.
   *
   * @param options Our domain, and the secrets
   * @throws {TypeError} If an option is unknown or of the wrong kind
   * @throws {RangeError} If there is no secret, one is too short, or the days are
   * out of range
   */
  constructor(options: SrsOptions) {
    checkOptions("Srs", options, RULES, '{ domain: "example.org", secrets }');
    const { domain, secrets, validDays = 21 } = options;
    if (secrets.length === 0 || secrets.some(({ length }) => length < 16)) {
      throw new RangeError(
        "Cannot rewrite senders with that secret: want at least 16 characters",
      );
    }
    const isWhole = Number.isInteger(validDays) && validDays >= 1 &&
      validDays < CYCLE / 2;
    if (!isWhole) {
      throw new RangeError(
        `Cannot rewrite senders for ${validDays} days: want 1 to ${
          CYCLE / 2 - 1
        }`,
      );
    }
    this.domain = asciiDomain(domain);
    this.#secrets = secrets;
    this.#validDays = validDays;
  }

  /**
   * The sender to forward with: the address itself if it is null or in our
   * domain, `undefined` if the new one would be too long.
   *
   * @param address The sender without brackets
   * @param now The time, in milliseconds since 1970; the time of the call by default
   */
  forward(address: string, now: number = Date.now()): string | undefined {
    const at = address.lastIndexOf("@");
    if (at <= 0) return address;
    const local = address.slice(0, at);
    const domain = asciiDomain(address.slice(at + 1));
    if (domain === this.domain) return address;
    const made = this.#local(local, domain, now);
    // A quoted local part stays quoted as a whole.
    return new TextEncoder().encode(made).length > LONGEST_LOCAL
      ? undefined
      : `${made}@${this.domain}`;
  }

  #local(local: string, domain: string, now: number): string {
    const quoted = /^"(.*)"$/s.exec(local);
    const bare = quoted === null ? local : quoted[1]!;
    const made = this.#rewritten(bare, domain, now);
    // An address literal has brackets, which need quotes, too.
    return quoted === null && !domain.startsWith("[") ? made : `"${made}"`;
  }

  #rewritten(local: string, domain: string, now: number): string {
    const later = OTHER_SRS1.exec(local);
    if (later !== null && restored(`SRS0${later[2]}`, later[1]!)) {
      // It leads back to the first forwarder, not to the one before us.
      const [, host, rest] = later;
      return `SRS1=${this.#hash(`${host}=${rest}`)}=${host}=${rest}`;
    }
    const first = OTHER_SRS0.exec(local);
    if (first !== null) {
      const [, rest] = first;
      return `SRS1=${this.#hash(`${domain}=${rest}`)}=${domain}=${rest}`;
    }
    const day = dayOf(now);
    const hash = this.#hash(`${day}=${domain}=${local}`);
    return `SRS0=${hash}=${day}=${domain}=${local}`;
  }

  /** Whether an address looks like one that was rewritten for our domain. */
  isRewritten(address: string): boolean {
    const at = address.lastIndexOf("@");
    return at > 0 && asciiDomain(address.slice(at + 1)) === this.domain &&
      ANY_SRS.test(address.replace(/^"/, ""));
  }

  /**
   * The address that was rewritten: where a bounce to it goes.
   *
   * @param address The rewritten address
   * @param now The time, in milliseconds since 1970; the time of the call by default
   * @returns `undefined` for another address than one of that kind in our domain
   */
  reverse(address: string, now: number = Date.now()): SrsOutcome | undefined {
    if (!this.isRewritten(address)) return undefined;
    const outcome = this.#reverse(address, now);
    // Mail that came back through another forwarder leads to an address of ours first.
    return outcome.address === undefined
      ? outcome
      : this.reverse(outcome.address, now) ?? outcome;
  }

  #reverse(address: string, now: number): SrsOutcome {
    const local = address.slice(0, address.lastIndexOf("@"));
    const quoted = /^"(.*)"$/s.exec(local);
    const bare = quoted === null ? local : quoted[1]!;
    const first = SRS0.exec(bare);
    if (first !== null) {
      const [, hash, day, domain, text] = first;
      const signed = `${day!.toUpperCase()}=${domain}=${text}`;
      if (!this.#fits(hash!, signed)) return { fault: "forged" };
      // At midnight another host of ours may be ahead by a day.
      const age = (numberOf(dayOf(now)) - numberOf(day!.toUpperCase()) + 1 +
            CYCLE) % CYCLE - 1;
      return age > this.#validDays
        ? { fault: "expired" }
        : outcomeOf(restored(text!, domain!));
    }
    const second = SRS1.exec(bare);
    if (second === null) return { fault: "forged" };
    const [, hash, host, rest] = second;
    return this.#fits(hash!, `${host}=${rest}`)
      ? outcomeOf(restored(`SRS0${rest}`, host!))
      : { fault: "forged" };
  }

  #hash(text: string): string {
    return hashOf(this.#secrets[0]!, text);
  }

  /** Whether a hash is that of one of the secrets. */
  #fits(given: string, text: string): boolean {
    const hash = given.toUpperCase();
    return this.#secrets.some((secret) =>
      equalSecrets(hash, hashOf(secret, text))
    );
  }
}

/** The address of two parts, with quotes only where it needs them; `undefined` for none. */
function restored(local: string, domain: string): string | undefined {
  for (const written of [local, `"${local}"`]) {
    try {
      return new Address(written, domain).toString();
    } catch {
      // Not an address in this spelling.
    }
  }
  return undefined;
}

function outcomeOf(address: string | undefined): SrsOutcome {
  return address === undefined ? { fault: "forged" } : { address };
}

/** The hash of a text without its case. */
function hashOf(secret: string | Uint8Array, text: string): string {
  const digest = createHmac("sha256", secret).update(text.toLowerCase())
    .digest();
  let hash = "";
  // Of each byte five bits: as good as any other forty.
  for (let at = 0; at < HASH_LENGTH; at++) hash += DIGITS[digest[at]! & 31];
  return hash;
}

/** The two letters of a day. */
function dayOf(now: number): string {
  const day = Math.floor(now / DAY_MS) % CYCLE;
  return DIGITS[day >> 5]! + DIGITS[day & 31]!;
}

/** The number of two letters. */
function numberOf(day: string): number {
  return DIGITS.indexOf(day[0]!) * 32 + DIGITS.indexOf(day[1]!);
}
