/**
 * The error of the client's side: the server does not keep to the mechanism,
 * or could not show that it knows the secret.
 */

/**
 * A login that the client breaks off. Who catches it cancels the exchange with
 * `*` and must not take the server for genuine.
 *
 * @example Tell a broken login from a broken connection
 * ```ts
 * import { createClientMechanism, SaslError } from "@smtp/server";
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
