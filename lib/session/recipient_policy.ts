/**
 * Decides on local recipients at RCPT: follows aliases, cuts off extensions,
 * refuses unknown mailboxes and full ones. Made only if an option asks for one of
 * these. The protocol has checked the syntax before, the session whether the
 * domain is local; handlers come afterwards.
 *
 * The order is: the alias of the address, the alias of the address without its
 * extension, the mailbox, the catch-all of the domain. A catch-all takes what the
 * client said, or the name that another catch-all passes on; it never takes the
 * target of an alias, and no mailbox that `localRecipients` knows.
 */

import { describeError, type Logger } from "../log.ts";
import { Address } from "../protocol/address.ts";
import { isPostmaster } from "../protocol/address_scanner.ts";
import { MOST_TARGETS } from "../protocol/redirect.ts";
import { replies } from "../protocol/replies.ts";
import { SmtpError, SmtpReply } from "../protocol/reply.ts";
import type { MessageStore } from "../message/message.ts";
import type { Alias, AliasTarget } from "./aliases.ts";
import type { LocalTest } from "./local_domains.ts";
import type { LocalRecipients } from "./local_recipients.ts";
import { BoundedMap } from "./login_guard.ts";
import { hasRoute, localName, withoutExtension } from "./mailbox_names.ts";
import type { RecipientTables, TableLook } from "./recipient_tables.ts";

/** Most aliases of aliases. */
const MOST_DEPTH = 10;
/** Most addresses looked at for one recipient. */
const MOST_STEPS = 10 * MOST_TARGETS;
/** Most warnings about a table. */
const MOST_WARNINGS = 20;
/** Least time between two records of the same fault, in ms. */
const RECORD_MS = 60_000;
/** Most faults of which the last record is known. */
const MOST_FAULTS = 1000;

/** Told that files have changed, where another thread reads them for the log as well. */
export interface RereadObserver {
  /** @param domain The domain whose files have changed, or which asked for those of the server */
  recipientsReread(domain: string): void;
}

/** The parts of a {@linkcode RecipientPolicy}. */
export interface RecipientPolicyInit {
  /** The aliases and mailboxes of the server and its domains. */
  readonly tables: RecipientTables;
  /** The character before an extension. */
  readonly delimiter: string | undefined;
  /** Whether an address is local; if unset, all are. */
  readonly isLocal: LocalTest | undefined;
  /** The domain of the bare `postmaster`. */
  readonly domain: string;
  /** Says whether a mailbox has room, if it can. */
  readonly store: Pick<MessageStore, "hasRoom">;
  readonly log: Logger;
  /** A monotonic time in ms. */
  readonly now?: (() => number) | undefined;
  /** Gets changes of files in place of the log: each thread notices them. */
  readonly observer?: RereadObserver | undefined;
}

/** What is known of the client's RCPT beside the address. */
export interface RecipientFacts {
  /** The IP address that the client connected to, if there is a client. */
  readonly ownIp?: string | undefined;
  /** The size that the client declared, in bytes; 0 if it did not. */
  readonly size: number;
}

/**
 * The decision: the reply that refuses the recipient, the addresses that it
 * becomes, or nothing if it stays what it is.
 */
export type RecipientDecision = SmtpReply | readonly Address[] | undefined;

/** What has been found on the way from one recipient to its targets. */
interface Walk {
  readonly ownIp: string | undefined;
  /** Whether mailboxes that only a function knows count as existing. */
  readonly asksNone: boolean;
  /** The keys of the aliases between the recipient and here. */
  readonly path: string[];
  /** The keys of the aliases followed so far. */
  readonly followed: Set<string>;
  /** The addresses kept so far. */
  readonly kept: Set<string>;
  /** Addresses looked at. */
  steps: number;
  /** Mailboxes, and addresses elsewhere. */
  readonly targets: Address[];
  /** The mailboxes among them. */
  readonly mailboxes: Address[];
  /** Local addresses without a mailbox. */
  readonly unknown: Address[];
  /** All addresses on the way, if they are wanted. */
  readonly reached: Address[] | undefined;
  /** The key of the alias at which a fault was noticed. */
  fault?: string | undefined;
}

/** Decides on local recipients. */
export class RecipientPolicy {
  readonly #init: RecipientPolicyInit;
  /** Targets of which a record has said that they do not exist. */
  readonly #reported = new Set<string>();
  /** The times of the last records of faults, by the key of the alias. */
  readonly #faults = new BoundedMap<number>(MOST_FAULTS);
  #rereading: Promise<void> = Promise.resolve();

  constructor(init: RecipientPolicyInit) {
    this.#init = init;
  }

  /** Decides on a recipient in a local domain. Never rejects. */
  async decide(
    said: Address,
    facts: RecipientFacts,
  ): Promise<RecipientDecision> {
    try {
      const walk = newWalk({ ownIp: facts.ownIp });
      const refusal = await this.#follow(said, walk, { isSaid: true });
      if (refusal !== undefined) {
        this.#logFault(said, { reply: refusal, key: walk.fault ?? "" });
        return refusal;
      }
      for (const one of walk.unknown) {
        if (one !== said) this.#logUnknown(one, said);
      }
      if (walk.targets.length === 0) return replies.noSuchUser;
      const { store } = this.#init;
      if (store.hasRoom !== undefined) {
        for (const one of walk.mailboxes) {
          if (await store.hasRoom(one, facts.size) === false) {
            return replies.mailboxFull;
          }
        }
      }
      const [only, ...others] = walk.targets;
      return only === said && others.length === 0 ? undefined : walk.targets;
    } catch (error) {
      if (error instanceof SmtpError) return error.reply;
      if (error instanceof SmtpReply) return error;
      this.#logFailure("Cannot decide on a recipient", error);
      return replies.localError;
    }
  }

  /** Whether mail to one address may go to another. */
  get rewrites(): boolean {
    const { tables, delimiter } = this.#init;
    return delimiter !== undefined || tables.hasAliases;
  }

  /** Whether an address has an extension. */
  isExtended(address: Address): boolean {
    return withoutExtension(address, this.#init.delimiter) !== address;
  }

  /**
   * The addresses that an address stands for: itself, and all that mail to it
   * goes to by aliases and extensions. Catch-alls do not count. None if its
   * aliases cannot be followed to the end.
   */
  async standsFor(address: Address): Promise<readonly Address[]> {
    const reached: Address[] = [];
    const walk = newWalk({ reached });
    const refusal = await this.#follow(address, walk, { isSaid: false });
    return refusal === undefined ? reached : [];
  }

  /**
   * Warns of aliases that lead nowhere: loops, targets without a mailbox, names in
   * domains that are not local.
   *
   * @param only The domain whose aliases are looked at; default all
   */
  async warnOfAliases(only?: string): Promise<void> {
    const faults = await this.aliasFaults(only);
    for (const message of faults.slice(0, MOST_WARNINGS)) this.#warn(message);
    if (faults.length > MOST_WARNINGS) {
      this.#warn(`${faults.length - MOST_WARNINGS} more aliases lead nowhere`);
    }
  }

  /** A sentence for each alias that leads nowhere. What only a function knows is not checked. */
  async aliasFaults(only?: string): Promise<string[]> {
    const { tables, isLocal, domain } = this.#init;
    const found: string[] = [];
    for (const [{ name, written, targets }, place] of tables.all(only)) {
      const own = name.domain ?? place ?? domain;
      if (own.startsWith("[")) continue;
      if (place !== undefined && own !== place) {
        found.push(
          `Alias "${written}" has no effect: it stands among those of "${place}"`,
        );
        continue;
      }
      if (isLocal !== undefined && !isLocal(new Address("a", own))) {
        if (name.domain === undefined) continue;
        found.push(
          `Alias "${written}" has no effect: "${own}" is no local domain`,
        );
        continue;
      }
      const walk = newWalk({ asksNone: true });
      const probe = new Address(name.written || "a", own);
      for (const target of targets) {
        // The target of a catch-all may be anything in another domain.
        if ("domain" in target) continue;
        const next = targetOf(target, probe, domain);
        const refusal = await this.#follow(next, walk, {
          isSaid: false,
          parent: keyOf(name.local ?? "", own),
        });
        if (refusal === replies.aliasLoop) {
          found.push(`Alias "${written}" leads back to itself`);
          break;
        }
      }
      for (const one of walk.unknown) {
        found.push(
          `Alias "${written}" leads to "${one}", which does not exist`,
        );
      }
    }
    return found;
  }

  /** Looks at the files for a domain now: another thread has seen that they have changed. Never rejects. */
  reread(domain: string): Promise<void> {
    return this.#rereading = this.#rereading.then(() => this.#reread(domain));
  }

  /** Resolves when no file is read for another thread any more. */
  get settled(): Promise<void> {
    return this.#rereading;
  }

  async #reread(domain: string): Promise<void> {
    const { tables } = this.#init;
    try {
      const looks = await tables.look(domain, { isNow: true });
      if (looks !== undefined) await this.#take(looks, domain);
    } catch (error) {
      this.#logFailure("Cannot look at the files of recipients", error);
    }
  }

  /** Takes changes of files into use. */
  async #take(looks: readonly TableLook[], domain: string): Promise<void> {
    const { observer } = this.#init;
    const news = looks.filter(({ isChanged, errors }) =>
      isChanged || errors.length > 0
    );
    if (news.length === 0) return;
    if (observer !== undefined) {
      this.#reported.clear();
      return observer.recipientsReread(domain);
    }
    for (const error of news.flatMap(({ errors }) => errors)) {
      this.#logFailure("Cannot reread recipients: the old ones stay", error);
    }
    const [first] = news.filter(({ isChanged }) => isChanged);
    if (first === undefined) return;
    this.#reported.clear();
    await this.warnOfAliases(first.domain);
  }

  /**
   * Follows an address to its mailboxes; resolves with the reply that refuses the
   * recipient, if any.
   *
   * @param from `isSaid`: whether a catch-all may take it; `parent`: the alias of
   * which it is a target, if that is not on the path
   */
  async #follow(
    address: Address,
    walk: Walk,
    from: { readonly isSaid: boolean; readonly parent?: string },
  ): Promise<SmtpReply | undefined> {
    const { isLocal, domain, tables } = this.#init;
    if (++walk.steps > MOST_STEPS) return tooLarge(walk);
    walk.reached?.push(address);
    if (isLocal !== undefined && !isLocal(address, walk.ownIp)) {
      return keep(address, walk) ? undefined : tooLarge(walk);
    }
    const ownDomain = address.asciiDomain || domain;
    // A check of tables must not read them again: a reading is what calls it.
    const looking = walk.asksNone ? undefined : tables.look(ownDomain);
    if (looking !== undefined) await this.#take(await looking, ownDomain);
    const found = await this.#aliasOf(address, walk, from.isSaid);
    if (
      found === undefined || found.key === (walk.path.at(-1) ?? from.parent)
    ) return await this.#deliver(address, walk);
    const { key, alias } = found;
    if (walk.path.includes(key) || walk.path.length >= MOST_DEPTH) {
      walk.fault = walk.path[0];
      return replies.aliasLoop;
    }
    if (walk.followed.has(key)) return undefined;
    walk.followed.add(key);
    walk.path.push(key);
    for (const target of alias.targets) {
      const isSaid = "domain" in target;
      const next = targetOf(target, address, domain);
      if (isSaid && this.#isRoute(next, walk)) {
        walk.unknown.push(next);
        continue;
      }
      const refusal = await this.#follow(next, walk, { isSaid });
      if (refusal !== undefined) return refusal;
    }
    walk.path.pop();
    return undefined;
  }

  /** Whether a client has chosen a route through another server. */
  #isRoute(address: Address, { ownIp }: Walk): boolean {
    return hasRoute(address) &&
      this.#init.isLocal?.(address, ownIp) === false;
  }

  /** The alias of a local address, and its key in the domain of the address. */
  async #aliasOf(
    address: Address,
    walk: Walk,
    isSaid: boolean,
  ): Promise<{ readonly key: string; readonly alias: Alias } | undefined> {
    const { tables, delimiter } = this.#init;
    const domain = address.asciiDomain || this.#init.domain;
    const alias = tables.aliasOf(address, { domain, delimiter });
    if (alias !== undefined) {
      const { local = "" } = alias.name;
      if (
        walk.reached !== undefined && localName(address.localPart) !== local
      ) {
        walk.reached.push(withoutExtension(address, delimiter));
      }
      return { key: keyOf(local, domain), alias };
    }
    const catchAll = isSaid ? tables.catchAllOf(domain) : undefined;
    if (catchAll === undefined) return undefined;
    const local = this.#localOf(domain, walk);
    const isKnown = local !== undefined &&
      await this.#mailboxOf(address, local) !== undefined;
    return isKnown ? undefined : { key: keyOf("", domain), alias: catchAll };
  }

  /** Adds the mailbox of an address to the targets, if it exists. */
  async #deliver(
    address: Address,
    walk: Walk,
  ): Promise<SmtpReply | undefined> {
    const { delimiter } = this.#init;
    const local = this.#localOf(
      address.asciiDomain || this.#init.domain,
      walk,
    );
    const mailbox = local === undefined
      ? withoutExtension(address, delimiter)
      : await this.#mailboxOf(address, local) ??
        postmasterOf(address, delimiter);
    if (mailbox === undefined) {
      walk.unknown.push(address);
      return undefined;
    }
    walk.reached?.push(mailbox);
    const before = walk.targets.length;
    if (!keep(mailbox, walk)) return tooLarge(walk);
    if (walk.targets.length > before) walk.mailboxes.push(mailbox);
    return undefined;
  }

  /** The mailboxes of a domain; `undefined` if all exist, or if only a function knows and must not be asked. */
  #localOf(
    domain: string,
    { asksNone }: Walk,
  ): LocalRecipients | undefined {
    const local = this.#init.tables.localOf(domain);
    return asksNone && local?.isList === false ? undefined : local;
  }

  /** The address, or the address without its extension, whichever has a mailbox. */
  async #mailboxOf(
    address: Address,
    local: LocalRecipients,
  ): Promise<Address | undefined> {
    const domain = address.asciiDomain || this.#init.domain;
    if (await local.knows(address, domain)) return address;
    const cut = withoutExtension(address, this.#init.delimiter);
    return cut !== address && await local.knows(cut, domain) ? cut : undefined;
  }

  // Records.

  #warn(message: string): void {
    this.#init.log({ level: "warn", event: "warning", message });
  }

  #logFailure(message: string, error: unknown): void {
    const { log } = this.#init;
    log({
      level: "error",
      event: "error",
      message,
      error: describeError(error),
    });
  }

  /** Logs a fault of aliases, once a minute for each name: everyone can ask for it as often as they like. */
  #logFault(
    said: Address,
    { reply, key }: { readonly reply: SmtpReply; readonly key: string },
  ): void {
    const now = this.#init.now?.() ?? performance.now();
    const last = this.#faults.get(key);
    if (last !== undefined && now - last < RECORD_MS) return;
    this.#faults.set(key, now);
    this.#init.log({
      level: "error",
      event: "error",
      message: `Cannot follow the aliases of a recipient: ${reply.lines[0]}`,
      fields: { recipient: said.toString() },
    });
  }

  /** Some targets of an alias exist and this one does not: without a record its mail would be missed. */
  #logUnknown(target: Address, said: Address): void {
    const key = target.toString();
    if (this.#reported.has(key) || this.#reported.size >= MOST_TARGETS) return;
    this.#reported.add(key);
    this.#init.log({
      level: "warn",
      event: "warning",
      message: "An alias leads to a mailbox that does not exist",
      fields: { recipient: said.toString(), target: key },
    });
  }
}

function newWalk(
  { ownIp, asksNone = false, reached }: Partial<
    Pick<Walk, "ownIp" | "asksNone" | "reached">
  >,
): Walk {
  return {
    ...{ ownIp, asksNone, reached, path: [], targets: [], mailboxes: [] },
    ...{ unknown: [], followed: new Set(), kept: new Set(), steps: 0 },
  };
}

/** Ends a walk that has found too much. */
function tooLarge(walk: Walk): SmtpReply {
  walk.fault ??= walk.path[0];
  return replies.aliasTooLarge;
}

/** Adds an address to the targets, once; `false` if there are too many. */
function keep(address: Address, { kept, targets }: Walk): boolean {
  const key = `${address.localPart}@${address.asciiDomain}`;
  if (kept.has(key)) return true;
  kept.add(key);
  targets.push(address);
  return targets.length <= MOST_TARGETS;
}

function keyOf(local: string, domain: string): string {
  return `${local}@${domain}`;
}

/** The address of a target, for an address that has the alias. */
function targetOf(
  target: AliasTarget,
  address: Address,
  ownDomain: string,
): Address {
  if ("address" in target) return target.address;
  if ("local" in target) {
    const domain = address.domain === ""
      ? ownDomain
      : address.toString().slice(address.localPart.length + 1);
    return new Address(target.local, domain);
  }
  return new Address(address.localPart, target.domain);
}

/** The postmaster, whose mail is never refused as that of an unknown recipient (RFC 5321 section 4.5.1). */
function postmasterOf(
  address: Address,
  delimiter: string | undefined,
): Address | undefined {
  const cut = withoutExtension(address, delimiter);
  return isPostmaster(localName(cut.localPart)) ? cut : undefined;
}
