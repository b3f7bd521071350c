/**
 * The aliases and mailboxes of a server and of its domains: which table says
 * something of an address. A domain's aliases come before the server's; its
 * mailboxes take the place of the server's. It follows no alias and makes no
 * reply: `recipient_policy.ts` does.
 */

import type { Look } from "../files/reread_file.ts";
import type { Address } from "../protocol/address.ts";
import {
  type Alias,
  aliasesOf,
  type AliasTable,
  findAlias,
  findCatchAll,
  lookAtAliases,
} from "./aliases.ts";
import type { LocalRecipients } from "./local_recipients.ts";

/** What a domain says of its recipients, or the server for all that say nothing. */
export interface RecipientTable {
  readonly aliases: AliasTable | undefined;
  /** The mailboxes that exist; `undefined` if all do. */
  readonly local: LocalRecipients | undefined;
}

/** The result of a look at files. */
export interface TableLook {
  /** The domain whose files have changed; `undefined` for the server's, which hold for all. */
  readonly domain: string | undefined;
  readonly isChanged: boolean;
  /** Why changes cannot be used. */
  readonly errors: readonly unknown[];
}

/** All tables of a server. */
export class RecipientTables {
  /** Whether there are aliases. */
  readonly hasAliases: boolean;
  readonly #server: RecipientTable;
  readonly #domains: ReadonlyMap<string, RecipientTable>;

  /** @param domains The tables of domains that have some, by their A-labels; `local` is the one in force */
  constructor(
    server: RecipientTable,
    domains: ReadonlyMap<string, RecipientTable>,
  ) {
    this.hasAliases = [server, ...domains.values()]
      .some(({ aliases }) => aliases !== undefined);
    this.#server = server;
    this.#domains = domains;
  }

  /** Whether there are tables at all. */
  get isEmpty(): boolean {
    const { aliases, local } = this.#server;
    return aliases === undefined && local === undefined &&
      this.#domains.size === 0;
  }

  /** The mailboxes of a domain; `undefined` if all exist. */
  localOf(domain: string): LocalRecipients | undefined {
    return (this.#domains.get(domain) ?? this.#server).local;
  }

  /** The alias of an address, not the catch-all of its domain. */
  aliasOf(
    address: Address,
    facts: { readonly domain: string; readonly delimiter: string | undefined },
  ): Alias | undefined {
    const own = this.#domains.get(facts.domain)?.aliases;
    const found = own && findAlias(own, address, facts);
    if (found !== undefined) return found;
    const { aliases } = this.#server;
    return aliases && findAlias(aliases, address, facts);
  }

  /** The catch-all of a domain. */
  catchAllOf(domain: string): Alias | undefined {
    const own = this.#domains.get(domain)?.aliases;
    const found = own && findCatchAll(own, domain);
    if (found !== undefined) return found;
    const { aliases } = this.#server;
    return aliases && findCatchAll(aliases, domain);
  }

  /**
   * All aliases, each with the domain in whose table it stands.
   *
   * @param only The domain whose aliases are wanted; default all
   */
  *all(only?: string): Generator<readonly [Alias, string | undefined]> {
    const { aliases } = this.#server;
    if (aliases !== undefined && only === undefined) {
      for (const alias of aliasesOf(aliases)) yield [alias, undefined];
    }
    for (const [domain, { aliases }] of this.#domains) {
      if (aliases === undefined || (only ?? domain) !== domain) continue;
      for (const alias of aliasesOf(aliases)) yield [alias, domain];
    }
  }

  /**
   * Looks whether the files for a domain have changed; `undefined` where there is
   * nothing to look at, or a look was within the last second.
   *
   * @param isNow Looks at once, whenever the last look was
   */
  look(
    domain: string,
    { isNow = false }: { readonly isNow?: boolean } = {},
  ): Promise<readonly TableLook[]> | undefined {
    const own = this.#domains.get(domain);
    const server = looksAt(this.#server, isNow);
    const others = own === undefined
      ? []
      : looksAt(own, isNow, this.#server.local);
    if (server.length === 0 && others.length === 0) return undefined;
    return Promise.all([lookOf(undefined, server), lookOf(domain, others)]);
  }
}

function looksAt(
  { aliases, local }: RecipientTable,
  isNow: boolean,
  known?: LocalRecipients,
): Promise<Look>[] {
  const looks = [
    aliases && lookAtAliases(aliases, isNow),
    local === known ? undefined : local?.look?.(isNow),
  ];
  return looks.filter((look) => look !== undefined);
}

async function lookOf(
  domain: string | undefined,
  looks: readonly Promise<Look>[],
): Promise<TableLook> {
  let isChanged = false;
  const errors: unknown[] = [];
  for (const look of await Promise.all(looks)) {
    if ("error" in look) errors.push(look.error);
    else isChanged ||= look.changed;
  }
  return { domain, isChanged, errors };
}
