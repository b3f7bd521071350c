/**
 * One AUTH exchange on the server's side: joins a mechanism's step machine with
 * the handler that judges the credentials.
 *
 * The session loop drives it:
 *
 * 1. Call `start()` with the initial response, then `respond()` with each
 *    response of the client, decoded from base64. One call at a time.
 * 2. On `done: false` send `334` and the challenge in base64, flush, read a
 *    line and call `respond()`. On `*` (RFC 4954 section 4) or a lost
 *    connection call `cancel()` instead.
 * 3. On `done: true` the exchange has ended: send `235`, or a refusal that
 *    depends on `failure`.
 *
 * The exchange calls the handler once, as soon as the mechanism has credentials;
 * SCRAM has them with the client's name, before the proof.
 * If the mechanism needs the client's next message to answer
 * `credentials.verify()` (SCRAM), the exchange does not await the handler
 * before that message: otherwise client and handler would wait for each other
 * for ever. So the loop must not await the handler either. A call rejects only
 * if it is out of turn.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc4954#section-4 | RFC 4954 section 4}
 */

import { canonicalAccount } from "./accounts.ts";
import type { Credentials } from "./credentials.ts";
import type { MechanismName } from "./mechanism_name.ts";
import type { ServerMechanism, ServerStep } from "./server_mechanism.ts";

/** The exchange goes on with a challenge. */
export interface ExchangeChallenge {
  /** The exchange is not over. */
  readonly done: false;
  /** The challenge, to be sent in base64 after 334; can be empty. */
  readonly challenge: Uint8Array;
}

/** The result of an exchange. */
export interface ExchangeResult {
  /** The exchange is over. */
  readonly done: true;
  /** Whether the client is authenticated. */
  readonly ok: boolean;
  /** The user of the session if `ok`, else the name that the client claimed; `""` if it sent none. */
  readonly username: string;
  /** The credentials; `undefined` if the client sent none. */
  readonly credentials: Credentials | undefined;
  /**
   * The reason of the failure, with the reply to send; `undefined` if `ok`.
   * `"malformed"`: a message broke the mechanism's grammar, 501 5.5.2.
   * `"refused"`: wrong secret, unknown user, or not allowed, 535 5.7.8.
   * `"cancelled"`: by the client, 501 5.7.0. `"error"`: the handler threw
   * {@linkcode ExchangeResult.error}.
   */
  readonly failure:
    | "malformed"
    | "refused"
    | "cancelled"
    | "error"
    | undefined;
  /** One sentence for the log, without secrets; `""` if `ok`. */
  readonly reason: string;
  /** The error that the handler threw, with the failure `"error"`. */
  readonly error?: unknown;
}

/** Options of {@linkcode ServerExchange}. */
export interface ServerExchangeOptions {
  /**
   * Judges the credentials. Any result but `true` refuses. With SCRAM `true`
   * alone is not enough: `credentials.verify()` must have given `true`, too.
   */
  readonly authenticate: (
    credentials: Credentials,
  ) => boolean | Promise<boolean>;
}

/** The handler's judgement on the credentials. */
interface Decision {
  readonly ok: boolean;
  readonly failed: boolean;
  readonly error?: unknown;
}

/**
 * One AUTH exchange.
 *
 * @example Log in by PLAIN
 * ```ts
 * import { createServerMechanism, ServerExchange } from "@smtp/server/sasl";
 *
 * const mechanism = createServerMechanism("PLAIN", { hostname: "mx.example" });
 * const exchange = new ServerExchange(mechanism, {
 *   authenticate: (credentials) => credentials.verify("secret"),
 * });
 * const step = await exchange.start(new TextEncoder().encode("\0ann\0secret"));
 * console.assert(step.done && step.ok && step.username === "ann");
 * ```
 */
export class ServerExchange {
  readonly #mechanism: ServerMechanism;
  readonly #options: ServerExchangeOptions;
  readonly #cancelled = Promise.withResolvers<ExchangeResult>();
  #state: "new" | "busy" | "asked" | "over" = "new";
  #credentials: Credentials | undefined;
  #decision: Promise<Decision> | undefined;
  /** The result that follows the client's answer to the last challenge. */
  #last: ExchangeResult | undefined;

  /**
   * Makes an exchange; nothing happens before `start()`.
   *
   * @param mechanism A new step machine
   * @param options The handler
   */
  constructor(mechanism: ServerMechanism, options: ServerExchangeOptions) {
    this.#mechanism = mechanism;
    this.#options = options;
  }

  /** The mechanism in use. */
  get mechanism(): MechanismName {
    return this.#mechanism.name;
  }

  /**
   * Begins the exchange.
   *
   * @param initial The initial response, decoded; `undefined` for none, empty for `=`
   * @throws {Error} If it has begun already
   */
  start(
    initial: Uint8Array | undefined,
  ): Promise<ExchangeChallenge | ExchangeResult> {
    return this.#advance("new", () => this.#mechanism.start(initial));
  }

  /**
   * Continues with the client's response to the last challenge.
   *
   * @param response The response, decoded
   * @throws {Error} If no challenge is open
   */
  respond(
    response: Uint8Array,
  ): Promise<ExchangeChallenge | ExchangeResult> {
    return this.#advance("asked", () => {
      if (this.#last === undefined) return this.#mechanism.step(response);
      // The client's response to the final message of a success is empty.
      return this.#last.ok && response.length > 0
        ? this.#failed("malformed", "The last response is not empty")
        : this.#last;
    });
  }

  /**
   * Ends the exchange: the client sent `*` or the connection is lost. A call
   * under way resolves with the same result, and a handler that waits for the
   * client gets `false`.
   */
  cancel(): ExchangeResult {
    this.#state = "over";
    this.#mechanism.cancel();
    const result = this.#failed("cancelled", "The exchange was given up");
    this.#cancelled.resolve(result);
    return result;
  }

  /**
   * Takes one turn. Throws if it is out of order: such a turn could combine a
   * new name with the judgement on an old one.
   */
  async #advance(
    expected: "new" | "asked",
    turn: () => ServerStep | ExchangeResult,
  ): Promise<ExchangeChallenge | ExchangeResult> {
    if (this.#state !== expected) {
      throw new Error(
        `Cannot go on with the ${this.mechanism} exchange: it is "${this.#state}", want "${expected}"`,
      );
    }
    this.#state = "busy";
    const taken = turn();
    const step = await Promise.race([
      "done" in taken ? taken : this.#take(taken),
      this.#cancelled.promise,
    ]);
    this.#state = step.done ? "over" : "asked";
    return step;
  }

  async #take(step: ServerStep): Promise<ExchangeChallenge | ExchangeResult> {
    if (step.type === "challenge") {
      return { done: false, challenge: step.bytes };
    }
    if (step.type === "failure") {
      return this.#end(
        this.#failed(step.failure, step.reason),
        step.challenge,
      );
    }
    this.#credentials = step.credentials;
    this.#decision ??= this.#decide(step.credentials);
    return step.challenge === undefined
      ? this.#conclude(await this.#decision)
      : await this.#askFirst(step.credentials, step.challenge);
  }

  /** Calls the handler; never rejects. */
  async #decide(credentials: Credentials): Promise<Decision> {
    try {
      const ok = await this.#options.authenticate(credentials) === true;
      return { ok, failed: false };
    } catch (error) {
      return { ok: false, failed: true, error };
    }
  }

  /**
   * Waits for the challenge that the handler's call of `verify()` produces. If
   * the handler has decided without that call, the client must not notice: it
   * is asked for a proof, too.
   */
  async #askFirst(
    credentials: Credentials,
    challenge: Promise<Uint8Array>,
  ): Promise<ExchangeChallenge | ExchangeResult> {
    const early = await Promise.race([
      challenge.then(() => undefined),
      this.#decision,
    ]);
    if (early?.failed) return this.#conclude(early);
    if (early !== undefined) {
      // Checks the proof against an unknown user, to take the same time.
      this.#decision = credentials.verify(undefined).then(() => early);
    }
    return { done: false, challenge: await challenge };
  }

  #conclude(decision: Decision): ExchangeChallenge | ExchangeResult {
    if (decision.failed) {
      this.#mechanism.cancel();
      const { error } = decision;
      return { ...this.#failed("error", "The handler threw"), error };
    }
    const allowed = this.#mayAct();
    const { ok, challenge } = this.#mechanism.verified(decision.ok && allowed);
    const result = ok ? this.#succeeded() : this.#failed(
      "refused",
      decision.ok && !allowed
        ? "The client may not act for another identity"
        : "The credentials are wrong",
    );
    return this.#end(result, challenge);
  }

  /** Whether the authorization identity is the client's own, or the one that the handler set. */
  #mayAct(): boolean {
    const { authorizationId = "", username = "", identity } =
      this.#credentials ?? {};
    return authorizationId === "" || authorizationId === identity ||
      canonicalAccount(authorizationId) === canonicalAccount(username);
  }

  #end(
    result: ExchangeResult,
    challenge: Uint8Array | undefined,
  ): ExchangeChallenge | ExchangeResult {
    if (challenge === undefined) return result;
    this.#last = result;
    return { done: false, challenge };
  }

  #succeeded(): ExchangeResult {
    const credentials = this.#credentials;
    const username = credentials?.identity ?? "";
    return {
      done: true,
      ok: true,
      username,
      credentials,
      failure: undefined,
      reason: "",
    };
  }

  #failed(failure: ExchangeResult["failure"], reason: string): ExchangeResult {
    const credentials = this.#credentials;
    const username = credentials?.username ?? "";
    return { done: true, ok: false, username, credentials, failure, reason };
  }
}
