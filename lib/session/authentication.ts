/**
 * AUTH in a session: runs the SASL exchange of each command and chooses the
 * replies. The room `sasl` reads the messages; the accounts or `onAuthenticate`
 * decide on the login.
 *
 * No secret of a client reaches a log or a reply.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc4954 | RFC 4954}
 */

import { NOTHING } from "../protocol/bytes.ts";
import { SmtpError, SmtpReply } from "../protocol/reply.ts";
import { replies } from "../protocol/replies.ts";
import type { ServerAsk, Verdict } from "../protocol/server/effects.ts";
import { authenticateWith } from "../sasl/accounts.ts";
import { decodeBase64Strict, encodeBase64 } from "../sasl/encoding.ts";
import { tlsServerEndPoint } from "../sasl/channel_binding.ts";
import type { Credentials } from "../sasl/credentials.ts";
import {
  type MechanismName,
  parseMechanismName,
} from "../sasl/mechanism_name.ts";
import {
  type ExchangeChallenge,
  type ExchangeResult,
  ServerExchange,
} from "../sasl/server_exchange.ts";
import { createServerMechanism } from "../sasl/registry.ts";
import type { AuthenticationContext } from "./authentication_context.ts";
import { logHandlerFailure, logLogin } from "./log.ts";
import type { LoginAttempt } from "./login_guard.ts";
import type { SmtpSession } from "./session.ts";

/** Failed logins after which a session ends. */
const SESSION_BUDGET = 3;

/** The next step of an AUTH command: the verdict, or a challenge to the client. */
export type AuthenticationStep = Verdict | { readonly challenge: string };

/** One AUTH command. */
interface Attempt {
  readonly exchange: ServerExchange;
  /** The reply that `onAuthenticate` chose. */
  reply?: SmtpReply | undefined;
  /** Set when the attempt counts as a failed login; resolves when the reply may be sent. */
  counted?: Promise<void>;
  /** Whether the client cancelled the exchange or disconnected. */
  isAbandoned?: true;
  /** Whether the account exists and may not log in. */
  isDisabled?: boolean | undefined;
  /** Whether the log has its record. */
  isReported?: true;
}

/** The logins of one session. */
export class Authentication {
  readonly #context: AuthenticationContext;
  readonly #session: SmtpSession;
  #attempt: Attempt | undefined;
  #failures = 0;

  constructor(context: AuthenticationContext, session: SmtpSession) {
    this.#context = context;
    this.#session = session;
  }

  /** The mechanisms available on the connection as it is now. */
  get mechanisms(): readonly MechanismName[] {
    if (this.#needsTls) return [];
    const { tls } = this.#session;
    return this.#context.mechanisms.filter((name) =>
      name === "SCRAM-SHA-256-PLUS"
        ? this.#channelBinding() !== undefined
        : name === "EXTERNAL"
        ? tls?.peerCertificate !== undefined && tls.authorized
        : true
    );
  }

  get #needsTls(): boolean {
    return this.#session.tls === undefined && !this.#context.allowInsecure;
  }

  #channelBinding(): Uint8Array | undefined {
    const own = this.#session.tls?.ownCertificate;
    return own && tlsServerEndPoint(own);
  }

  /** Answers an AUTH command. */
  start(
    request: ServerAsk & { readonly ask: "auth" },
  ): AuthenticationStep | Promise<AuthenticationStep> {
    if (this.#needsTls) return replies.encryptionRequired;
    const name = parseMechanismName(request.mechanism);
    if (name === undefined || !this.mechanisms.includes(name)) {
      return replies.mechanismUnknown;
    }
    const { initial } = request;
    if (initial !== undefined && name === "CRAM-MD5") {
      return replies.noInitialResponse;
    }
    const response = initial === "=" ? NOTHING : decode(initial);
    if (initial !== undefined && response === undefined) {
      return replies.notBase64;
    }
    const attempt = this.#newAttempt(name);
    this.#attempt = attempt;
    return attempt.exchange.start(response).then((step) =>
      this.#step(attempt, step)
    );
  }

  #newAttempt(name: MechanismName): Attempt {
    const { hostname, accounts, saltKey } = this.#context;
    const mechanism = createServerMechanism(name, {
      hostname,
      channelBinding: this.mechanisms.includes("SCRAM-SHA-256-PLUS")
        ? this.#channelBinding()
        : undefined,
      certificate: this.#session.tls?.peerCertificate,
      decoy: accounts?.decoy,
      saltKey,
    });
    const attempt: Attempt = {
      exchange: new ServerExchange(mechanism, {
        authenticate: (credentials) => this.#decide(attempt, credentials),
      }),
    };
    return attempt;
  }

  /** Answers the client's next line; `undefined` stands for a line that is too long. */
  line(
    text: string | undefined,
  ): AuthenticationStep | Promise<AuthenticationStep> {
    const attempt = this.#attempt!;
    const response = decode(text);
    if (response === undefined) {
      // RFC 4954 section 4: a single `*` cancels the exchange.
      const why = text === undefined
        ? replies.authLineTooLong
        : text === "*"
        ? replies.authCancelled
        : replies.notBase64;
      this.#report(giveUp(attempt), attempt);
      return this.#refuse(attempt, why);
    }
    return attempt.exchange.respond(response).then((step) =>
      this.#step(attempt, step)
    );
  }

  /** Cancels the exchange: the session has ended. */
  end(): void {
    const attempt = this.#attempt;
    if (attempt === undefined) return;
    const result = giveUp(attempt);
    // A client that leaves before it has the last reply has used its guess too.
    if (attempt.counted !== undefined && !attempt.isReported) {
      this.#report(result, attempt);
    }
  }

  /** Checks the credentials, and learns for the log why they are refused. */
  async #decide(attempt: Attempt, credentials: Credentials): Promise<boolean> {
    const ok = await this.#judge(attempt, credentials);
    const { accounts, handlers } = this.#context;
    if (!ok && handlers.onAuthenticate === undefined) {
      // After the failure counts, which nothing may delay. Asked about every
      // account, so that the time is the same.
      attempt.isDisabled = await accounts!.isDisabled?.(credentials.username);
    }
    return ok;
  }

  /**
   * Checks the credentials. A failure counts here, before the reply: a client
   * that disconnects without reading the reply has still used its guess.
   */
  async #judge(attempt: Attempt, credentials: Credentials): Promise<boolean> {
    const { guard } = this.#context;
    const login = this.#loginOf(credentials.username);
    if (!await guard.enter(login)) {
      // At once, for every mechanism: without a look-up of the account, SCRAM
      // would show a salt other than the account's.
      throw new SmtpError(replies.tooManyLogins);
    }
    let refused = false;
    try {
      const ok = await this.#ask(attempt, credentials);
      refused = !ok && attempt.isAbandoned === undefined;
      return ok;
    } catch (error) {
      attempt.reply = replyOf(error);
      refused = attempt.reply !== undefined;
      throw error;
    } finally {
      // A 4xx does not show whether the secret was right.
      if (refused && !attempt.reply?.isTemporary) {
        attempt.counted = guard.fail(login);
      }
      guard.leave(login);
    }
  }

  async #ask(attempt: Attempt, credentials: Credentials): Promise<boolean> {
    const { accounts, handlers } = this.#context;
    if (handlers.onAuthenticate === undefined) {
      return await authenticateWith(accounts!)(credentials);
    }
    const result = await handlers.onAuthenticate(
      this.#session,
      credentials,
    );
    attempt.reply = replyOf(result);
    return result === true || attempt.reply?.code.toString()[0] === "2";
  }

  #loginOf(account: string): LoginAttempt {
    return { address: this.#session.remoteAddress, account };
  }

  async #step(
    attempt: Attempt,
    step: ExchangeChallenge | ExchangeResult,
  ): Promise<AuthenticationStep> {
    const { guard } = this.#context;
    if (!step.done) {
      // A rejected token is answered with a challenge.
      await attempt.counted;
      return { challenge: encodeBase64(step.challenge) };
    }
    this.#report(step, attempt);
    const login = this.#loginOf(step.username);
    if (step.ok) {
      guard.succeed(login);
      this.#session.username = step.username;
      return attempt.reply;
    }
    const why = this.#reasonOf(attempt, step);
    if (step.failure === "refused" && !why.isTemporary) {
      // The exchange may fail after the credentials were accepted.
      attempt.counted ??= guard.fail(login);
    }
    await attempt.counted;
    return this.#refuse(attempt, why);
  }

  /** The reply to a failed exchange. A 2xx of the handler is not used: the exchange failed afterwards. */
  #reasonOf(attempt: Attempt, result: ExchangeResult): SmtpReply {
    switch (result.failure) {
      case "malformed":
        return replies.responseMalformed;
      case "cancelled":
        return replies.authCancelled;
      case "error":
        return this.#thrown(result.error);
      default:
        return attempt.reply?.isPositive === false
          ? attempt.reply
          : replies.authFailed;
    }
  }

  /** Ends an attempt; the third failed login ends the session as well. */
  #refuse(attempt: Attempt, why: SmtpReply): SmtpReply {
    this.#attempt = undefined;
    if (attempt.counted !== undefined) this.#failures++;
    return this.#failures >= SESSION_BUDGET ? replies.tooManyLogins : why;
  }

  /** The reply that the handler threw, else 454. */
  #thrown(error: unknown): SmtpReply {
    const own = replyOf(error);
    if (own?.isPositive === false) return own;
    const name = "onAuthenticate";
    logHandlerFailure(this.#context, this.#session, { name, error });
    return replies.authUnavailable;
  }

  #report(result: ExchangeResult, attempt: Attempt): void {
    attempt.isReported = true;
    const { ok, username, reason, error, failure } = result;
    const why = attempt.isDisabled
      ? "the account is disabled"
      : error instanceof SmtpError
      ? error.message
      // A client may cancel after it has learned that its token is wrong.
      : failure === "cancelled" && attempt.counted !== undefined
      ? "The credentials are wrong"
      : reason;
    logLogin(this.#context, this.#session, {
      ...{ ok, username, why },
      mechanism: attempt.exchange.mechanism,
    });
  }
}

/** Cancels an exchange. */
function giveUp(attempt: Attempt): ExchangeResult {
  attempt.isAbandoned = true;
  return attempt.exchange.cancel();
}

/** The bytes of a response; `undefined` if it is missing or not base64. */
function decode(text: string | undefined): Uint8Array | undefined {
  return text === undefined ? undefined : decodeBase64Strict(text);
}

/** The reply that a handler returned or threw, if it did. */
function replyOf(value: unknown): SmtpReply | undefined {
  if (value instanceof SmtpError) return value.reply;
  return value instanceof SmtpReply ? value : undefined;
}
