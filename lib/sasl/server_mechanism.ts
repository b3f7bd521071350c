/**
 * The server's side of a SASL mechanism: the interface of its step machine, its
 * options, and the steps that all machines share. One machine serves one AUTH
 * command. Knows no mechanism; `registry.ts` knows them all.
 *
 * A machine knows no socket, no base64 and no accounts, and does not throw,
 * whatever a client sends.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc4422#section-5 | RFC 4422 section 5}
 */

import type { Credentials } from "./credentials.ts";
import { encodeUtf8 } from "./encoding.ts";
import type { MechanismName } from "./mechanism_name.ts";
import { saslPrep } from "./saslprep.ts";
import type { ScramVerifier } from "./scram_verifier.ts";

/** The step that ends the exchange because of a client's message. */
export interface ServerFailure {
  /** The kind of step. */
  readonly type: "failure";
  /** Whether the message broke the mechanism's grammar (501 5.5.2) or was refused for its meaning (535 5.7.8). */
  readonly failure: "malformed" | "refused";
  /** One sentence for the log, without the client's text. */
  readonly reason: string;
  /** Sent before the failure; whatever the client answers, the exchange has failed. */
  readonly challenge?: Uint8Array | undefined;
}

/** A machine's request to its driver after a message of the client. */
export type ServerStep =
  /** Send these bytes and read a response. */
  | { readonly type: "challenge"; readonly bytes: Uint8Array }
  /**
   * Have the handler judge the credentials, then call `verified()`. A
   * `challenge` must be sent and answered while the handler is still at work:
   * it resolves as soon as `credentials.verify()` is called, and the handler's
   * promise settles after the next step. That step has the same credentials
   * again.
   */
  | {
    readonly type: "verify";
    readonly credentials: Credentials;
    readonly challenge?: Promise<Uint8Array> | undefined;
  }
  | ServerFailure;

/** The end of an exchange. */
export interface ServerEnd {
  /** Whether the client is authenticated. */
  readonly ok: boolean;
  /** A challenge to send, and to read the answer to, before the final reply. */
  readonly challenge?: Uint8Array | undefined;
}

/**
 * One mechanism on the server's side.
 *
 * @example Drive a mechanism without an exchange
 * ```ts
 * import {
 *   createServerMechanism,
 *   type ServerEnd,
 *   type ServerFailure,
 *   type ServerStep,
 * } from "@smtp/server/sasl";
 *
 * const mechanism = createServerMechanism("PLAIN", { hostname: "mx.example" });
 * const step: ServerStep = mechanism.start(
 *   new TextEncoder().encode("\0ann\0secret"),
 * );
 * const log = ({ failure, reason }: ServerFailure) =>
 *   console.log(`${failure}: ${reason}`);
 * if (step.type === "failure") log(step);
 * if (step.type === "verify") {
 *   const isRight = await step.credentials.verify("secret");
 *   const end: ServerEnd = mechanism.verified(isRight);
 *   console.assert(end.ok);
 * }
 * ```
 */
export interface ServerMechanism {
  /** Its name. */
  readonly name: MechanismName;
  /**
   * Begins.
   *
   * @param initial The initial response, decoded; `undefined` for none, empty for `=`
   */
  start(initial: Uint8Array | undefined): ServerStep;
  /**
   * Takes the client's response to the last challenge.
   *
   * @param response The response, decoded
   */
  step(response: Uint8Array): ServerStep;
  /**
   * Takes the judgement on the credentials.
   *
   * @param ok Whether the handler accepted them
   */
  verified(ok: boolean): ServerEnd;
  /** Ends the exchange early: a handler that still waits for the client gets `false`. */
  cancel(): void;
}

/** Options of {@linkcode createServerMechanism}. */
export interface ServerMechanismOptions {
  /** The server's own name, for the challenge of CRAM-MD5. */
  readonly hostname: string;
  /**
   * The channel binding of type tls-server-end-point: the digest of the server's
   * certificate. Set it if, and only if, SCRAM-SHA-256-PLUS is offered: a client
   * that did not see the offer is then refused, because an attacker has removed
   * it from the list on the way. Default: not offered.
   */
  readonly channelBinding?: Uint8Array | undefined;
  /** The client's TLS certificate in DER, which EXTERNAL needs. Default: none. */
  readonly certificate?: Uint8Array | undefined;
  /**
   * The verifier that unknown users are compared with: SCRAM sends its rounds and
   * a salt of its length for them, and PLAIN and LOGIN take as long. Without it
   * unknown users look like users whose secret is stored plain. Default: none.
   */
  readonly decoy?: ScramVerifier | undefined;
  /**
   * Key of the salts that SCRAM sends for users without a verifier, 32 bytes;
   * not used if there is a decoy. Threads that serve one port must share it, or
   * a changing salt reveals unknown users.
   *
   * @default {random, one for this process or thread}
   */
  readonly saltKey?: Uint8Array | undefined;
  /**
   * The scope that the server names to a client with an invalid token. Default:
   * it is left out.
   */
  readonly oauthScope?: string | undefined;
  /**
   * The address of the OpenID configuration, for a client with an invalid token
   * (OAUTHBEARER). Default: it is left out.
   */
  readonly openIdConfiguration?: string | undefined;
  /**
   * The server's part of the nonce (SCRAM), or the text before the `@`
   * (CRAM-MD5). For tests with known answers: two exchanges must never share one.
   *
   * @default {random}
   */
  readonly nonce?: string | undefined;
}

/**
 * A step that sends a challenge.
 *
 * @param content The challenge; a string stands for its UTF-8 bytes
 */
export function challenge(content: string | Uint8Array): ServerStep {
  const bytes = typeof content === "string" ? encodeUtf8(content) : content;
  return { type: "challenge", bytes };
}

/**
 * A step for a message that breaks the grammar.
 *
 * @param reason The fault, without the client's text
 */
export function malformed(reason: string): ServerFailure {
  return { type: "failure", failure: "malformed", reason };
}

/**
 * A step for a message that is well-formed, but unacceptable.
 *
 * @param reason The reason, without the client's text
 */
export function refused(reason: string): ServerFailure {
  return { type: "failure", failure: "refused", reason };
}

/** The names in a client's message. */
export interface Names {
  /** The user name. */
  readonly username: string;
  /** The user to act for, `""` for none. */
  readonly authorizationId: string;
}

/**
 * The names of a message, prepared by SASLprep, or a failure.
 *
 * @param names The names as the client wrote them
 */
export function prepareNames(names: Names): Names | ServerFailure {
  const username = saslPrep(names.username);
  const authorizationId = saslPrep(names.authorizationId);
  if (
    username === undefined || username === "" || authorizationId === undefined
  ) {
    return malformed("The user name is empty or has prohibited characters");
  }
  return { username, authorizationId };
}
