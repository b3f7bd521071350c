/**
 * The client: one session with one server, one message after another. Owns the
 * life of the session; the rules of the dialogue are in `protocol/client/`.
 *
 * Never decides what a refusal means for a message (`delivery/outcome.ts` does),
 * and never sends on a session that is out of step.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321 | RFC 5321},
 * {@link https://www.rfc-editor.org/rfc/rfc6409 | RFC 6409},
 * {@link https://www.rfc-editor.org/rfc/rfc2033 | RFC 2033}
 */

import { checkOptions, optionError } from "../options.ts";
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
  type ConvertedContent,
  type PreparedRecipient,
  prepareMessage,
  prepareRecipients,
  prepareSender,
  SEND_RULES,
  type SendOptions,
} from "./message.ts";
import { parseHop } from "./next_hop.ts";
import { defaultSecurity, openSession } from "./opening.ts";
import {
  CLIENT_RULES,
  type ClientNetwork,
  type ClientProgress,
  MESSAGE_STEPS,
  type SettledClientOptions,
  type SmtpClientOptions,
} from "./options.ts";
import { ClientSession } from "./session.ts";
import { fittingRecipients, type SendingPlan } from "./sending_plan.ts";

/** The result for one recipient. */
export interface SentRecipient {
  /** The recipient, as given. */
  readonly address: Address;
  /** Whether the server took the message for this recipient. */
  readonly accepted: boolean;
  /** The reply that decided: the server's, or one made here if the server gave none. */
  readonly reply: SmtpReply;
  /** Whether the reply is the server's. */
  readonly fromPeer: boolean;
  /** The step that decided. */
  readonly stage: ClientStage;
  /** Whether the session broke before the server had decided. */
  readonly broken: boolean;
}

/**
 * The result of {@linkcode SmtpClient.send}.
 *
 * @example The recipients that a server refused
 * ```ts
 * import {
 *   type ClientCapabilities,
 *   type ClientLimits,
 *   type ClientStage,
 *   type SendOptions,
 *   type SendResult,
 *   type SentRecipient,
 *   SmtpClient,
 * } from "@smtp/server/client";
 * import { startTestServer } from "@smtp/server/testing";
 *
 * const stages: readonly ClientStage[] = ["rcpt"];
 * const refused = ({ recipients }: SendResult): SentRecipient[] =>
 *   recipients.filter(({ accepted, stage }) =>
 *     !accepted && stages.includes(stage)
 *   );
 * const limits = ({ limits }: ClientCapabilities): ClientLimits => limits;
 *
 * await using server = await startTestServer({ domains: ["example.com"] });
 * const { address: host, port } = server;
 * await using client = await SmtpClient.connect({ host, port });
 * console.assert(limits(client.capabilities).rcptMax === 1000);
 * const message: SendOptions = {
 *   from: "me@client.example",
 *   to: [
 *     "you@example.com",
 *     { address: "him@example.org", parameters: { notify: ["NEVER"] } },
 *   ],
 *   data: "Subject: hello\r\n\r\nIt works.\r\n",
 * };
 * const [first] = refused(await client.send(message));
 * console.assert(String(first?.address) === "him@example.org");
 * ```
 */
export interface SendResult {
  /** The recipients in the order given. */
  readonly recipients: readonly SentRecipient[];
  /** Whether the server took the message for all of them. */
  readonly accepted: boolean;
  /** Whether the server supports DSN and so has taken over the duty to report (RFC 3461). */
  readonly dsnPassedOn: boolean;
  /** Whether the server got BY and so sees to the time of delivery (RFC 2852). Default: it did not. */
  readonly deliverByPassedOn?: boolean | undefined;
  /**
   * How a server that offers CHUNKING failed at BDAT: `"refused"` if it does not
   * know the command, `"no-answer"` if it did not answer. The next session
   * should have `chunking: false`.
   */
  readonly bdatFailure?: "refused" | "no-answer" | undefined;
}

/** The progress of each phase of a transaction. */
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
  readonly #options: SettledClientOptions;
  readonly #tlsFailure: SmtpClientError | undefined;
  #busy = false;
  #sent = 0;
  #closed = false;

  private constructor(
    session: ClientSession,
    options: SettledClientOptions,
    tlsFailure?: SmtpClientError,
  ) {
    // For programs without type checks.
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
   * @param options The options, or a host alone, as `"mail.example.com:25"`
   * @throws {SmtpClientError} If the session cannot be opened
   * @throws {TypeError} If an option is unknown, missing or of the wrong kind
   * @throws {SyntaxError} If the text is not a host
   */
  static connect(options: SmtpClientOptions | string): Promise<SmtpClient>;
  /** @internal */
  static connect(
    options: SmtpClientOptions | string,
    network: ClientNetwork,
  ): Promise<SmtpClient>;
  static async connect(
    given: SmtpClientOptions | string,
    network: ClientNetwork = {},
  ): Promise<SmtpClient> {
    const options = settledOptions(given);
    try {
      return new SmtpClient(await openSession(options, network), options);
    } catch (error) {
      const opportunistic = defaultSecurity(options) === "opportunistic" &&
        !options.implicitTls;
      if (!opportunistic || !isTlsFailure(error)) throw error;
      let failure = error;
      if (error.cause instanceof SmtpClientError) {
        // The handshake succeeded, and the server ended the session right after
        // it. Only a second time shows that this is no accident.
        try {
          return new SmtpClient(await openSession(options, network), options);
        } catch (second) {
          if (!isTlsFailure(second)) throw second;
          failure = second;
        }
      }
      // The server offers TLS and fails at it. The policy permits to send without
      // TLS: try again without.
      const plain = { ...options, security: "none" as const };
      const session = await openSession(plain, network);
      return new SmtpClient(session, options, failure);
    }
  }

  /** The extensions and limits of the server. */
  get capabilities(): ClientCapabilities {
    return this.#session.protocol.capabilities;
  }

  /** The server's address. */
  get remote(): SocketAddress {
    return this.#session.transport.remote;
  }

  /** The encryption in force; `undefined` without TLS. */
  get tls(): TlsInfo | undefined {
    return this.#session.transport.tls;
  }

  /** The failure that made opportunistic TLS go on without TLS; `undefined` without such a failure. */
  get tlsFailure(): SmtpClientError | undefined {
    return this.#tlsFailure;
  }

  /** Messages sent on this session, refused ones included. */
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
   * Watches the session until the next message, and closes it when the server
   * sends anything or closes the connection. A server that ends an idle session
   * may send a reply first; the client must not take it for the answer to a later
   * command. A read is pending meanwhile, so a watched session must be closed at
   * some time.
   *
   * @param onEnd Called when the server has ended the session or sent anything
   */
  watch(onEnd: () => void): void {
    if (!this.isReusable) return;
    this.#session.watch(() => {
      this.close();
      onEnd();
    });
  }

  /**
   * Sends one message. The result holds the server's refusals and a broken
   * connection; it does not throw for these. Recipients beyond the server's limit
   * for one transaction (RFC 9422) get the reply 452 4.5.3 here: send to them
   * again.
   *
   * @throws {Error} If the session is closed, broken or busy
   * @throws {TypeError} If there is no recipient, or an option is unknown or of the wrong kind
   * @throws {AddressSyntaxError} If an address cannot be parsed
   */
  send(options: SendOptions): Promise<SendResult>;
  /** @internal */
  send(options: SendOptions, after: ConvertedContent): Promise<SendResult>;
  async send(
    options: SendOptions,
    after?: ConvertedContent,
  ): Promise<SendResult> {
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
        return await this.#send(options, { from, recipients, after });
      }
      const result = await this.#send(options, {
        ...{ from, after },
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
      readonly after: ConvertedContent | undefined;
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
      isEncrypted: this.tls !== undefined,
      // The first flight on an idle session may find it closed. Content must not
      // be part of it, or it might be delivered twice.
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
      onPhase: onProgress && reportSteps(onProgress),
    }).finally(() => {
      session.signal = undefined;
      // The source may not have been read to its end: close it.
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
      ...(plan.parameters.by !== undefined && { deliverByPassedOn: true }),
      bdatFailure: plan.framing === "data" ? undefined : bdatFailure(sent),
    };
  }

  /** Sends QUIT, waits for the reply, and closes. Idempotent; never throws. */
  async quit(): Promise<void> {
    const { protocol } = this.#session;
    if (!this.#closed && !this.#busy && protocol.state === "ready") {
      this.#busy = true;
      try {
        this.#session.allow("quit");
        protocol.quit();
        await this.#session.run();
      } catch {
        // The server may be gone already.
      }
    }
    this.close();
  }

  /** Closes at once, without QUIT. A message that is being sent fails. Idempotent. */
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
 * Reports the steps that a transaction reaches, each once and in order. Replies
 * to a pipelined flight begin with that to MAIL, while its content may be on its
 * way already.
 */
function reportSteps(
  onProgress: (progress: ClientProgress) => void,
): (phase: ClientPhase) => void {
  let reported = 0;
  return (phase) => {
    const progress = PROGRESS[phase];
    if (progress === undefined) return;
    const reached = MESSAGE_STEPS.indexOf(progress);
    for (; reported <= reached; reported++) {
      onProgress(MESSAGE_STEPS[reported]!);
    }
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

/** Whether TLS failed, or the session ended right after its handshake. */
function isTlsFailure(error: unknown): error is SmtpClientError {
  return error instanceof SmtpClientError && error.stage === "tls";
}

/** How BDAT failed for recipients that waited for the end of the content, if it did. */
function bdatFailure(
  sent: readonly SentRecipient[],
): SendResult["bdatFailure"] {
  if (sent.some(refusesBdat)) return "refused";
  const unanswered = sent.some(({ stage, broken, fromPeer }) =>
    stage === "dataEnd" && broken && !fromPeer
  );
  return unanswered ? "no-answer" : undefined;
}

/** The reply for recipients beyond the server's limit. */
const BEYOND_LIMIT = new SmtpReply(
  452,
  "More recipients than the server takes in one transaction",
  { enhanced: "4.5.3" },
);

/** The reply for a recipient without any answer of the server. */
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

/**
 * Checks the options of {@linkcode SmtpClient.connect}.
 *
 * @throws {TypeError} If an option is unknown, missing or of the wrong kind
 * @throws {SyntaxError} If a text is no host
 */
function settledOptions(
  given: SmtpClientOptions | string,
): SettledClientOptions {
  if (typeof given === "string") return parseHop(given);
  const of = "SmtpClient.connect";
  checkOptions(of, given, CLIENT_RULES, '{ host: "mail.example.com" }');
  const { host, path } = given;
  if (host === undefined && path === undefined) {
    throw optionError({ path: "host", of, secret: false }, host, {
      want: 'a host, as "mail.example.com", or a path of a unix socket',
    });
  }
  return { ...given, host: host ?? "localhost" };
}
