/**
 * The names of the SASL mechanisms that this package speaks, strongest first.
 * The machines behind them are in {@link ./registry.ts}.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc4422#section-3.1 | RFC 4422 section 3.1}
 */

/**
 * Every mechanism that both sides know, in the order in which a client prefers
 * them and a server names them.
 *
 * @example See what can be offered
 * ```ts
 * import { MECHANISM_NAMES } from "@smtp/server/auth";
 *
 * console.assert(MECHANISM_NAMES[0] === "SCRAM-SHA-256-PLUS");
 * ```
 */
export const MECHANISM_NAMES = [
  "SCRAM-SHA-256-PLUS",
  "SCRAM-SHA-256",
  "EXTERNAL",
  "OAUTHBEARER",
  "XOAUTH2",
  "CRAM-MD5",
  "PLAIN",
  "LOGIN",
] as const;

/** The name of a SASL mechanism. */
export type MechanismName = typeof MECHANISM_NAMES[number];

/**
 * The mechanism that a peer names, in any letter case, or `undefined` for one
 * that is not known here.
 *
 * @param text What the peer wrote
 *
 * @example Read the argument of an AUTH command
 * ```ts
 * import { parseMechanismName } from "@smtp/server/auth";
 *
 * console.assert(parseMechanismName("plain") === "PLAIN");
 * console.assert(parseMechanismName("NTLM") === undefined);
 * ```
 */
export function parseMechanismName(text: string): MechanismName | undefined {
  const wanted = text.toUpperCase();
  return MECHANISM_NAMES.find((name) => name === wanted);
}
