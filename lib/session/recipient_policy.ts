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
import {
  type Alias,
  aliasesOf,
  type AliasTable,
  type AliasTarget,
  findAlias,
  findCatchAll,
  lookAtAliases,
} from "./aliases.ts";
import type { LocalTest } from "./local_domains.ts";
import type { LocalRecipients } from "./local_recipients.ts";
import { localName, withoutExtension } from "./mailbox_names.ts";

/** Most aliases of aliases. */
const MOST_DEPTH = 10;
/** Most addresses looked at for one recipient. */
const MOST_STEPS = 10 * MOST_TARGETS;
/** Signs that make a route of a local part. */
const ROUTE = /[@%!]/;
/** Most warnings about a table. */
const MOST_WARNINGS = 20;

/** The parts of a {@linkcode RecipientPolicy}. */
export interface RecipientPolicyInit {
  readonly aliases: AliasTable | undefined;
  /** The character before an extension. */
  readonly delimiter: string | undefined;
  /** The mailboxes that exist; `undefined` if all do. */
  readonly local: LocalRecipients | undefined;
  /** Whether an address is local; if unset, all are. */
  readonly isLocal: LocalTest | undefined;
  /** The domain of the bare `postmaster`. */
  readonly domain: string;
  /** Says whether a mailbox has room, if it can. */
  readonly store: Pick<MessageStore, "hasRoom">;
  readonly log: Logger;
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
  /** The keys of the aliases between the recipient and here. */
  readonly path: string[];
  /** The mailboxes that exist; `undefined` if all do. */
  readonly local: LocalRecipients | undefined;
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
}

/** Decides on local recipients. */
export class RecipientPolicy {
  readonly #init: RecipientPolicyInit;
  /** Targets of which a record has said that they do not exist. */
  readonly #reported = new Set<string>();

  constructor(init: RecipientPolicyInit) {
    this.#init = init;
  }

  /** Decides on a recipient in a local domain. Never rejects. */
  async decide(
    said: Address,
    facts: RecipientFacts,
  ): Promise<RecipientDecision> {
    try {
      await this.#look();
      const { walk, refusal } = await this.#walk(said, facts.ownIp);
      if (refusal !== undefined) {
        this.#logFault(said, refusal);
        return refusal;
      }
      for (const one of walk.unknown) {
        if (one !== said) this.#logUnknown(one, said);
      }
      if (walk.targets.length === 0) return replies.noSuchUser;
      const { store } = this.#init;
      if (store.hasRoom !== undefined) {
        for (const one of walk.mailboxes) {
          if (!await store.hasRoom(one, facts.size)) return replies.mailboxFull;
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

  /**
   * Warns of aliases that lead nowhere: loops, targets without a mailbox, names in
   * domains that are not local.
   */
  async warnOfAliases(): Promise<void> {
    const faults = await this.aliasFaults();
    for (const message of faults.slice(0, MOST_WARNINGS)) this.#warn(message);
    if (faults.length > MOST_WARNINGS) {
      this.#warn(`${faults.length - MOST_WARNINGS} more aliases lead nowhere`);
    }
  }

  /** A sentence for each alias that leads nowhere. What only a function knows is not checked. */
  async aliasFaults(): Promise<string[]> {
    const { aliases, isLocal, domain, local } = this.#init;
    const found: string[] = [];
    if (aliases === undefined) return found;
    for (const { name, written, targets } of aliasesOf(aliases)) {
      const own = name.domain ?? domain;
      if (own.startsWith("[")) continue;
      if (isLocal !== undefined && !isLocal(new Address("a", own))) {
        if (name.domain === undefined) continue;
        found.push(
          `Alias "${written}" has no effect: "${own}" is no local domain`,
        );
        continue;
      }
      const walk = newWalk(local?.isList ? local : undefined);
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

  /** Takes changes of the files into use. */
  async #look(): Promise<void> {
    const { aliases, local } = this.#init;
    const looks = [aliases && lookAtAliases(aliases), local?.look?.()];
    if (looks.every((look) => look === undefined)) return;
    let isChanged = false;
    for (const look of await Promise.all(looks)) {
      if (look === undefined) continue;
      if ("error" in look) {
        this.#logFailure(
          "Cannot reread recipients: the old ones stay",
          look.error,
        );
      } else isChanged ||= look.changed;
    }
    if (!isChanged) return;
    this.#reported.clear();
    await this.warnOfAliases();
  }

  async #walk(
    said: Address,
    ownIp: string | undefined,
  ): Promise<{ readonly walk: Walk; readonly refusal: SmtpReply | undefined }> {
    const walk = newWalk(this.#init.local, ownIp);
    const refusal = await this.#follow(said, walk, { isSaid: true });
    return { walk, refusal };
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
    const { isLocal, domain } = this.#init;
    if (++walk.steps > MOST_STEPS) return replies.aliasTooLarge;
    if (isLocal !== undefined && !isLocal(address, walk.ownIp)) {
      return keep(address, walk) ? undefined : replies.aliasTooLarge;
    }
    const found = await this.#aliasOf(address, walk, from.isSaid);
    if (
      found === undefined || found.key === (walk.path.at(-1) ?? from.parent)
    ) return await this.#deliver(address, walk);
    const { key, alias } = found;
    if (walk.path.includes(key) || walk.path.length >= MOST_DEPTH) {
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

  /**
   * Whether a client has chosen a local part that another server may take for an
   * address beyond it, as `a%b.example`. Danger: that server may trust this one,
   * and would relay for everyone.
   */
  #isRoute(address: Address, { ownIp }: Walk): boolean {
    return ROUTE.test(address.localPart) &&
      this.#init.isLocal?.(address, ownIp) === false;
  }

  /** The alias of a local address, and its key in the domain of the address. */
  async #aliasOf(
    address: Address,
    walk: Walk,
    isSaid: boolean,
  ): Promise<{ readonly key: string; readonly alias: Alias } | undefined> {
    const { aliases, delimiter } = this.#init;
    const { local } = walk;
    if (aliases === undefined) return undefined;
    const domain = address.asciiDomain || this.#init.domain;
    const alias = findAlias(aliases, address, { domain, delimiter });
    if (alias !== undefined) {
      return { key: keyOf(alias.name.local ?? "", domain), alias };
    }
    const catchAll = isSaid ? findCatchAll(aliases, domain) : undefined;
    if (catchAll === undefined) return undefined;
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
    const { local } = walk;
    const mailbox = local === undefined
      ? withoutExtension(address, delimiter)
      : await this.#mailboxOf(address, local) ??
        postmasterOf(address, delimiter);
    if (mailbox === undefined) {
      walk.unknown.push(address);
      return undefined;
    }
    const before = walk.targets.length;
    if (!keep(mailbox, walk)) return replies.aliasTooLarge;
    if (walk.targets.length > before) walk.mailboxes.push(mailbox);
    return undefined;
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

  #logFault(said: Address, reply: SmtpReply): void {
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

function newWalk(local: LocalRecipients | undefined, ownIp?: string): Walk {
  return {
    ...{ ownIp, local, path: [], targets: [], mailboxes: [], unknown: [] },
    ...{ followed: new Set(), kept: new Set(), steps: 0 },
  };
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
