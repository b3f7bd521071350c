/**
 * The options of one local domain, their checks, and the table that finds them by
 * an address or by the name of a login. Opens and stores nothing.
 */

import { RELAYING_RULES, type RelayingOptions } from "../delivery/options.ts";
import { printable } from "../log.ts";
import type { MessageStore } from "../message/message.ts";
import {
  list,
  object,
  optionError,
  type Rule,
  type Rules,
  text,
  where,
  whole,
} from "../options.ts";
import type { Address } from "../protocol/address.ts";
import { asciiDomain } from "../protocol/domain.ts";
import type { RelayOptions } from "../queue/relay.ts";
import type { SessionDomains } from "../session/context.ts";
import { ALIASES_RULE, type AliasTable } from "../session/aliases.ts";
import { localDomains } from "../session/local_domains.ts";
import { LOCAL_RECIPIENTS_RULE } from "../session/local_recipients.ts";

/**
 * The options of one of `domains`. What a domain does not say is the server's.
 *
 * @example Two tenants
 * ```ts
 * import {
 *   type DomainOptions,
 *   MaildirStore,
 *   MemoryStore,
 *   SmtpServer,
 * } from "@smtp/server";
 *
 * const small: DomainOptions = {
 *   store: new MemoryStore(),
 *   maxSize: 100_000,
 *   localRecipients: ["ann", "bob"],
 *   aliases: { info: ["ann", "bob"] },
 * };
 * const large: DomainOptions = {
 *   store: new MaildirStore({ folder: "./mail/b.example" }),
 *   relay: {
 *     smarthosts: ["smtp.example.net:587"],
 *     login: { username: "b", password: "secret" },
 *   },
 * };
 * const server = new SmtpServer({
 *   domains: { "a.example": small, "b.example": large, "c.example": {} },
 *   store: new MaildirStore({ folder: "./mail/others" }),
 * });
 * console.assert(!server.active);
 * ```
 */
export interface DomainOptions {
  /**
   * Stores the domain's mail. A message for several domains is saved in each
   * one's store, one after the other; those in memory come last, because they
   * seldom fail. If a store fails, the message is refused for all of its
   * recipients (in LMTP for those of that store), but a store that was saved to
   * before keeps its copy: when the client repeats the message, it gets a second
   * one. A store that a handler chooses for a message takes the place of all.
   *
   * Mail for the bare `postmaster` or for the literal of the server's address, as
   * `ann@[192.0.2.1]`, goes to the server's `store`; if that keeps nothing, to the
   * first of the domains' stores.
   *
   * @default {the server's `store`}
   */
  readonly store?: MessageStore | undefined;
  /**
   * Most bytes of a message for the domain, if that is less than
   * `limits.maxSize`; 0 for no limit of its own. A recipient gets 552 5.3.4 if the
   * client declares more (SIZE). Without that, the smallest limit of all
   * recipients holds at the end of the content, for there is one reply to it; in
   * LMTP each recipient has a reply, and the others get the message.
   *
   * @default {0}
   */
  readonly maxSize?: number | undefined;
  /**
   * How mail of the domain's users goes to other servers: of logins with
   * a name in the domain, as `ann@a.example`. It is stored with each
   * message, so a change applies to later messages. With `smarthosts` of its own,
   * a domain never uses the server's `login` at others than the server's own.
   * Which clients may relay is the server's `relay`; what a handler adds to
   * {@linkcode SmtpServer.relays} goes as it says there.
   *
   * @default {the server's `relay`}
   */
  readonly relay?:
    | Pick<RelayingOptions, "login" | "security" | "smarthosts">
    | undefined;
  /**
   * Aliases of the domain, in the form of the server's `aliases`. They are looked
   * up before the server's, which hold for what is not found here; a catch-all
   * comes after the names of both. A name without a domain means this domain; a name
   * in another domain has no effect, with a warning: this table decides about
   * this domain alone. Targets may be anywhere.
   *
   * @default {none}
   */
  readonly aliases?:
    | AliasTable
    | Readonly<Record<string, string | readonly string[]>>
    | undefined;
  /**
   * The mailboxes of the domain that exist, in the form of the server's
   * `localRecipients`, whose place they take for this domain. A name without a
   * domain means this domain; `"any"`: every name exists.
   *
   * @default {the server's `localRecipients`}
   */
  readonly localRecipients?:
    | "any"
    | Iterable<string>
    | ((address: Address) => boolean | Promise<boolean>)
    | { readonly path: string }
    | undefined;
}

/** The rule for a store inside other options. */
export const STORE_RULE: Rule = where(
  'a store, as new MaildirStore({ folder: "./mail" })',
  (value) => {
    const store = value as Partial<MessageStore> | null;
    return typeof store?.kind === "string" &&
      typeof store.save === "function";
  },
);

const { login, security, smarthosts } = RELAYING_RULES;

const DOMAIN_RULES: Rules<DomainOptions> = {
  store: STORE_RULE,
  maxSize: whole(),
  relay: object<NonNullable<DomainOptions["relay"]>>(
    { login, security, smarthosts },
    '{ smarthosts: ["smtp.example.net:587"] }',
  ),
  aliases: ALIASES_RULE,
  localRecipients: LOCAL_RECIPIENTS_RULE,
};

const DOMAIN_RULE = object(DOMAIN_RULES, "{ maxSize: 1_000_000 }");
const NAMES_RULE = list(text(), 'an array of domains, as ["example.com"]');

/** The domains of a server: their names, or their options by name. */
export type Domains =
  | readonly string[]
  | Readonly<Record<string, DomainOptions>>;

/** The rule for {@linkcode Domains}. */
export const DOMAINS_RULE: Rule = {
  want: 'an array of domains, as ["example.com"], or { "example.com": {} }',
  check(value, at) {
    if (Array.isArray(value)) return NAMES_RULE.check(value, at);
    const isPlain = typeof value === "object" && value !== null &&
      [Object.prototype, null].includes(Object.getPrototypeOf(value));
    if (!isPlain) throw optionError(at, value, this);
    for (const [name, options] of Object.entries(value)) {
      const path = `${at.path}["${printable(name)}"]`;
      DOMAIN_RULE.check(options, { ...at, path });
    }
  },
};

/** The names of the domains, in the order given. */
export function domainNames(domains: Domains): readonly string[] {
  return isNames(domains) ? domains : Object.keys(domains);
}

/** The options of each domain that has some, with its name as given. */
export function domainEntries(
  domains: Domains | undefined,
): readonly (readonly [string, DomainOptions])[] {
  return domains === undefined || isNames(domains)
    ? []
    : Object.entries(domains);
}

function isNames(domains: Domains): domains is readonly string[] {
  return Array.isArray(domains);
}

/**
 * Checks the names of the domains.
 *
 * @throws {TypeError} If one is not a domain, or two with options are the same
 */
export function checkDomains(domains: Domains | undefined): void {
  if (domains === undefined) return;
  const names = domainNames(domains);
  localDomains(names);
  if (isNames(domains)) return;
  const seen = new Map<string, string>();
  for (const name of names) {
    const other = seen.get(asciiDomain(name));
    if (other !== undefined) {
      throw new TypeError(
        `Cannot use domains "${other}" and "${name}": both are one domain`,
      );
    }
    seen.set(asciiDomain(name), name);
  }
}

/** The options of all domains. */
export class DomainTable implements SessionDomains {
  readonly #options = new Map<string, DomainOptions>();

  constructor(domains: Domains | undefined) {
    for (const [name, options] of domainEntries(domains)) {
      this.#options.set(asciiDomain(name), options);
    }
  }

  /** Whether a domain has options at all. */
  get isEmpty(): boolean {
    return this.#options.size === 0;
  }

  /** The stores of domains. */
  get stores(): readonly MessageStore[] {
    const stores = [...this.#options.values()].map(({ store }) => store);
    return stores.filter((store) => store !== undefined);
  }

  /** The store of a domain; `undefined` for the server's. */
  storeOf({ domain, asciiDomain }: Pick<Address, "domain" | "asciiDomain">):
    | MessageStore
    | undefined {
    return (this.#options.get(domain) ?? this.#options.get(asciiDomain))
      ?.store;
  }

  /** The option `localRecipients` of a domain. */
  localRecipientsOf(domain: string): DomainOptions["localRecipients"] {
    return this.#options.get(domain)?.localRecipients;
  }

  /** See {@linkcode SessionDomains.maxSizeOf}. */
  maxSizeOf({ asciiDomain }: Address): number {
    return this.#options.get(asciiDomain)?.maxSize ?? 0;
  }

  /** See {@linkcode SessionDomains.routeOf}. */
  routeOf(username: string | undefined): RelayOptions | undefined {
    const at = username?.lastIndexOf("@") ?? -1;
    if (at < 0) return undefined;
    const relay = this.#options.get(asciiDomain(username!.slice(at + 1)))
      ?.relay;
    if (relay === undefined) return undefined;
    const { login, security, smarthosts } = relay;
    return {
      ...(login === undefined ? {} : { login }),
      ...(security === undefined ? {} : { security }),
      ...(smarthosts === undefined ? {} : { smarthosts }),
    };
  }
}
