/**
 * AUTH in a session: the exchange behind each command, and the replies. What
 * the messages mean is the room `sasl`'s, who may log in is the accounts' or
 * the handler's.
 *
 * Nothing that the client sends here reaches a log or a reply.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc4954 | RFC 4954}
 */

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
import { noteHandlerFailure, noteLogin } from "./log.ts";
import type { LoginAttempt } from "./login_guard.ts";
import type { SmtpSession } from "./session.ts";

const NOTHING = new Uint8Array(0);

/** Failed log-ins of one session, after which it ends. */
const SESSION_BUDGET = 3;

/** How an AUTH command goes on: the verdict, or another line from the client. */
export type AuthenticationStep = Verdict | { readonly challenge: string };

/** One AUTH command. */
interface Attempt {
  readonly exchange: ServerExchange;
  /** The handler's own reply, if it gave one. */
  reply?: SmtpReply | undefined;
  /** Set once the attempt has counted as a failed log-in: when the client may be told. */
  counted?: Promise<void>;
  /** Whether the client gave up, or is gone. */
  given?: "up";
}

/** The log-ins of one session. */
export class Authentication {
  readonly #context: AuthenticationContext;
  readonly #session: SmtpSession;
  #attempt: Attempt | undefined;
  #failures = 0;

  /**
   * Nothing has been tried yet.
   *
   * @param context What the log-ins of the listener have in common
   */
  constructor(context: AuthenticationContext, session: SmtpSession) {
    this.#context = context;
    this.#session = session;
  }

  /** The mechanisms that can be served on the connection as it is now. */
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

  /** An AUTH command has come. */
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
        authenticate: (credentials) => this.#judge(attempt, credentials),
      }),
    };
    return attempt;
  }

  /** The client's next line; `undefined` for one too long. */
  line(
    text: string | undefined,
  ): AuthenticationStep | Promise<AuthenticationStep> {
    const attempt = this.#attempt!;
    const response = decode(text);
    if (response === undefined) {
      // RFC 4954 section 4: a single `*` gives up.
      const why = text === undefined
        ? replies.authLineTooLong
        : text === "*"
        ? replies.authCancelled
        : replies.notBase64;
      this.#report(giveUp(attempt));
      return this.#refuse(attempt, why);
    }
    return attempt.exchange.respond(response).then((step) =>
      this.#step(attempt, step)
    );
  }

  /** The session is over. */
  end(): void {
    if (this.#attempt !== undefined) giveUp(this.#attempt);
  }

  /**
   * Has the credentials judged. A failure counts here, before the client is
   * told anything: one who gives up after that has had its guess.
   */
  async #judge(attempt: Attempt, credentials: Credentials): Promise<boolean> {
    const { guard } = this.#context;
    const who = this.#who(credentials.username);
    if (!await guard.enter(who)) {
      // At once, whatever the mechanism: SCRAM's salt for somebody who is not
      // looked up would not be that of the account.
      throw new SmtpError(replies.tooManyLogins);
    }
    let refused = false;
    try {
      const ok = await this.#ask(attempt, credentials);
      refused = !ok && attempt.given === undefined;
      return ok;
    } catch (error) {
      attempt.reply = replyOf(error);
      refused = attempt.reply !== undefined;
      throw error;
    } finally {
      // A 4xx says nothing of the secret.
      if (refused && !attempt.reply?.isTemporary) {
        attempt.counted = guard.fail(who);
      }
      guard.leave(who);
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

  #who(account: string): LoginAttempt {
    return { address: this.#session.remoteAddress, account };
  }

  async #step(
    attempt: Attempt,
    step: ExchangeChallenge | ExchangeResult,
  ): Promise<AuthenticationStep> {
    const { guard } = this.#context;
    if (!step.done) {
      // The refusal of a token is a challenge.
      await attempt.counted;
      return { challenge: encodeBase64(step.challenge) };
    }
    this.#report(step);
    const who = this.#who(step.username);
    if (step.ok) {
      guard.succeed(who);
      this.#session.username = step.username;
      return attempt.reply;
    }
    const why = this.#reasonOf(attempt, step);
    if (step.failure === "refused" && !why.isTemporary) {
      // The judge may have been content and the exchange not.
      attempt.counted ??= guard.fail(who);
    }
    await attempt.counted;
    return this.#refuse(attempt, why);
  }

  /** The reply to an exchange that has failed. A handler's 2xx is none: it was not the last word. */
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

  /** Ends an attempt; after too many that counted the session ends as well. */
  #refuse(attempt: Attempt, why: SmtpReply): SmtpReply {
    this.#attempt = undefined;
    if (attempt.counted !== undefined) this.#failures++;
    return this.#failures >= SESSION_BUDGET ? replies.tooManyLogins : why;
  }

  /** What the handler threw is the answer where it is a reply, else 454. */
  #thrown(error: unknown): SmtpReply {
    const own = replyOf(error);
    if (own?.isPositive === false) return own;
    const name = "onAuthenticate";
    noteHandlerFailure(this.#context, this.#session, { name, error });
    return replies.authUnavailable;
  }

  #report(result: ExchangeResult): void {
    const { ok, username, reason, credentials, error } = result;
    const why = error instanceof SmtpError ? error.message : reason;
    noteLogin(this.#context, this.#session, {
      ...{ ok, username, why },
      mechanism: credentials?.mechanism ?? "",
    });
  }
}

/** Ends an exchange before its time. */
function giveUp(attempt: Attempt): ExchangeResult {
  attempt.given = "up";
  return attempt.exchange.cancel();
}

/** The bytes of a response; `undefined` for one that is missing or not base64. */
function decode(text: string | undefined): Uint8Array | undefined {
  return text === undefined ? undefined : decodeBase64Strict(text);
}

/** The reply in what a handler returned or threw. */
function replyOf(value: unknown): SmtpReply | undefined {
  if (value instanceof SmtpError) return value.reply;
  return value instanceof SmtpReply ? value : undefined;
}
