/**
 * The client: one session with one server, message after message. Owns the
 * session's life; the rules of the dialogue are in `protocol/`.
 *
 * Never decides what a refusal means for a message (that is `outcome.ts`), and
 * never sends on a session that has behaved oddly.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321 | RFC 5321},
 * {@link https://www.rfc-editor.org/rfc/rfc6409 | RFC 6409},
 * {@link https://www.rfc-editor.org/rfc/rfc2033 | RFC 2033}
 */

import { checkOptions } from "../options.ts";
import type { SocketAddress, TlsInfo } from "../net/transport.ts";
import type { Address } from "../protocol/address.ts";
import type { ClientCapabilities } from "../protocol/client/capabilities.ts";
import type { ClientPhase } from "../protocol/client/state.ts";
import type { RecipientOutcome } from "../protocol/client/transaction.ts";
import { SmtpReply } from "../protocol/reply.ts";
import {
  type ClientStage,
  faultReply,
  refusesBdat,
  SmtpClientError,
} from "./error.ts";
import {
  type PreparedRecipient,
  prepareMessage,
  prepareRecipients,
  prepareSender,
  SEND_RULES,
  type SendOptions,
} from "./message.ts";
import { defaultSecurity, openSession } from "./opening.ts";
import {
  CLIENT_RULES,
  type ClientNetwork,
  type ClientProgress,
  MESSAGE_STEPS,
  type SmtpClientOptions,
} from "./options.ts";
import { ClientSession } from "./session.ts";
import { fittingRecipients, type SendingPlan } from "./sending_plan.ts";

/** What became of one recipient. */
export interface SentRecipient {
  /** The recipient, as given. */
  readonly address: Address;
  /** Whether the server took the message for this recipient. */
  readonly accepted: boolean;
  /** The reply that decided: the server's, or one made here where there was none. */
  readonly reply: SmtpReply;
  /** Whether the reply is the server's. */
  readonly fromPeer: boolean;
  /** The step that decided. */
  readonly stage: ClientStage;
  /** Whether the session broke before the server had decided. */
  readonly broken: boolean;
}

/** What became of a message. */
export interface SendResult {
  /** The recipients in the order given. */
  readonly recipients: readonly SentRecipient[];
  /** Whether the server took the message for all of them. */
  readonly accepted: boolean;
  /** Whether the server has taken over the duty to report (RFC 3461). */
  readonly dsnPassedOn: boolean;
  /**
   * Whether a server that offers CHUNKING failed at BDAT: `"refused"` where it
   * does not know the command, `"no-answer"` where it did not answer. The next
   * session should have `chunking: false`.
   */
  readonly bdatFailure?: "refused" | "no-answer" | undefined;
}

/** The progress that a phase of a transaction means. */
const PROGRESS: Readonly<
  Partial<Record<ClientPhase, ClientProgress>>
> = {
  mail: "mail-from",
  rcpt: "rcpt-to",
  data: "data",
  body: "sending-body",
};

/**
 * A session with an SMTP or LMTP server.
 *
 * @example Send a message
 * ```ts
 * import { SmtpClient } from "@smtp/server/client";
 * import { startTestServer } from "@smtp/server/testing";
 *
 * await using server = await startTestServer();
 * await using client = await SmtpClient.connect({
 *   host: server.address,
 *   port: server.port,
 *   // login: { username: "ann", password: "secret" },
 * });
 * const { recipients } = await client.send({
 *   from: "ann@example.com",
 *   to: ["bob@example.org"],
 *   data: "Subject: Hello\r\n\r\nHow are you?\r\n",
 * });
 * console.assert(recipients[0]?.reply?.code === 250);
 * ```
 */
export class SmtpClient {
  readonly #session: ClientSession;
  readonly #options: SmtpClientOptions;
  readonly #tlsFailure: SmtpClientError | undefined;
  #busy = false;
  #sent = 0;
  #closed = false;

  private constructor(
    session: ClientSession,
    options: SmtpClientOptions,
    tlsFailure?: SmtpClientError,
  ) {
    // For programs that are not checked for types.
    if (!(session instanceof ClientSession)) {
      throw new TypeError(
        "Cannot make a SmtpClient by new: want await SmtpClient.connect({ host })",
      );
    }
    this.#session = session;
    this.#options = options;
    this.#tlsFailure = tlsFailure;
  }

  /**
   * Connects, and makes the session ready for a message. Requires `allow-net`.
   *
   * @throws {SmtpClientError} If no session comes about
   * @throws {TypeError} If an option is unknown or of the wrong kind
   */
  static connect(options: SmtpClientOptions): Promise<SmtpClient>;
  /** @internal */
  static connect(
    options: SmtpClientOptions,
    network: ClientNetwork,
  ): Promise<SmtpClient>;
  static async connect(
    options: SmtpClientOptions,
    network: ClientNetwork = {},
  ): Promise<SmtpClient> {
    checkOptions(
      "SmtpClient.connect",
      options,
      CLIENT_RULES,
      '{ host: "mail.example.com" }',
    );
    try {
      return new SmtpClient(await openSession(options, network), options);
    } catch (error) {
      const opportunistic = defaultSecurity(options) === "opportunistic" &&
        !options.implicitTls;
      if (!opportunistic || !isTlsFailure(error)) throw error;
      let failure = error;
      if (error.cause instanceof SmtpClientError) {
        // TLS came about, and the server ended the session: that may have been
        // chance. A second time it is not.
        try {
          return new SmtpClient(await openSession(options, network), options);
        } catch (second) {
          if (!isTlsFailure(second)) throw second;
          failure = second;
        }
      }
      // The server offers TLS and cannot do it. Without TLS the message would
      // have gone in the clear, too: once more, without.
      const plain = { ...options, security: "none" as const };
      const session = await openSession(plain, network);
      return new SmtpClient(session, options, failure);
    }
  }

  /** What the server offers. */
  get capabilities(): ClientCapabilities {
    return this.#session.protocol.capabilities;
  }

  /** The server's address. */
  get remote(): SocketAddress {
    return this.#session.transport.remote;
  }

  /** The encryption in force, `undefined` without. */
  get tls(): TlsInfo | undefined {
    return this.#session.transport.tls;
  }

  /** Why opportunistic TLS was given up, `undefined` where it was not. */
  get tlsFailure(): SmtpClientError | undefined {
    return this.#tlsFailure;
  }

  /** Messages sent on this session, whatever became of them. */
  get sent(): number {
    return this.#sent;
  }

  /** Whether another message may be sent. */
  get isReusable(): boolean {
    return !this.#closed && !this.#busy &&
      this.#session.protocol.isReusable &&
      this.#sent < this.capabilities.limits.mailMax;
  }

  /**
   * Watches the session until the next message: a server that ends an idle
   * session may say so first, and that must not be taken for the answer to a
   * later command. The session is closed then. A read is pending meanwhile: a
   * session that is watched must be closed in the end.
   *
   * @param onEnd Called when the server ended the session, or said what was not asked
   */
  watch(onEnd: () => void): void {
    if (!this.isReusable) return;
    this.#session.watch(() => {
      this.close();
      onEnd();
    });
  }

  /**
   * Sends one message. What the server says to it, and a connection that
   * breaks, is in the result; it does not throw for these. Recipients beyond
   * what the server takes in one transaction (RFC 9422) are answered with
   * 452 4.5.3 here: send to them again.
   *
   * @throws {Error} If the session is closed, broken or busy
   * @throws {TypeError} If there is no recipient, or an option is unknown or of the wrong kind
   * @throws {AddressSyntaxError} If an address is none
   */
  async send(options: SendOptions): Promise<SendResult> {
    if (!this.isReusable) {
      throw new Error(
        `Cannot send on a session that is ${
          this.#busy ? "busy" : "closed or broken"
        }: want one that is idle`,
      );
    }
    checkOptions("SmtpClient.send", options, SEND_RULES, "{ from, to, data }");
    if (options.to.length === 0) {
      throw new TypeError("Cannot send a message without a recipient");
    }
    const from = prepareSender(options.from);
    const recipients = prepareRecipients(options.to);
    const fitting = fittingRecipients(
      recipients.map(({ wire }) => wire.domain),
      this.capabilities.limits,
    );
    this.#busy = true;
    try {
      if (fitting.length === recipients.length) {
        return await this.#send(options, { from, recipients });
      }
      const result = await this.#send(options, {
        from,
        recipients: fitting.map((index) => recipients[index]!),
      });
      const all = [...refuseAll(recipients, BEYOND_LIMIT, "rcpt").recipients];
      for (const [at, index] of fitting.entries()) {
        all[index] = result.recipients[at]!;
      }
      return { ...result, recipients: all, accepted: false };
    } finally {
      this.#busy = false;
      if (this.#session.protocol.state === "broken") this.close();
    }
  }

  async #send(
    options: SendOptions,
    envelope: {
      readonly from: Address;
      readonly recipients: readonly PreparedRecipient[];
    },
  ): Promise<SendResult> {
    const { recipients } = envelope;
    const { signal } = options;
    const { chunking, lmtp } = this.#options;
    const onProgress = options.onProgress ?? this.#options.onProgress;
    signal?.throwIfAborted();
    // BDAT is not for LMTP: one chunk would have many replies.
    const chunks = chunking !== false && lmtp !== true;
    const message = await prepareMessage(options, {
      capabilities: chunks
        ? this.capabilities
        : this.capabilities.without("CHUNKING", "BINARYMIME"),
      // On a session that was idle the first flight may find it closed: content
      // must not be part of it, or it might be delivered twice.
      mayBeEager: chunks && this.#sent === 0,
      encodesLongLines: this.#options.longLines === "encode",
      ...envelope,
    }).catch((error) => {
      this.close();
      throw error;
    });
    if ("refusal" in message) return refuseAll(recipients, message.refusal);
    const session = this.#session;
    session.signal = signal;
    session.allow("message");
    session.protocol.transaction(message.envelope);
    this.#sent++;
    await session.run({
      content: message.content,
      whole: message.whole,
      onPhase: onProgress && tellSteps(onProgress),
    }).finally(() => {
      session.signal = undefined;
      // A source that was not read to its end must be let go.
      message.content.return?.()?.catch(() => {});
    });
    onProgress?.("done");
    return this.#result(recipients, message.plan);
  }

  #result(
    recipients: readonly PreparedRecipient[],
    plan: SendingPlan,
  ): SendResult {
    const { outcomes } = this.#session.protocol;
    const sent = recipients.map(({ address }, index) =>
      describe(address, { outcome: outcomes[index]!, host: this.#options.host })
    );
    return {
      recipients: sent,
      accepted: sent.every(({ accepted }) => accepted),
      dsnPassedOn: plan.dsn,
      bdatFailure: plan.framing === "data" ? undefined : bdatFailure(sent),
    };
  }

  /** Says QUIT and closes. Idempotent; never throws. */
  async quit(): Promise<void> {
    const { protocol } = this.#session;
    if (!this.#closed && !this.#busy && protocol.state === "ready") {
      this.#busy = true;
      try {
        this.#session.allow("quit");
        protocol.quit();
        await this.#session.run();
      } catch {
        // The server is not obliged to be there for our good-bye.
      }
    }
    this.close();
  }

  /** Closes at once, without QUIT. A message under way fails. Idempotent. */
  close(): void {
    this.#closed = true;
    this.#session.transport.close();
  }

  /** As {@linkcode SmtpClient.quit}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.quit();
  }
}

/**
 * Tells the steps that a transaction has reached, each once and in order. What
 * goes out in one flight is answered from its beginning: the content may be on
 * its way when the reply to MAIL is still awaited.
 */
function tellSteps(
  onProgress: (progress: ClientProgress) => void,
): (phase: ClientPhase) => void {
  let told = 0;
  return (phase) => {
    const progress = PROGRESS[phase];
    if (progress === undefined) return;
    const reached = MESSAGE_STEPS.indexOf(progress);
    for (; told <= reached; told++) onProgress(MESSAGE_STEPS[told]!);
  };
}

function describe(
  address: Address,
  facts: { outcome: RecipientOutcome; host: string },
): SentRecipient {
  const { accepted, phase, reply, fault } = facts.outcome;
  return {
    address,
    accepted,
    reply: reply ?? (fault ? faultReply(fault, facts.host) : UNDECIDED),
    fromPeer: reply !== undefined,
    stage: phase,
    broken: fault !== undefined,
  };
}

/** Whether TLS failed, or the session ended right behind its handshake. */
function isTlsFailure(error: unknown): error is SmtpClientError {
  return error instanceof SmtpClientError && error.stage === "tls";
}

/** How BDAT failed for those that wait for the end of the content, if it did. */
function bdatFailure(
  sent: readonly SentRecipient[],
): SendResult["bdatFailure"] {
  if (sent.some(refusesBdat)) return "refused";
  const unanswered = sent.some(({ stage, broken, fromPeer }) =>
    stage === "dataEnd" && broken && !fromPeer
  );
  return unanswered ? "no-answer" : undefined;
}

/** Stands where there are more recipients than the server takes. */
const BEYOND_LIMIT = new SmtpReply(
  452,
  "More recipients than the server takes in one transaction",
  { enhanced: "4.5.3" },
);

/** Stands where a server leaves a recipient without any answer. */
const UNDECIDED = new SmtpReply(451, "The server gave no answer", {
  enhanced: "4.5.0",
});

function refuseAll(
  recipients: readonly PreparedRecipient[],
  reply: SmtpReply,
  stage: ClientStage = "mail",
): SendResult {
  return {
    recipients: recipients.map(({ address }) => ({
      address,
      accepted: false,
      reply,
      fromPeer: false,
      stage,
      broken: false,
    })),
    accepted: false,
    dsnPassedOn: false,
  };
}
