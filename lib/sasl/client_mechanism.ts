/**
 * The client's side of a SASL mechanism: what its step machine takes and gives,
 * what it is made of, and the error it throws at a server that it must not
 * trust. Knows no mechanism; `registry.ts` knows them all.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc4422#section-5 | RFC 4422 section 5},
 * {@link https://www.rfc-editor.org/rfc/rfc4954#section-4 | RFC 4954 section 4}
 */

import type { MechanismName } from "./mechanism_name.ts";

/**
 * One mechanism on the client's side, for one AUTH command. Whoever drives it
 * sends what `start()` gives with the command, answers every 334 with `step()`
 * and calls `finish()` after 235. When a call throws, the exchange is to be
 * cancelled with `*`, or after 235 the connection given up.
 */
export interface ClientMechanism {
  /** Its name. */
  readonly name: MechanismName;
  /** The initial response; `undefined` where the server speaks first, empty where it is to be sent as `=`. */
  start(): Uint8Array | undefined;
  /**
   * The answer to a challenge. Rejects with {@linkcode SaslError} where the
   * server does not keep to the mechanism.
   *
   * @param challenge The challenge, decoded
   */
  step(challenge: Uint8Array): Promise<Uint8Array>;
  /**
   * Checks, after the server's success, that the server has shown what it owes.
   *
   * @param final The last message of the server, where it came with the success
   * @throws {SaslError} If the server must not be trusted
   */
  finish(final?: Uint8Array): void;
}

/** Options of {@linkcode createClientMechanism} and {@linkcode chooseMechanism}. */
export interface ClientMechanismOptions {
  /** The user name; with OAuth the name beside the token. */
  readonly username: string;
  /** The password, for all mechanisms but OAuth and EXTERNAL. */
  readonly password?: string | undefined;
  /** The bearer token, for XOAUTH2 and OAUTHBEARER. */
  readonly token?: string | undefined;
  /**
   * Whom to act for; PLAIN, SCRAM and EXTERNAL.
   *
   * @default {""}
   */
  readonly authorizationId?: string | undefined;
  /**
   * Whether a TLS client certificate was presented, so that EXTERNAL makes sense.
   *
   * @default {false}
   */
  readonly external?: boolean | undefined;
  /** The channel binding of kind tls-server-end-point: the digest of the server's certificate. */
  readonly channelBinding?: Uint8Array | undefined;
  /** The server's name, as OAUTHBEARER repeats it. */
  readonly host?: string | undefined;
  /** The server's port, as OAUTHBEARER repeats it. */
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
 * A login that the client breaks off. Who catches it cancels the exchange with
 * `*` and must not take the server for genuine.
 *
 * @example Tell a broken login from a broken connection
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
  /** Its name in a stack. */
  override readonly name: string = "SaslError";
}
