/**
 * The options of forwarding and of keys for DKIM and ARC, and their checks. Stands
 * alone: the options of relaying have them, and what rewrites and seals is loaded
 * only where it is wanted.
 */

import {
  flag,
  has,
  list,
  number,
  object,
  required,
  type Rule,
  type Rules,
  secret,
  where,
  whole,
} from "../options.ts";
import type { DkimKey } from "../trust/dkim_sign.ts";
import type { SrsOptions } from "../trust/srs.ts";

const NAME = /^[\p{L}\p{N}_-]+(?:\.[\p{L}\p{N}_-]+)*\.?$/u;

function named(want: string): Rule {
  return where(
    want,
    (value) =>
      typeof value === "string" && value.length <= 255 && NAME.test(value),
  );
}

const KEY_RULES: Rules<DkimKey> = {
  domain: required(named('a domain, as "example.com"')),
  selector: required(named('a selector, as "s2026a"')),
  key: required(secret(where(
    "a private key in PEM, or a DkimPrivateKey",
    (value) => typeof value === "string" || has(value, ["toPem", "sign"]),
  ))),
  authors: list(named("a domain"), 'an array of domains, as ["example.com"]'),
  headers: list(named("a field"), 'an array of fields, as ["From", "Subject"]'),
  expireAfterMs: number(1000),
};

/** The rule for a key in other options. */
export const KEY_RULE: Rule = object(
  KEY_RULES,
  "{ domain, selector, key }",
);

/** How senders of forwarded mail are rewritten. */
export interface SrsForwarding extends SrsOptions {
  /**
   * Whether mail with a sender may go to a rewritten address. Bounces have none;
   * replies of people do.
   *
   * @default {false} Bounces only
   */
  readonly replies?: boolean | undefined;
}

/**
 * What is done with mail from outside that leaves again: by an alias, or because a
 * handler relays it. Mail of clients that have logged in or are in `relay.from`,
 * mail for the server's own domains, and the program's own mail stay as they are.
 *
 * @example Forward with a sender of one's own domain, and a seal
 * ```ts
 * import { SmtpServer } from "@smtp/server";
 * import type { ForwardingOptions, SrsForwarding } from "@smtp/server/queue";
 * import { DkimPrivateKey } from "@smtp/server/trust";
 *
 * const srs: SrsForwarding = {
 *   domain: "example.org",
 *   secrets: ["a secret of some length"],
 * };
 * const key = await DkimPrivateKey.generate("ed25519");
 * const arc = { domain: "example.org", selector: "s2026a", key };
 * const forwarding: ForwardingOptions = { srs, arc };
 * const server = new SmtpServer({
 *   domains: ["example.org"],
 *   aliases: { "ann@example.org": "ann@example.net" },
 *   verify: true,
 *   relay: { spool: "./spool", forwarding },
 * });
 * console.assert(server.relays.count === 0);
 * ```
 */
export interface ForwardingOptions {
  /**
   * Rewrites a sender in a domain that is not the server's own (SRS), so that SPF
   * passes for `srs.domain`, and takes bounces to such addresses for 21 days. The
   * server must get the mail of `srs.domain`. A sender whose new address would
   * have more than 64 bytes before the `@` stays, and so does one that another host
   * may take for a route, as `a%b.example@example.net`; the log warns of it. A sender
   * that the program has chosen (`from` of `Relays.add`) stays, too. Wants
   * `domains`. Default: senders stay.
   */
  readonly srs?: SrsForwarding | undefined;
  /**
   * The key of the seals (ARC, RFC 8617) that say what this server has found. Wants
   * `verify`; mail that was not checked gets no seal. Default: no seals.
   */
  readonly arc?: DkimKey | undefined;
}

const SECRETS: Rule = where(
  "an array of secrets, each a text or bytes of at least 16",
  (value) =>
    Array.isArray(value) && value.length > 0 &&
    value.every((one) =>
      (typeof one === "string" || one instanceof Uint8Array) && one.length >= 16
    ),
);

const SRS_RULES: Rules<SrsForwarding> = {
  domain: required(named('a domain, as "example.com"')),
  secrets: required(secret(SECRETS)),
  validDays: whole(1, 511),
  replies: flag,
};

const RULES: Rules<ForwardingOptions> = {
  srs: object(SRS_RULES, '{ domain: "example.com", secrets }'),
  arc: KEY_RULE,
};

/** The rule for {@linkcode ForwardingOptions} in other options. */
export const FORWARDING_RULE: Rule = object(RULES, "{ srs }");
