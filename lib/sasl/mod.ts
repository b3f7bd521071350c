/**
 * SASL mechanisms as step functions, for servers and clients of other
 * protocols too: PLAIN, LOGIN, CRAM-MD5, SCRAM-SHA-256 (with channel binding),
 * XOAUTH2, OAUTHBEARER and EXTERNAL.
 *
 * A mechanism takes a message of the peer and returns the next one, an end or
 * a failure. It does no input or output and never sees an account: it hands
 * {@linkcode Credentials} to the program, which decides.
 *
 * ```ts
 * import { createClientMechanism } from "@smtp/server/sasl";
 *
 * const plain = createClientMechanism("PLAIN", {
 *   username: "ann",
 *   password: "secret",
 * });
 * console.assert(plain.name === "PLAIN");
 * ```
 *
 * {@linkcode ServerExchange} drives the server's side of one exchange;
 * {@linkcode chooseMechanism} picks the strongest mechanism that both sides
 * have.
 *
 * @module
 */

export { tlsServerEndPoint } from "./channel_binding.ts";
export {
  type ClientMechanism,
  type ClientMechanismOptions,
  SaslError,
} from "./client_mechanism.ts";
export { Credentials } from "./credentials.ts";
export { decodeBase64Strict, encodeBase64 } from "./encoding.ts";
export {
  chooseMechanism,
  type ChooseMechanismOptions,
  createClientMechanism,
  createServerMechanism,
} from "./registry.ts";
export { saslPrep } from "./saslprep.ts";
export {
  type ExchangeChallenge,
  type ExchangeResult,
  ServerExchange,
  type ServerExchangeOptions,
} from "./server_exchange.ts";
export type {
  ServerEnd,
  ServerFailure,
  ServerMechanism,
  ServerMechanismOptions,
  ServerStep,
} from "./server_mechanism.ts";
