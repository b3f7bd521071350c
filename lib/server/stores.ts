/**
 * The stores of a server: its own and those of its domains. Gives each recipient
 * the store of the domain, and closes all at the end.
 *
 * With stores of domains, a message is saved in the store of each recipient's
 * domain, one after the other. No store can take a copy back that it has kept, so
 * those that seldom fail come last.
 */

import type { Address } from "../protocol/address.ts";
import {
  failuresOf,
  mailboxesOf,
  type Message,
  type MessageStore,
  type Recipient,
  type SaveOptions,
  StoreError,
} from "../message/message.ts";
import { type Domains, DomainTable } from "./domain_options.ts";
import type { Settings } from "./settings.ts";

/** The stores of a server. */
export class ServerStores {
  /** The server's own. */
  readonly own: MessageStore;
  readonly #settings: Settings;
  /** Those that sessions may still use, before and after reloads, in the order of their first use. */
  readonly #used: MessageStore[] = [];
  #domains: Domains | undefined;
  #table = new DomainTable(undefined);
  #current: MessageStore;

  constructor(own: MessageStore, settings: Settings) {
    this.own = own;
    this.#settings = settings;
    this.#current = own;
    this.#used.push(own);
  }

  /** The options of the domains in force. */
  get table(): DomainTable {
    this.#renew();
    return this.#table;
  }

  /** The store for mail of all domains, by the settings in force. */
  get current(): MessageStore {
    this.#renew();
    return this.#current;
  }

  /** The store for one address, by the settings in force. */
  of(address: Address): MessageStore {
    const { current } = this;
    return current instanceof DomainStores ? current.of(address) : current;
  }

  /**
   * The number of a store, by which another thread names it. It stays the same: a
   * session keeps its store over a reload.
   */
  numberOf(store: MessageStore): number {
    const known = this.#used.indexOf(store);
    return known < 0 ? this.#used.push(store) - 1 : known;
  }

  /** The store of a number; `undefined` if no store has it. */
  numbered(number: number): MessageStore | undefined {
    return this.#used[number];
  }

  #renew(): void {
    const { domains } = this.#settings.options;
    if (domains === this.#domains) return;
    this.#domains = domains;
    this.#table = new DomainTable(domains);
    const { stores } = this.#table;
    for (const store of stores) this.numberOf(store);
    this.#current = stores.length === 0
      ? this.own
      : new DomainStores(this.own, this.#table);
  }

  /** Closes all stores, also those that a reload has replaced. */
  async close(): Promise<void> {
    this.#renew();
    const ends = this.#used.map(async (store) => await store.close?.());
    for (const end of await Promise.allSettled(ends)) {
      if (end.status === "rejected") throw end.reason;
    }
  }
}

/** The kinds of stores that keep what they get, or fail as the whole process does. */
const SELDOM_FAIL: ReadonlySet<string> = new Set(["discard", "memory"]);

/** Saves a message in the store of each recipient's domain. */
class DomainStores implements MessageStore {
  readonly kind = "domains";
  readonly #own: MessageStore;
  readonly #table: DomainTable;
  /** For the bare `postmaster` and address literals: it loses nothing where a domain has a store. */
  readonly #unnamed: MessageStore;
  /** See {@linkcode MessageStore.hasRoom}; unset if no store has it, so that recipients need not wait. */
  readonly hasRoom?: NonNullable<MessageStore["hasRoom"]>;

  constructor(own: MessageStore, table: DomainTable) {
    this.#own = own;
    this.#table = table;
    this.#unnamed = own.kind === "discard" ? table.stores[0]! : own;
    if ([own, ...table.stores].every(({ hasRoom }) => hasRoom === undefined)) {
      return;
    }
    this.hasRoom = (address, size) =>
      this.of(address).hasRoom?.(address, size) ?? true;
  }

  /** The store for an address. */
  of(address: Address): MessageStore {
    const isUnnamed = address.domain === "" || address.isLiteral;
    return this.#table.storeOf(address) ??
      (isUnnamed ? this.#unnamed : this.#own);
  }

  async save(
    message: Message,
    options: SaveOptions,
  ): Promise<readonly string[]> {
    const failures = new Map<Recipient, unknown>();
    const mailboxes = new Map<Recipient, string>();
    for (const [store, recipients] of this.#parts(message)) {
      try {
        const part = recipients.length === message.recipients.length
          ? message
          : message.forRecipients(recipients);
        const names = mailboxesOf(await store.save(part, options)) ?? [];
        recipients.forEach((one, at) => mailboxes.set(one, names[at] ?? ""));
      } catch (error) {
        if (!options.partial) throw error;
        for (const [recipient, cause] of failuresOf(error, recipients)) {
          failures.set(recipient, cause);
        }
      }
    }
    if (failures.size === 0) {
      return message.recipients.map((one) => mailboxes.get(one) ?? "");
    }
    throw new StoreError(
      `Cannot keep message "${message.id}" for ${failures.size} of ${message.recipients.length} recipients`,
      failures,
      { cause: failures.values().next().value },
    );
  }

  /** The stores with their recipients, in the order to save. */
  #parts({ recipients }: Message): [MessageStore, Recipient[]][] {
    const parts = new Map<MessageStore, Recipient[]>();
    for (const recipient of recipients) {
      const store = this.of(recipient.address);
      const part = parts.get(store);
      if (part === undefined) parts.set(store, [recipient]);
      else part.push(recipient);
    }
    const rank = ([store]: [MessageStore, unknown]) =>
      SELDOM_FAIL.has(store.kind) ? 1 : 0;
    return [...parts].sort((one, other) => rank(one) - rank(other));
  }
}
