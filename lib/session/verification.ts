/**
 * What sessions check of the mail from outside, and what follows from it: which
 * message is checked, the result of `session.checkSpf()`, and the reply that
 * refuses a message for its results. The checks themselves are in
 * {@link ../trust/message_check.ts}, which is loaded only if it is wanted.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc9989 | RFC 9989},
 * {@link https://www.rfc-editor.org/rfc/rfc7372 | RFC 7372}
 */

import type { DnsClient } from "../dns/client.ts";
import { describeError, type Logger } from "../log.ts";
import type { Cidr } from "../net/cidr.ts";
import type { Address } from "../protocol/address.ts";
import { asciiDomain } from "../protocol/domain.ts";
import type { Envelope } from "../protocol/envelope.ts";
import { refusedByPolicy, replies } from "../protocol/replies.ts";
import type { SmtpReply } from "../protocol/reply.ts";
import type { MessageCheck, SenderCheck } from "../trust/message_check.ts";
import type {
  CheckedReverse,
  MessageAuthentication,
  SpfResult,
} from "../trust/result.ts";
import type { SmtpSession, SpfSource } from "./session.ts";
import { exemptNetworks, type VerifyOptions } from "./verify_options.ts";

/** The module of the checks. */
type Checks = typeof import("../trust/message_check.ts");

/** Loads the module of the checks. */
export function loadChecks(): Promise<Checks> {
  return import("../trust/message_check.ts");
}

/** What checks need of the server. */
export interface VerificationInit {
  /** The server's own name. */
  readonly hostname: string;
  readonly dns: DnsClient;
  readonly log: Logger;
}

/** The sender of the transaction of one session. */
interface Asked {
  /** The transaction: unset while its MAIL is not accepted yet. */
  envelope: Envelope | undefined;
  readonly from: Address;
  readonly ip: string;
  readonly helo: string;
  readonly check: SenderCheck;
}

/**
 * The SPF checks of a server's sessions: asked at most once for a transaction,
 * by a handler or because the message is checked.
 */
export class SessionSpf implements SpfSource {
  readonly #init: VerificationInit;
  /** The reverse-path in a MAIL that is not accepted yet. */
  readonly #offered = new WeakMap<SmtpSession, Address>();
  readonly #asked = new WeakMap<SmtpSession, Asked>();

  constructor(init: VerificationInit) {
    this.#init = init;
  }

  /** A client has offered a reverse-path: a transaction begins, and the handler of MAIL may ask about it. */
  offered(session: SmtpSession, from: Address): void {
    this.#offered.set(session, from);
    this.#asked.delete(session);
  }

  /** See {@linkcode SmtpSession.checkSpf}. */
  async checkSpf(session: SmtpSession): Promise<SpfResult> {
    const from = session.envelope?.from ?? this.#offered.get(session);
    if (from === undefined) {
      throw new TypeError(
        "Cannot check SPF: want a call in onMailFrom or later in the transaction",
      );
    }
    return await this.sender(session, from, await loadChecks()).mailFrom;
  }

  /**
   * The check of the sender of the transaction, begun before or now.
   *
   * Danger: the check of an earlier transaction is never used. A client that drops
   * a message stops the questions about it; the answers that never came would
   * stand for its next message, whose policy would not be enforced.
   */
  sender(session: SmtpSession, from: Address, checks: Checks): SenderCheck {
    const { remoteAddress: ip, helo = "", envelope } = session;
    const known = this.#asked.get(session);
    // Transactions may share the address: the last ones are cached by their text.
    const isOfThis = known?.from === from && known.ip === ip &&
      known.helo === helo && (known.envelope ?? envelope) === envelope;
    if (isOfThis) {
      known.envelope = envelope;
      return known.check;
    }
    const { dns, hostname } = this.#init;
    const check = new checks.SenderCheck({
      ...{ ip, helo, from: from.toString() },
      receiver: asciiDomain(hostname),
    }, dns);
    this.#asked.set(session, { envelope, from, ip, helo, check });
    return check;
  }
}

/** The checks that `verify` asks for. */
export class Verification {
  readonly #options: VerifyOptions;
  readonly #exempt: readonly Cidr[];
  readonly #sealers: ReadonlySet<string>;
  readonly #init: VerificationInit & { readonly spf: SessionSpf };
  readonly #checks: Checks;
  readonly #settings: ConstructorParameters<Checks["MessageCheck"]>[0];

  constructor(
    options: VerifyOptions,
    init: VerificationInit & { readonly spf: SessionSpf },
    checks: Checks,
  ) {
    this.#options = options;
    this.#exempt = exemptNetworks(options);
    this.#sealers = new Set(options.trustedSealers?.map(asciiDomain));
    this.#init = init;
    this.#checks = checks;
    const { log } = init;
    this.#settings = {
      authservId: asciiDomain(options.authservId ?? init.hostname),
      timeoutMs: options.timeoutMs ?? 20_000,
      minKeyBits: options.minKeyBits ?? 1024,
      maxSignatures: options.maxSignatures ?? 10,
      spf: options.spf ?? true,
      dkim: options.dkim ?? true,
      arc: options.arc ?? true,
      receivedSpf: options.receivedSpf ?? false,
      failed: (check, error) =>
        log({
          level: "error",
          event: "error",
          message: `The check of ${check} failed, and counts as not answered`,
          error: describeError(error),
        }),
    };
  }

  /** Whether the mail of a session is checked, in its present state. */
  applies({ kind, username, remoteAddress }: SmtpSession): boolean {
    return kind === "smtp" && username === undefined &&
      !this.#exempt.some((network) => network.contains(remoteAddress));
  }

  /** Begins to ask about a sender; the answers are used by {@linkcode begin}. */
  offered(session: SmtpSession, from: Address): void {
    if (!this.applies(session) || !this.#settings.spf) return;
    const sender = this.#init.spf.sender(session, from, this.#checks);
    void sender.mailFrom;
    void sender.helo;
  }

  /** Begins to check the message of a session; `undefined` if it is not checked. */
  begin(session: SmtpSession, from: Address): MessageCheck | undefined {
    if (!this.applies(session)) return undefined;
    const { spf, dns } = this.#init;
    const reverse = this.#options.reverse
      ? reverseOf(dns, session.remoteAddress)
      : undefined;
    return new this.#checks.MessageCheck(
      this.#settings,
      spf.sender(session, from, this.#checks),
      reverse,
    );
  }

  /** The reply that refuses a message for its results, if the options want it refused. */
  refusal(results: MessageAuthentication): SmtpReply | undefined {
    const { dmarc } = results;
    const isRejected = this.#options.dmarc === "enforce" &&
      dmarc.result === "fail" && dmarc.policy === "reject" &&
      !this.#isSealed(results);
    if (isRejected) return refusedByPolicy(dmarc.author ?? "");
    if (this.#options.onTemporary !== "defer") return undefined;
    const { spf, dkim } = results;
    if (spf.result === "temperror") return replies.spfUnknown;
    const isOpen = dkim.some(({ result }) => result === "temperror") &&
      !dkim.some(({ result }) => result === "pass");
    if (isOpen) return replies.dkimUnknown;
    return dmarc.result === "temperror" ? replies.policyUnknown : undefined;
  }

  /** Whether a forwarder that is trusted vouches for the message. */
  #isSealed({ arc }: MessageAuthentication): boolean {
    const newest = arc.sealedBy.at(-1);
    return arc.result === "pass" && newest !== undefined &&
      this.#sealers.has(newest);
  }
}

/** The words of the outcome for a client's own name. */
async function reverseOf(
  dns: DnsClient,
  address: string,
): Promise<CheckedReverse> {
  const { status, confirmed } = await dns.confirmReverse(address);
  const result = {
    confirmed: "pass",
    unconfirmed: "fail",
    none: "permerror",
    failed: "temperror",
  } as const;
  return { result: result[status], name: confirmed[0] };
}
