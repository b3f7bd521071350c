/**
 * The policy `senderPolicy: "own"`: a user that has logged in sends from their
 * own addresses only. Decides on the reverse-path at MAIL, and on From and Sender
 * of the header. It leaves clients without a login alone.
 *
 * What cannot be decided is refused.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc6409#section-6.1 | RFC 6409 section 6.1}
 */

import type { Address } from "../protocol/address.ts";
import { responsibleMailbox } from "../protocol/author_fields.ts";
import { asciiDomain } from "../protocol/domain.ts";
import type { MessageHeaders } from "../protocol/headers.ts";
import { replies } from "../protocol/replies.ts";
import type { SmtpReply } from "../protocol/reply.ts";
import type { Accounts } from "../sasl/accounts.ts";
import type { SmtpSession } from "./session.ts";

/** The addresses of a user, each `"local@domain"` or `"@domain"`. */
export type OwnAddresses = readonly string[];

/** The settings of the policy. */
export interface SenderPolicyInit {
  /** The accounts; `undefined` if a handler judges logins. */
  readonly accounts: Accounts | undefined;
  /** The text that ends the mailbox in a local part: with `"+"` the address of ann is that of ann+shop as well. */
  readonly delimiter?: string | undefined;
}

/** The policy of one server. */
export class SenderPolicy {
  readonly #accounts: Accounts | undefined;
  readonly #delimiter: string | undefined;

  constructor({ accounts, delimiter }: SenderPolicyInit) {
    this.#accounts = accounts;
    this.#delimiter = delimiter;
  }

  /**
   * The addresses of a user: the name itself if it is an address, and those of
   * the account. The one place that knows them: further sources belong here.
   */
  ownAddresses(username: string): OwnAddresses | Promise<OwnAddresses> {
    const itself = username.lastIndexOf("@") > 0 ? [username] : [];
    const more = this.#accounts?.addresses?.(username) ?? [];
    return "then" in more
      ? more.then((known) => [...itself, ...known])
      : [...itself, ...more];
  }

  /**
   * Whether an address is one of a user's. The domain may have any spelling. The
   * local part is compared without regard to case and quotes, as mailboxes are.
   */
  isOwn(address: Address, own: OwnAddresses): boolean {
    const domain = address.asciiDomain;
    const local = localKey(address.localPart);
    const end = this.#delimiter === undefined
      ? -1
      : local.indexOf(this.#delimiter);
    const locals = ["", local, ...end > 0 ? [local.slice(0, end)] : []];
    return own.some((text) => {
      const at = text.lastIndexOf("@");
      return asciiDomain(text.slice(at + 1)) === domain &&
        locals.includes(localKey(text.slice(0, at)));
    });
  }
}

/** The form in which local parts are compared. */
function localKey(localPart: string): string {
  const isQuoted = /^".+"$/u.test(localPart);
  const text = isQuoted
    ? localPart.slice(1, -1).replace(/\\(.)/gu, "$1")
    : localPart;
  return text.normalize("NFC").toLowerCase();
}

/** The policy for one session. */
export class SenderCheck {
  readonly #policy: SenderPolicy;
  readonly #session: SmtpSession;
  #own: OwnAddresses = [];

  constructor(policy: SenderPolicy, session: SmtpSession) {
    this.#policy = policy;
    this.#session = session;
  }

  /** Whether the client has logged in, and must keep to the policy. */
  get applies(): boolean {
    return this.#session.username !== undefined;
  }

  /**
   * The reply that refuses a reverse-path. The null sender is allowed: a DSN has
   * it, and From is checked as well.
   */
  mail(
    address: Address,
  ): SmtpReply | undefined | Promise<SmtpReply | undefined> {
    const { username } = this.#session;
    this.#own = [];
    if (username === undefined) return undefined;
    const own = this.#policy.ownAddresses(username);
    return "then" in own
      ? own.then((known) => this.#judge(address, known))
      : this.#judge(address, own);
  }

  #judge(address: Address, own: OwnAddresses): SmtpReply | undefined {
    this.#own = own;
    return address.isNull || this.#policy.isOwn(address, own)
      ? undefined
      : replies.senderNotOwn;
  }

  /** The reply that refuses a message for its header. */
  header(headers: MessageHeaders): SmtpReply | undefined {
    if (!this.applies) return undefined;
    const mailbox = responsibleMailbox(headers);
    return mailbox !== undefined && this.#policy.isOwn(mailbox, this.#own)
      ? undefined
      : replies.authorNotOwn;
  }
}
