/**
 * Forwarding of a server: which mail from outside gets another sender and a seal
 * when it leaves again, and which addresses of bounces lead back. The code that
 * rewrites and seals is loaded with the first start that wants it.
 */

import type { ForwardingOptions } from "../delivery/forwarding_options.ts";
import { describeError, type Logger } from "../log.ts";
import type {
  Forwarded,
  ForwardRequest,
  MailForwarder,
} from "../message/forwarder.ts";
import type { Message } from "../message/message.ts";
import { Address } from "../protocol/address.ts";
import { replies } from "../protocol/replies.ts";
import type { SmtpReply } from "../protocol/reply.ts";
import type { LocalTest } from "../session/local_domains.ts";
import { hasRoute } from "../session/mailbox_names.ts";
import type { ArcSealer } from "../trust/arc_seal.ts";
import type { Srs } from "../trust/srs.ts";
import { Watched } from "./signing.ts";

/** What forwarding needs of the server. */
export interface ForwardingInit {
  /** Whether an address is in a domain of the server. */
  readonly isOurs: LocalTest;
  readonly log: Logger;
}

const encoder = new TextEncoder();

export class Forwarding implements MailForwarder {
  readonly #options: ForwardingOptions;
  readonly #init: ForwardingInit;
  #srs: Srs | undefined;
  #sealer: ArcSealer | undefined;

  constructor(options: ForwardingOptions | undefined, init: ForwardingInit) {
    this.#options = options ?? {};
    this.#init = init;
  }

  /**
   * Loads what the options want.
   *
   * @throws {TypeError} If a name in `arc` cannot be used
   * @throws {SyntaxError} If the key in `arc` cannot be read
   */
  async load(): Promise<void> {
    const { srs, arc } = this.#options;
    if (srs !== undefined && this.#srs === undefined) {
      const { Srs } = await import("../trust/srs.ts");
      const { domain, secrets, validDays } = srs;
      this.#srs = new Srs({ domain, secrets, validDays });
    }
    if (arc !== undefined && this.#sealer === undefined) {
      const { ArcSealer } = await import("../trust/arc_seal.ts");
      this.#sealer = await ArcSealer.load(arc);
    }
  }

  /** Whether bounces come to addresses that it has made. */
  get takesBounces(): boolean {
    return this.#options.srs !== undefined;
  }

  get isActive(): boolean {
    return this.#srs !== undefined || this.#sealer !== undefined;
  }

  async forward(
    message: Message,
    { recipients, hasSender }: ForwardRequest,
  ): Promise<Forwarded> {
    const { isOurs } = this.#init;
    // What goes to a host behind this one is not forwarded.
    if (recipients.every(({ address }) => isOurs(address))) return {};
    const from = hasSender ? undefined : this.#senderFor(message);
    const seal = await this.#seal(message);
    return { from, seal: seal === "" ? undefined : encoder.encode(seal) };
  }

  /** The sender in place of the message's; `undefined` if that stays. */
  #senderFor({ from, id }: Message): string | undefined {
    if (this.#srs === undefined || from.isNull || this.#init.isOurs(from)) {
      return undefined;
    }
    const isRoute = hasRoute(from);
    const made = isRoute ? undefined : this.#srs.forward(from.toString());
    if (made !== undefined) return made;
    const why = isRoute ? "is a route that cannot" : "is too long to";
    this.#init.log({
      level: "warn",
      event: "warning",
      message:
        `The sender "${from}" ${why} be rewritten, and is forwarded as it is`,
      fields: { message: id },
    });
    return undefined;
  }

  /** The seal; `""` for none. A message without results was not checked. */
  async #seal(message: Message): Promise<string> {
    const sealer = this.#sealer;
    const { authentication } = message;
    if (sealer === undefined || authentication === undefined) return "";
    const { arc } = authentication;
    const facts = { arc, results: authentication.toString(), authservId: "" };
    const isBinary = message.parameters.body === "BINARYMIME";
    return await this.#made(
      message.chunks(),
      (content) => sealer.seal(content, { facts, isBinary }),
    );
  }

  async sealAgain(
    seal: Uint8Array,
    content: AsyncIterable<Uint8Array>,
  ): Promise<string> {
    const sealer = this.#sealer;
    if (sealer === undefined) return "";
    return await this.#made(
      content,
      (watched) => sealer.sealAgain(seal, watched),
    );
  }

  async #made(
    content: AsyncIterable<Uint8Array>,
    seal: (content: AsyncIterable<Uint8Array>) => Promise<string>,
  ): Promise<string> {
    const source = new Watched(content);
    try {
      return await seal(source);
    } catch (error) {
      if (source.hasFailed) throw error;
      // Mail must not be lost for want of a seal.
      this.#init.log({
        level: "error",
        event: "error",
        message: "Cannot seal a message: it goes without a seal",
        error: describeError(error),
      });
      return "";
    }
  }

  returnPath(sender: string, acceptedAt: number): string {
    return this.#srs?.reverse(sender, acceptedAt)?.address ?? sender;
  }

  /**
   * Decides on a recipient that forwarding has made: the address that it leads back
   * to, or the reply that refuses it; `undefined` for any other recipient.
   *
   * @param from The reverse-path: bounces have none
   */
  recipient(address: Address, from: Address): Address | SmtpReply | undefined {
    const outcome = this.#srs?.reverse(address.toString());
    if (outcome === undefined) return undefined;
    if (outcome.fault !== undefined) {
      return outcome.fault === "expired"
        ? replies.returnExpired
        : replies.noSuchUser;
    }
    const original = Address.parse(outcome.address);
    // The client chose it: it must not lead through a host that trusts this one.
    if (hasRoute(original) && !this.#init.isOurs(original)) {
      return replies.noSuchUser;
    }
    const { replies: takesReplies = false } = this.#options.srs!;
    return from.isNull || takesReplies ? original : replies.bouncesOnly;
  }
}

/**
 * Checks what forwarding needs of other options.
 *
 * @throws {TypeError} If something is missing
 */
export function checkForwarding(
  { srs, arc }: ForwardingOptions,
  others: { readonly hasDomains: boolean; readonly verifies: boolean },
): void {
  if (srs !== undefined && !others.hasDomains) {
    throw new TypeError(
      "Cannot rewrite senders by relay.forwarding.srs: want domains, too",
    );
  }
  if (arc !== undefined && !others.verifies) {
    throw new TypeError(
      "Cannot seal by relay.forwarding.arc: want verify, too",
    );
  }
}
