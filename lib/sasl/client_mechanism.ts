/**
 * The client's side of a SASL mechanism: the interface of its step machine, its
 * options, and the error that it throws if the server must not be trusted.
 * Knows no mechanism; `registry.ts` knows them all.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc4422#section-5 | RFC 4422 section 5},
 * {@link https://www.rfc-editor.org/rfc/rfc4954#section-4 | RFC 4954 section 4}
 */

import type { MechanismName } from "./mechanism_name.ts";

/**
 * One mechanism on the client's side, for one AUTH command. The caller sends
 * the result of `start()` with the command, answers every 334 with the result
 * of `step()` and calls `finish()` after 235. If a call throws, the caller
 * cancels the exchange with `*`; after 235 it closes the connection.
 */
export interface ClientMechanism {
  /** Its name. */
  readonly name: MechanismName;
  /** The initial response; `undefined` if the server speaks first. An empty one is sent as `=`. */
  start(): Uint8Array | undefined;
  /**
   * The response to a challenge. Rejects with {@linkcode SaslError} if the
   * server violates the mechanism.
   *
   * @param challenge The challenge, decoded
   */
  step(challenge: Uint8Array): Promise<Uint8Array>;
  /**
   * Checks, after the server's success reply, that the server has proved what
   * the mechanism requires of it.
   *
   * @param final The last message of the server, if the success reply carried it
   * @throws {SaslError} If the server must not be trusted
   */
  finish(final?: Uint8Array): void;
}

/**
 * Options of {@linkcode createClientMechanism} and {@linkcode chooseMechanism}.
 *
 * @example Both sides of an exchange
 * ```ts
 * import type { MechanismName } from "@smtp/server/auth";
 * import {
 *   chooseMechanism,
 *   type ChooseMechanismOptions,
 *   type ClientMechanism,
 *   type ClientMechanismOptions,
 *   createClientMechanism,
 *   createServerMechanism,
 *   type ExchangeChallenge,
 *   type ExchangeResult,
 *   ServerExchange,
 *   type ServerExchangeOptions,
 *   type ServerMechanism,
 *   type ServerMechanismOptions,
 * } from "@smtp/server/sasl";
 *
 * const offered: MechanismName[] = ["SCRAM-SHA-256", "PLAIN"];
 * const login: ClientMechanismOptions = { username: "ann", password: "secret" };
 * const connection: ChooseMechanismOptions = { secure: true };
 * const name = chooseMechanism(offered, { ...login, ...connection })!;
 * const client: ClientMechanism = createClientMechanism(name, login);
 *
 * const facts: ServerMechanismOptions = { hostname: "mx.example" };
 * const mechanism: ServerMechanism = createServerMechanism(name, facts);
 * const judge: ServerExchangeOptions = {
 *   authenticate: (credentials) => credentials.verify("secret"),
 * };
 * const server = new ServerExchange(mechanism, judge);
 *
 * let step: ExchangeChallenge | ExchangeResult = await server.start(
 *   client.start(),
 * );
 * while (!step.done) {
 *   step = await server.respond(await client.step(step.challenge));
 * }
 * client.finish();
 * console.assert(step.ok && step.username === "ann");
 * ```
 */
export interface ClientMechanismOptions {
  /** The user name; with OAuth the name that accompanies the token. */
  readonly username: string;
  /**
   * The password, for all mechanisms but OAuth and EXTERNAL. Default: none; such
   * a mechanism throws a `TypeError`.
   */
  readonly password?: string | undefined;
  /**
   * The bearer token, for XOAUTH2 and OAUTHBEARER. Default: none; such a
   * mechanism throws a `TypeError`.
   */
  readonly token?: string | undefined;
  /**
   * The authorization identity: the user to act for. PLAIN, SCRAM and EXTERNAL.
   *
   * @default {""}
   */
  readonly authorizationId?: string | undefined;
  /**
   * Whether the client presented a TLS certificate, which EXTERNAL requires.
   *
   * @default {false}
   */
  readonly external?: boolean | undefined;
  /**
   * The channel binding of type tls-server-end-point: the digest of the server's
   * certificate. Default: none.
   */
  readonly channelBinding?: Uint8Array | undefined;
  /** The server's name, which OAUTHBEARER sends. Default: it is left out. */
  readonly host?: string | undefined;
  /** The server's port, which OAUTHBEARER sends. Default: it is left out. */
  readonly port?: number | undefined;
  /**
   * The client's nonce (SCRAM). For tests with known answers: two exchanges
   * must never share one.
   *
   * @default {random}
   */
  readonly nonce?: string | undefined;
}

/**
 * A login that the client aborts. Code that catches it cancels the exchange
 * with `*` and must not treat the server as genuine.
 *
 * @example Distinguish a failed login from a failed connection
 * ```ts
 * import { createClientMechanism, SaslError } from "@smtp/server/sasl";
 *
 * const login = { username: "ann", password: "secret" };
 * const mechanism = createClientMechanism("SCRAM-SHA-256", login);
 * mechanism.start();
 * try {
 *   await mechanism.step(new TextEncoder().encode("nonsense"));
 * } catch (error) {
 *   console.assert(error instanceof SaslError);
 * }
 * ```
 */
export class SaslError extends Error {
  /** The name of the error class. */
  override readonly name: string = "SaslError";
}
