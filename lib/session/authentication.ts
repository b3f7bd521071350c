/**
 * AUTH in a session: which mechanisms are offered, the exchange behind each
 * command, and the replies. What the messages mean is the room `sasl`'s, who
 * may log in is the accounts' or the handler's.
 *
 * Nothing that the client sends here reaches a log or a reply.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc4954 | RFC 4954}
 */

import { describeError, type Logger } from "../log.ts";
import { SmtpError } from "../errors.ts";
import { replies } from "../protocol/replies.ts";
import { SmtpReply } from "../protocol/reply.ts";
import type { ServerAsk, Verdict } from "../protocol/server_effects.ts";
import {
  AccountList,
  type Accounts,
  authenticateWith,
} from "../sasl/accounts.ts";
import { decodeBase64Strict, encodeBase64 } from "../sasl/base64.ts";
import { tlsServerEndPoint } from "../sasl/channel_binding.ts";
import type { Credentials } from "../sasl/credentials.ts";
import {
  MECHANISM_NAMES,
  type MechanismName,
  parseMechanismName,
} from "../sasl/mechanism_name.ts";
import {
  type ExchangeChallenge,
  type ExchangeResult,
  ServerExchange,
} from "../sasl/server_exchange.ts";
import { createServerMechanism } from "../sasl/server_mechanism.ts";
import type { SmtpHandlers } from "./handlers.ts";
import type { LoginGuard } from "./login_guard.ts";
import type { SmtpSession } from "./session.ts";

/** Failed log-ins of one session, after which it ends. */
const SESSION_BUDGET = 3;

/** What a listener offers who has a handler and no accounts: what any handler can decide. */
const HANDLER_MECHANISMS: readonly MechanismName[] = ["PLAIN", "LOGIN"];

/** What the log-ins of a listener have in common. */
export interface AuthenticationContext {
  /** The server's own name. */
  readonly hostname: string;
  /** The accounts, if there are any. */
  readonly accounts: Accounts | undefined;
  /** The handler that decides instead, if there is one. */
  readonly onAuthenticate: SmtpHandlers["onAuthenticate"];
  /** The mechanisms that may be offered, strongest first. */
  readonly mechanisms: readonly MechanismName[];
  /** Whether AUTH is offered without TLS. */
  readonly allowInsecure: boolean;
  /** Counts failures. */
  readonly guard: LoginGuard;
  /** Takes log records. */
  readonly log: Logger;
}

/** Makes the context of a listener's log-ins. */
export function authenticationContext(
  init: Omit<AuthenticationContext, "mechanisms" | "onAuthenticate"> & {
    readonly handlers: SmtpHandlers;
    readonly mechanisms: readonly MechanismName[] | undefined;
  },
): AuthenticationContext {
  const { handlers, mechanisms, ...rest } = init;
  return {
    ...rest,
    onAuthenticate: handlers.onAuthenticate &&
      ((session, credentials) =>
        handlers.onAuthenticate!(session, credentials)),
    mechanisms: mechanisms === undefined
      ? defaultMechanisms(init)
      : MECHANISM_NAMES.filter((name) => mechanisms.includes(name)),
  };
}

/** What can be served: with accounts, all that their secrets allow. */
function defaultMechanisms(
  { accounts, handlers }: {
    readonly accounts: Accounts | undefined;
    readonly handlers: SmtpHandlers;
  },
): readonly MechanismName[] {
  if (handlers.onAuthenticate !== undefined || accounts === undefined) {
    return HANDLER_MECHANISMS;
  }
  const plain = accounts instanceof AccountList && accounts.isPlain;
  return [
    "SCRAM-SHA-256-PLUS",
    "SCRAM-SHA-256",
    ...(plain ? ["CRAM-MD5" as const] : []),
    "PLAIN",
    "LOGIN",
  ];
}

/** How an AUTH command goes on: an answer to the client, or another line from it. */
export type AuthenticationStep =
  | { readonly challenge: string }
  | { readonly verdict: Verdict };

/** The log-ins of one session. */
export class Authentication {
  readonly #context: AuthenticationContext;
  readonly #session: SmtpSession;
  #exchange: ServerExchange | undefined;
  #reply: SmtpReply | undefined;
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
    const { tls } = this.#session;
    if (tls === undefined && !this.#context.allowInsecure) return [];
    return this.#context.mechanisms.filter((name) =>
      name === "SCRAM-SHA-256-PLUS"
        ? this.#channelBinding() !== undefined
        : name === "EXTERNAL"
        ? tls?.peerCertificate !== undefined && tls.authorized
        : true
    );
  }

  #channelBinding(): Uint8Array | undefined {
    const own = this.#session.tls?.ownCertificate;
    return own && tlsServerEndPoint(own);
  }

  /** An AUTH command has come. */
  start(
    request: ServerAsk & { readonly ask: "auth" },
  ): AuthenticationStep | Promise<AuthenticationStep> {
    const offered = this.mechanisms;
    if (offered.length === 0) return { verdict: encryptionRequired };
    const name = parseMechanismName(request.mechanism);
    if (name === undefined || !offered.includes(name)) {
      return { verdict: unknownMechanism };
    }
    const { initial } = request;
    const response = initial === undefined || initial === "="
      ? initial && new Uint8Array(0)
      : decodeBase64Strict(initial);
    if (initial !== undefined && response === undefined) {
      return { verdict: notBase64 };
    }
    const exchange = this.#newExchange(name);
    this.#exchange = exchange;
    return exchange.start(response || undefined).then((it) => this.#step(it));
  }

  #newExchange(name: MechanismName): ServerExchange {
    const { hostname, accounts } = this.#context;
    this.#reply = undefined;
    const mechanism = createServerMechanism(name, {
      hostname,
      channelBinding: this.mechanisms.includes("SCRAM-SHA-256-PLUS")
        ? this.#channelBinding()
        : undefined,
      certificate: this.#session.tls?.peerCertificate,
      decoy: accounts?.decoy,
    });
    return new ServerExchange(mechanism, {
      authenticate: (credentials) => this.#judge(credentials),
    });
  }

  /** The client's next line; `undefined` for one too long. */
  line(
    text: string | undefined,
  ): AuthenticationStep | Promise<AuthenticationStep> {
    const exchange = this.#exchange!;
    if (text === undefined) {
      exchange.cancel();
      return { verdict: lineTooLong };
    }
    // RFC 4954 section 4: a single `*` gives up.
    if (text === "*") {
      exchange.cancel();
      return { verdict: cancelled };
    }
    const response = decodeBase64Strict(text);
    if (response === undefined) {
      exchange.cancel();
      return { verdict: notBase64 };
    }
    return exchange.respond(response).then((it) => this.#step(it));
  }

  /** The session is over. */
  end(): void {
    this.#exchange?.cancel();
  }

  async #judge(credentials: Credentials): Promise<boolean> {
    const { accounts, onAuthenticate, guard } = this.#context;
    const attempt = {
      address: this.#session.remoteAddress,
      account: credentials.username,
    };
    if (guard.decide(attempt) === "refuse") {
      this.#reply = tooManyFailures;
      return false;
    }
    if (onAuthenticate === undefined) {
      return await authenticateWith(accounts!)(credentials);
    }
    const result = await onAuthenticate(this.#session, credentials);
    if (result instanceof SmtpReply) {
      this.#reply = result;
      return result.isPositive;
    }
    if (result instanceof SmtpError) this.#reply = result.reply;
    return result === true;
  }

  async #step(
    step: ExchangeChallenge | ExchangeResult,
  ): Promise<AuthenticationStep> {
    if (!step.done) return { challenge: encodeBase64(step.challenge) };
    this.#exchange = undefined;
    const { ok, username } = step;
    const attempt = { address: this.#session.remoteAddress, account: username };
    this.#report(step);
    if (ok) {
      this.#context.guard.succeed(attempt);
      this.#session.username = username;
      return { verdict: this.#reply };
    }
    if (step.failure === "malformed") return { verdict: malformed };
    if (step.failure === "cancelled") return { verdict: cancelled };
    if (step.failure === "error") return { verdict: this.#thrown(step.error) };
    if (this.#reply?.code === 421) return { verdict: this.#reply };
    await this.#context.guard.fail(attempt);
    this.#failures++;
    if (this.#failures >= SESSION_BUDGET) return { verdict: tooManyFailures };
    return { verdict: this.#reply ?? replies.authFailed };
  }

  /** What the handler threw is the answer where it is a reply, else 454. */
  #thrown(error: unknown): SmtpReply {
    if (error instanceof SmtpError) return error.reply;
    if (error instanceof SmtpReply) return error;
    this.#context.log({
      level: "error",
      event: "error",
      message: "onAuthenticate failed",
      session: this.#session.id,
      error: describeError(error),
    });
    return temporaryFailure;
  }

  #report(result: ExchangeResult): void {
    const { ok, username, reason, credentials } = result;
    this.#context.log({
      level: "info",
      event: "auth",
      message: ok ? "Logged in" : `Log-in failed: ${reason}`,
      session: this.#session.id,
      fields: {
        ok,
        username,
        mechanism: credentials?.mechanism ?? "",
        address: this.#session.remoteAddress,
      },
    });
  }
}

function reply(code: number, enhanced: string, text: string): SmtpReply {
  return new SmtpReply(code, text, { enhanced });
}

const encryptionRequired = reply(
  538,
  "5.7.11",
  "Encryption required for authentication",
);
const unknownMechanism = reply(504, "5.5.4", "Mechanism not offered");
const notBase64 = reply(501, "5.5.2", "Response is not base64");
const malformed = reply(501, "5.5.2", "Response cannot be read");
const cancelled = reply(501, "5.7.0", "Authentication cancelled");
const lineTooLong = reply(500, "5.5.6", "Authentication line too long");
const temporaryFailure = reply(
  454,
  "4.7.0",
  "Temporary authentication failure",
);
const tooManyFailures = reply(421, "4.7.0", "Too many failed log-ins, closing");
