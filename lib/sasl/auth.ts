/**
 * Accounts and authentication: which clients may log in, and how a program
 * decides it.
 *
 * With accounts, clients may log in, under TLS; submission listeners require
 * it.
 *
 * ```ts
 * import { SmtpServer } from "@smtp/server";
 * import { DiscardStore } from "@smtp/server/store";
 * import { AccountList } from "@smtp/server/auth";
 * import { Certificate } from "@smtp/server/tls";
 *
 * await using server = new SmtpServer({
 *   store: new DiscardStore(),
 *   listen: ["127.0.0.1:0", "127.0.0.1:0/submissions"],
 *   certificate: await Certificate.selfSigned({ names: ["mx.example.com"] }),
 *   accounts: new AccountList({ ann: "secret" }),
 * });
 * await server.start();
 * ```
 *
 * The mechanisms are SCRAM-SHA-256, with channel binding too, CRAM-MD5, PLAIN
 * and LOGIN, and by the option `mechanisms` XOAUTH2, OAUTHBEARER and EXTERNAL.
 * A server offers only mechanisms that can succeed: a list of SCRAM verifiers
 * has no CRAM-MD5, and without TLS there is no AUTH unless `allowInsecureAuth`
 * says so. {@linkcode ScramVerifier} makes the verifiers, so that a file of
 * accounts holds no password.
 *
 * An account may have more than a secret: `addresses` are those from which its user
 * sends under `senderPolicy: "own"` of the server, and `disabled` shuts it. The
 * limits of each user are `limits.perUser`. Accounts in a database are an object
 * with {@linkcode Accounts.find}, and if need be `addresses` and `isDisabled`.
 *
 * ```ts
 * import { SmtpServer } from "@smtp/server";
 * import { AccountList, ScramVerifier } from "@smtp/server/auth";
 *
 * const server = new SmtpServer({
 *   accounts: new AccountList({
 *     "ann@example.com": await ScramVerifier.create("secret"),
 *     shop: { secret: "other secret", addresses: ["@shop.example"] },
 *     carl: { secret: "third secret", disabled: true },
 *   }),
 *   senderPolicy: "own",
 *   limits: { perUser: { messagesPerDay: 500 } },
 * });
 * console.assert(!server.active);
 * ```
 *
 * A program that knows its users decides by `onAuthenticate`. `verify()`
 * compares in constant time, with every mechanism. Call it for unknown users
 * too, so that they take as long as known ones.
 *
 * ```ts
 * import type { SmtpHandlers } from "@smtp/server";
 *
 * const secrets = new Map([["ann", "secret"]]);
 * const handlers: SmtpHandlers = {
 *   onAuthenticate: (_session, credentials) =>
 *     credentials.verify(secrets.get(credentials.username)),
 * };
 * console.assert(handlers.onAuthenticate !== undefined);
 * ```
 *
 * Hashes of other systems that are PBKDF2 with HMAC-SHA-256, as Django's, become
 * verifiers by {@linkcode ScramVerifier.fromSaltedPassword};
 * `examples/hashed_passwords.ts` has them. For hashes of another kind, as bcrypt and
 * Argon2, a handler checks `credentials.password`, which PLAIN and LOGIN send. It
 * hashes for unknown users, too, so that they take as long as known ones.
 *
 * ```ts
 * import type { SmtpHandlers } from "@smtp/server";
 * import { scrypt, timingSafeEqual } from "node:crypto";
 * import { promisify } from "node:util";
 *
 * const rows = new Map<string, { salt: Uint8Array; hash: Uint8Array }>();
 * // No password has this hash.
 * const nobody = { salt: new Uint8Array(16), hash: new Uint8Array(32) };
 * const hashed = promisify<string, Uint8Array, number, Uint8Array>(scrypt);
 * const handlers: SmtpHandlers = {
 *   async onAuthenticate(_session, { username, password = "" }) {
 *     const { salt, hash } = rows.get(username) ?? nobody;
 *     return timingSafeEqual(await hashed(password, salt, 32), hash);
 *   },
 * };
 * console.assert(handlers.onAuthenticate !== undefined);
 * ```
 *
 * Guessing is slow: each failure doubles the delay for that account from that
 * address, and after a budget the reply is 421; attempts that are still
 * running count. Other users behind the same address are not affected.
 * Attempts at one account from many networks take turns, one in two seconds;
 * networks that have logged in to the account before are not delayed.
 *
 * @module
 */

export {
  AccountList,
  type AccountOptions,
  type Accounts,
  authenticateWith,
  parseAccounts,
  parseSenders,
} from "./accounts.ts";
export {
  Credentials,
  type KeyedDigestOptions,
  type KnownSecret,
} from "./credentials.ts";
export {
  MECHANISM_NAMES,
  type MechanismName,
  parseMechanismName,
} from "./mechanism_name.ts";
export {
  type SaltedPassword,
  ScramVerifier,
  type ScramVerifierOptions,
} from "./scram_verifier.ts";
