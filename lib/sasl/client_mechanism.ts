/**
 * The client's side of a SASL mechanism: what its step machines take and give,
 * which machine a name stands for, and which name to choose.
 *
 * Never chooses a mechanism that shows a password or token to the network,
 * unless the caller says that this is wanted.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc4422#section-5 | RFC 4422 section 5},
 * {@link https://www.rfc-editor.org/rfc/rfc4954#section-4 | RFC 4954 section 4}
 */

import { CramMd5Client } from "./cram_md5.ts";
import { ExternalClient } from "./external.ts";
import { LoginClient, PlainClient } from "./plain.ts";
import { MECHANISM_NAMES, type MechanismName } from "./mechanism_name.ts";
import { OAuthClient } from "./oauth.ts";
import { ScramClient } from "./scram_client.ts";

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
 * A new step machine.
 *
 * @param name The mechanism
 * @param options Who logs in, and with what
 * @throws {TypeError} If the mechanism needs a password, token or channel
 * binding that is missing, or cannot carry what is given
 *
 * @example The initial response of PLAIN
 * ```ts
 * import { createClientMechanism, encodeBase64 } from "@smtp/server";
 *
 * const login = { username: "ann", password: "secret" };
 * const initial = createClientMechanism("PLAIN", login).start();
 * console.assert(encodeBase64(initial!) === "AGFubgBzZWNyZXQ=");
 * ```
 */
export function createClientMechanism(
  name: MechanismName,
  options: ClientMechanismOptions,
): ClientMechanism {
  const login = { ...options, authorizationId: options.authorizationId ?? "" };
  if (name === "EXTERNAL") return new ExternalClient(login);
  if (name === "XOAUTH2" || name === "OAUTHBEARER") {
    return new OAuthClient(name, { ...login, token: need(name, login.token) });
  }
  const withPassword = { ...login, password: need(name, login.password) };
  switch (name) {
    case "SCRAM-SHA-256-PLUS":
    case "SCRAM-SHA-256":
      return new ScramClient(name, withPassword);
    case "CRAM-MD5":
      return new CramMd5Client(withPassword);
    case "PLAIN":
      return new PlainClient(withPassword);
    case "LOGIN":
      return new LoginClient(withPassword);
  }
}

/** The secret that a mechanism needs. */
function need(name: MechanismName, secret: string | undefined): string {
  if (secret === undefined || secret === "") {
    throw new TypeError(
      `Cannot log in with ${name}: the password or token is missing`,
    );
  }
  return secret;
}

/** Options of {@linkcode chooseMechanism}. */
export interface ChooseMechanismOptions {
  /** Whether the connection is encrypted. */
  readonly secure: boolean;
  /**
   * Whether passwords and tokens may go over a connection that is not.
   *
   * @default {false}
   */
  readonly allowInsecure?: boolean | undefined;
  /**
   * The mechanisms to choose from, the first that will do is taken.
   *
   * @default {MECHANISM_NAMES}
   */
  readonly mechanisms?: readonly MechanismName[] | undefined;
}

/** What shows a password or token to everybody who can read the connection. */
const REVEALING: ReadonlySet<MechanismName> = new Set([
  "PLAIN",
  "LOGIN",
  "XOAUTH2",
  "OAUTHBEARER",
]);

/**
 * The strongest mechanism that the server offers and the credentials serve, or
 * the first such one of `mechanisms`.
 *
 * @param offered The names after AUTH in the server's EHLO reply, in any letter case
 * @param options Who logs in and with what, and whether the connection is encrypted
 * @returns The name, or `undefined` where none will do
 *
 * @example Not every offer is taken
 * ```ts
 * import { chooseMechanism } from "@smtp/server";
 *
 * const login = { username: "ann", password: "secret" };
 * const offered = ["PLAIN", "LOGIN", "CRAM-MD5"];
 * console.assert(
 *   chooseMechanism(offered, { ...login, secure: false }) === "CRAM-MD5",
 * );
 * console.assert(
 *   chooseMechanism(["PLAIN"], { ...login, secure: false }) === undefined,
 * );
 * ```
 */
export function chooseMechanism(
  offered: Iterable<string>,
  options: ClientMechanismOptions & ChooseMechanismOptions,
): MechanismName | undefined {
  const names = new Set(Array.from(offered, (name) => name.toUpperCase()));
  const open = options.secure || options.allowInsecure === true;
  return (options.mechanisms ?? MECHANISM_NAMES).find((name) =>
    names.has(name) && serves(name, options) && (open || !REVEALING.has(name))
  );
}

/** Whether the credentials hold what a mechanism needs. */
function serves(name: MechanismName, options: ClientMechanismOptions): boolean {
  switch (name) {
    case "EXTERNAL":
      return options.external === true;
    case "XOAUTH2":
    case "OAUTHBEARER":
      return Boolean(options.token);
    case "SCRAM-SHA-256-PLUS":
      return Boolean(options.password) && options.channelBinding !== undefined;
    default:
      return Boolean(options.password);
  }
}
