/**
 * The common parts of stores with a mailbox for each recipient: which recipients
 * share a mailbox, how many mailboxes are written at once, and the error that
 * names the recipients without a copy. Touches no file.
 */

import { errorMessage } from "../log.ts";
import {
  type Message,
  type Recipient,
  StoreError,
} from "../message/message.ts";
import {
  callable,
  flag,
  list,
  optionError,
  type Rule,
  type Rules,
  whole,
} from "../options.ts";
import type { Address } from "../protocol/address.ts";
import { SmtpError } from "../protocol/reply.ts";
import { mailboxName, safeComponent } from "./mailbox_name.ts";

/**
 * How recipients become mailboxes.
 *
 * @example The same mailboxes as Maildirs and as mbox files
 * ```ts
 * import {
 *   type LockSettings,
 *   type MailboxOptions,
 *   type MailboxOwners,
 *   MaildirStore,
 *   type MaildirStoreOptions,
 *   MboxStore,
 *   type MboxStoreOptions,
 * } from "@smtp/server/store";
 *
 * const byUser: MailboxOptions = { mailboxOf: ({ localPart }) => localPart };
 * const owners: MailboxOwners = [1000, 1001];
 * const locks: LockSettings = { locks: ["flock"], lockTimeoutMs: 5000 };
 * const maildirs: MaildirStoreOptions = {
 *   ...byUser,
 *   owners,
 *   folder: "/var/mail/dirs",
 * };
 * const files: MboxStoreOptions = {
 *   ...{ ...byUser, ...locks, owners },
 *   folder: "/var/mail",
 * };
 * console.assert(new MaildirStore(maildirs).kind === "maildir");
 * console.assert(new MboxStore(files).kind === "mbox");
 * ```
 */
export interface MailboxOptions {
  /**
   * Gives the mailbox of an address, if it is not named after the address. The
   * result becomes one safe path component, as the address would: it cannot leave
   * the folder. Default: the address is the name.
   */
  readonly mailboxOf?: ((address: Address) => string) | undefined;
  /**
   * Whether local parts keep their case, so that `User` and `user` are two
   * mailboxes.
   *
   * @default {false}
   */
  readonly keepCase?: boolean | undefined;
}

/** The rule for a store's option `owners`. */
export const OWNERS_RULE: Rule = {
  want: 'an array of user numbers, or "any"',
  check(value, at) {
    if (value === "any") return;
    if (!Array.isArray(value)) throw optionError(at, value, this);
    list(whole()).check(value, at);
  },
};

/** The rules for {@linkcode MailboxOptions}. */
export const MAILBOX_RULES: Rules<MailboxOptions> = {
  mailboxOf: callable("a function that gives an address its mailbox"),
  keepCase: flag,
};

/** One mailbox that gets a copy, and whether that failed. */
export class MailboxCopy {
  /** The mailbox: one path component. */
  readonly mailbox: string;
  /** The recipients of this mailbox. */
  readonly recipients: Recipient[] = [];
  /** Why it has no copy; boxed, since any value can be thrown. */
  failure: { readonly reason: unknown } | undefined;

  constructor(mailbox: string) {
    this.mailbox = mailbox;
  }
}

/** Most mailboxes written at the same time for one message. */
const AT_ONCE = 8;

/** The mailbox of an address: one path component. */
export function mailboxOf(address: Address, options: MailboxOptions): string {
  return options.mailboxOf === undefined
    ? mailboxName(address, options)
    : safeComponent(options.mailboxOf(address));
}

/** The mailboxes of the recipients, each once: two names for one mailbox get one copy. */
export function planCopies(
  recipients: readonly Recipient[],
  options: MailboxOptions,
): MailboxCopy[] {
  const plan = new Map<string, MailboxCopy>();
  const nameless: MailboxCopy[] = [];
  for (const recipient of recipients) {
    try {
      const name = mailboxOf(recipient.address, options);
      let copy = plan.get(name);
      if (copy === undefined) {
        plan.set(name, copy = new MailboxCopy(name));
      }
      copy.recipients.push(recipient);
    } catch (reason) {
      const copy = new MailboxCopy("");
      copy.recipients.push(recipient);
      copy.failure = { reason };
      nameless.push(copy);
    }
  }
  return [...plan.values(), ...nameless];
}

/** The mailboxes of a message's recipients, in their order. */
export function mailboxesOf(
  { recipients }: Message,
  copies: readonly MailboxCopy[],
): readonly string[] {
  if (copies.length === 1) return recipients.map(() => copies[0]!.mailbox);
  const names = new Map<Recipient, string>();
  for (const { mailbox, recipients } of copies) {
    for (const recipient of recipients) names.set(recipient, mailbox);
  }
  return recipients.map((recipient) => names.get(recipient)!);
}

/** Runs a step for every copy that has not failed, at most 8 at once; records a failure in the copy. */
export async function forEachCopy<T extends MailboxCopy>(
  copies: readonly T[],
  step: (copy: T) => Promise<void>,
): Promise<void> {
  const rest = copies.values();
  const work = async () => {
    for (const copy of rest) {
      if (copy.failure !== undefined) continue;
      try {
        await step(copy);
      } catch (reason) {
        copy.failure = { reason };
      }
    }
  };
  const workers = Math.min(AT_ONCE, copies.length);
  await Promise.all(Array.from({ length: workers }, work));
}

/** Whether a copy has failed. */
export function hasFailure(copies: readonly MailboxCopy[]): boolean {
  return copies.some((copy) => copy.failure !== undefined);
}

/** The error for copies of which some failed; `undefined` if all succeeded. */
export function failureOf(
  message: Message,
  copies: readonly MailboxCopy[],
): StoreError | undefined {
  const failures = new Map<Recipient, unknown>();
  for (const { failure, recipients } of copies) {
    if (failure === undefined) continue;
    for (const recipient of recipients) {
      failures.set(recipient, failure.reason);
    }
  }
  return failures.size === 0 ? undefined : storeError(message, failures);
}

/**
 * The error for a message that no recipient got: each recipient with the reason
 * of their own copy, or else with the first reason found. A permanent refusal of
 * one mailbox is temporary for the others: they may get the message yet.
 */
export function failureOfAll(
  message: Message,
  copies: readonly MailboxCopy[],
): StoreError {
  const cause = copies.find((copy) => copy.failure !== undefined)?.failure
    ?.reason;
  const others = cause instanceof SmtpError && !cause.isTemporary
    ? new Error(`Another mailbox has refused it: ${cause.message}`, { cause })
    : cause;
  const failures = new Map<Recipient, unknown>();
  for (const { failure, recipients } of copies) {
    for (const recipient of recipients) {
      failures.set(recipient, failure === undefined ? others : failure.reason);
    }
  }
  return storeError(message, failures);
}

/** The error for a message whose one copy for all recipients could not be kept. */
export function failureOfOne(message: Message, reason: unknown): StoreError {
  return storeError(
    message,
    new Map(message.recipients.map((recipient) => [recipient, reason])),
    reason,
  );
}

function storeError(
  message: Message,
  failures: ReadonlyMap<Recipient, unknown>,
  cause: unknown = failures.values().next().value,
): StoreError {
  return new StoreError(
    `Cannot keep message "${message.id}" for ${failures.size} of ${message.recipients.length} recipients: ${
      errorMessage(cause)
    }`,
    failures,
    { cause },
  );
}

/** The work that a store has under way; `close` waits for it. */
export class Underway {
  readonly #work = new Set<Promise<unknown>>();

  /** Counts `work` as under way until it settles, and returns it. */
  track<T>(work: Promise<T>): Promise<T> {
    this.#work.add(work);
    const forget = () => this.#work.delete(work);
    work.then(forget, forget);
    return work;
  }

  /** Resolves when no work is under way any more, successful or not. */
  async settled(): Promise<void> {
    while (this.#work.size > 0) await Promise.allSettled(this.#work);
  }
}
