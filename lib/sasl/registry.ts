/**
 * The table of all SASL mechanisms: one row each, with the step machine of each
 * side and the requirements. A name in `mechanism_name.ts` without a
 * row is a compile error, and so is a row without a name.
 *
 * Never chooses a mechanism that reveals a password or token to the network,
 * unless the caller allows it.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc4422#section-5 | RFC 4422 section 5},
 * {@link https://www.rfc-editor.org/rfc/rfc4954#section-4 | RFC 4954 section 4}
 */

import type {
  ClientMechanism,
  ClientMechanismOptions,
} from "./client_mechanism.ts";
import { CramMd5Client, CramMd5Server } from "./cram_md5.ts";
import { ExternalClient, ExternalServer } from "./external.ts";
import { MECHANISM_NAMES, type MechanismName } from "./mechanism_name.ts";
import { OAuthClient, OAuthServer } from "./oauth.ts";
import { LoginClient, LoginServer, PlainClient, PlainServer } from "./plain.ts";
import { ScramClient, ScramServer } from "./scram.ts";
import type {
  ServerMechanism,
  ServerMechanismOptions,
} from "./server_mechanism.ts";

/** Options of a client's step machine; `secret` is the password or the token. */
type Login = ClientMechanismOptions & {
  readonly authorizationId: string;
  readonly secret: string;
};

/**
 * The secret that the server must know to judge a login: `"verifier"` (of the
 * password, or the password itself), `"password"` (the password itself) or
 * `"token"`. `"program"` if no secret decides, but a handler.
 */
export type JudgedBy = "verifier" | "password" | "token" | "program";

/** One mechanism. */
interface Mechanism {
  readonly judgedBy: JudgedBy;
  /** The credential that the client needs. */
  readonly needs: "password" | "token" | "certificate";
  /** Whether it sends the password or token in the clear. */
  readonly reveals: boolean;
  /** Whether it needs the channel binding. */
  readonly binds?: boolean;
  readonly server: (options: ServerMechanismOptions) => ServerMechanism;
  readonly client: (login: Login) => ClientMechanism;
}

const MECHANISMS = {
  "SCRAM-SHA-256-PLUS": {
    judgedBy: "verifier",
    needs: "password",
    reveals: false,
    binds: true,
    server: (options) => new ScramServer("SCRAM-SHA-256-PLUS", options),
    client: (login) =>
      new ScramClient("SCRAM-SHA-256-PLUS", withPassword(login)),
  },
  "SCRAM-SHA-256": {
    judgedBy: "verifier",
    needs: "password",
    reveals: false,
    server: (options) => new ScramServer("SCRAM-SHA-256", options),
    client: (login) => new ScramClient("SCRAM-SHA-256", withPassword(login)),
  },
  "EXTERNAL": {
    judgedBy: "program",
    needs: "certificate",
    reveals: false,
    server: (options) => new ExternalServer(options),
    client: (login) => new ExternalClient(login),
  },
  "OAUTHBEARER": {
    judgedBy: "token",
    needs: "token",
    reveals: true,
    server: (options) => new OAuthServer("OAUTHBEARER", options),
    client: (login) => new OAuthClient("OAUTHBEARER", withToken(login)),
  },
  "XOAUTH2": {
    judgedBy: "token",
    needs: "token",
    reveals: true,
    server: (options) => new OAuthServer("XOAUTH2", options),
    client: (login) => new OAuthClient("XOAUTH2", withToken(login)),
  },
  "CRAM-MD5": {
    judgedBy: "password",
    needs: "password",
    reveals: false,
    server: (options) => new CramMd5Server(options),
    client: (login) => new CramMd5Client(withPassword(login)),
  },
  "PLAIN": {
    judgedBy: "verifier",
    needs: "password",
    reveals: true,
    server: (options) => new PlainServer(options),
    client: (login) => new PlainClient(withPassword(login)),
  },
  "LOGIN": {
    judgedBy: "verifier",
    needs: "password",
    reveals: true,
    server: (options) => new LoginServer(options),
    client: (login) => new LoginClient(withPassword(login)),
  },
} as const satisfies Readonly<Record<MechanismName, Mechanism>>;

function mechanism(name: MechanismName): Mechanism {
  return MECHANISMS[name];
}

/** The secret that the server must know to judge a login by the mechanism. */
export function judgedBy(name: MechanismName): JudgedBy {
  return mechanism(name).judgedBy;
}

function withPassword(login: Login): Login & { readonly password: string } {
  return { ...login, password: login.secret };
}

function withToken(login: Login): Login & { readonly token: string } {
  return { ...login, token: login.secret };
}

/**
 * Makes a step machine of the server's side.
 *
 * @param name The mechanism
 * @param options Options of the mechanism
 *
 * @example Run PLAIN by hand
 * ```ts
 * import { createServerMechanism } from "@smtp/server/sasl";
 *
 * const plain = createServerMechanism("PLAIN", { hostname: "mx.example.com" });
 * const step = plain.start(new TextEncoder().encode("\0ann\0secret"));
 * console.assert(step.type === "verify" && step.credentials.username === "ann");
 * ```
 */
export function createServerMechanism(
  name: MechanismName,
  options: ServerMechanismOptions,
): ServerMechanism {
  return mechanism(name).server(options);
}

/**
 * Makes a step machine of the client's side.
 *
 * @param name The mechanism
 * @param options The client's credentials
 * @throws {TypeError} If a password, token or channel binding that the
 * mechanism needs is missing, or the mechanism cannot carry the given values
 *
 * @example The initial response of PLAIN
 * ```ts
 * import { createClientMechanism, encodeBase64 } from "@smtp/server/sasl";
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
  const { authorizationId = "" } = options;
  const { client, needs } = mechanism(name);
  const secret = needs === "certificate" ? "" : options[needs] ?? "";
  if (needs !== "certificate" && secret === "") {
    throw new TypeError(
      `Cannot log in with ${name}: the password or token is missing`,
    );
  }
  return client({ ...options, authorizationId, secret });
}

/** Options of {@linkcode chooseMechanism}. */
export interface ChooseMechanismOptions {
  /** Whether the connection is encrypted. */
  readonly secure: boolean;
  /**
   * Whether passwords and tokens may be sent over an unencrypted connection.
   *
   * @default {false}
   */
  readonly allowInsecure?: boolean | undefined;
  /**
   * The mechanisms to choose from, most preferred first.
   *
   * @default {MECHANISM_NAMES}
   */
  readonly mechanisms?: readonly MechanismName[] | undefined;
}

/**
 * The strongest mechanism that the server offers and the credentials allow, or
 * the first such one of `mechanisms`.
 *
 * @param offered The names after AUTH in the server's EHLO reply, in any letter case
 * @param options The client's credentials, and whether the connection is encrypted
 * @returns The name, or `undefined` if no offered mechanism fits
 *
 * @example Not every offered mechanism is acceptable
 * ```ts
 * import { chooseMechanism } from "@smtp/server/sasl";
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
    names.has(name) && serves(name, options) &&
    (open || !mechanism(name).reveals)
  );
}

/** Whether the credentials include those that the mechanism needs. */
function serves(name: MechanismName, options: ClientMechanismOptions): boolean {
  const { needs, binds } = mechanism(name);
  if (needs === "certificate") return options.external === true;
  return Boolean(options[needs]) &&
    (!binds || options.channelBinding !== undefined);
}
