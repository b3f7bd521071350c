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
import type { RecipientPolicy } from "./recipient_policy.ts";
import type { SmtpSession } from "./session.ts";

/** The addresses of a user, each `"local@domain"` or `"@domain"`. */
export type OwnAddresses = readonly string[];

/** The settings of the policy. */
export interface SenderPolicyInit {
  /** The accounts; `undefined` if a handler judges logins. */
  readonly accounts: Accounts | undefined;
  /** Knows aliases and extensions; `undefined` if no address has them. */
  readonly recipients?:
    | Pick<RecipientPolicy, "rewrites" | "isExtended" | "standsFor">
    | undefined;
}

/** The policy of one server. */
export class SenderPolicy {
  readonly #init: SenderPolicyInit;

  constructor(init: SenderPolicyInit) {
    this.#init = init;
  }

  /**
   * The addresses that a user has of their own: the name itself if it is an
   * address, and those of the account. Aliases that lead to one of these are found
   * by {@linkcode SenderPolicy.isOwn}.
   */
  ownAddresses(username: string): OwnAddresses | Promise<OwnAddresses> {
    const itself = username.lastIndexOf("@") > 0 ? [username] : [];
    const more = this.#init.accounts?.addresses?.(username) ?? [];
    return "then" in more
      ? more.then((known) => [...itself, ...known])
      : [...itself, ...more];
  }

  /**
   * Whether an address is one of a user's: one of their own, or one whose mail
   * goes there by aliases or without its extension. The domain may have any
   * spelling. The local part is compared without regard to case and quotes, as
   * mailboxes are.
   */
  isOwn(address: Address, own: OwnAddresses): boolean | Promise<boolean> {
    if (isAmong(address, own)) return true;
    const { recipients } = this.#init;
    if (own.length === 0 || recipients?.rewrites !== true) return false;
    return this.#leadsTo(address, own, recipients);
  }

  async #leadsTo(
    address: Address,
    own: OwnAddresses,
    recipients: NonNullable<SenderPolicyInit["recipients"]>,
  ): Promise<boolean> {
    const reached = await recipients.standsFor(address);
    if (!reached.some((one) => isAmong(one, own))) return false;
    return !recipients.isExtended(address) || !await this.#isAccount(address);
  }

  /** Danger: without this, with the delimiter "-" ann@ could send as the account ann-marie@. */
  async #isAccount(address: Address): Promise<boolean> {
    const { accounts } = this.#init;
    const text = address.toString();
    for (const name of new Set([text, text.toLowerCase()])) {
      if (await accounts?.find(name) !== undefined) return true;
      if (await accounts?.isDisabled?.(name) === true) return true;
    }
    return false;
  }
}

/** Whether an address is one of a list. */
function isAmong(address: Address, own: OwnAddresses): boolean {
  const domain = address.asciiDomain;
  const locals = ["", localKey(address.localPart)];
  return own.some((text) => {
    const at = text.lastIndexOf("@");
    return asciiDomain(text.slice(at + 1)) === domain &&
      locals.includes(localKey(text.slice(0, at)));
  });
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

  #judge(
    address: Address,
    own: OwnAddresses,
  ): SmtpReply | undefined | Promise<SmtpReply | undefined> {
    this.#own = own;
    const isOwn = address.isNull || this.#policy.isOwn(address, own);
    const reply = (known: boolean) => known ? undefined : replies.senderNotOwn;
    return typeof isOwn === "boolean" ? reply(isOwn) : isOwn.then(reply);
  }

  /** The reply that refuses a message for its header. */
  async header(headers: MessageHeaders): Promise<SmtpReply | undefined> {
    if (!this.applies) return undefined;
    const mailbox = responsibleMailbox(headers);
    const isOwn = mailbox !== undefined &&
      await this.#policy.isOwn(mailbox, this.#own);
    return isOwn ? undefined : replies.authorNotOwn;
  }
}
