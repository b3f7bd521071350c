/**
 * The names of the supported SASL mechanisms, strongest first. Their step
 * machines are in `registry.ts`.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc4422#section-3.1 | RFC 4422 section 3.1}
 */

/**
 * All mechanisms, in the order of a client's preference and of a server's
 * offer.
 *
 * @example The strongest mechanism
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
 * The mechanism that a peer names, in any letter case, or `undefined` for an
 * unknown one.
 *
 * @param text The peer's text
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
