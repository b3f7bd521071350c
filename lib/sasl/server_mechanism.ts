/**
 * The server's side of a SASL mechanism: what its step machine takes and gives,
 * and the steps that every one of them makes. One machine serves one AUTH
 * command. Knows no mechanism; `registry.ts` knows them all.
 *
 * A machine knows no socket, no base64 and no accounts, and does not throw for
 * anything a client sends.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc4422#section-5 | RFC 4422 section 5}
 */

import type { Credentials } from "./credentials.ts";
import { encodeUtf8 } from "./encoding.ts";
import type { MechanismName } from "./mechanism_name.ts";
import { saslPrep } from "./saslprep.ts";
import type { ScramVerifier } from "./scram_verifier.ts";

/** A message of the client cannot be gone on with. */
export interface ServerFailure {
  /** What kind of step this is. */
  readonly type: "failure";
  /** Whether the message broke the mechanism's grammar (501 5.5.2) or was refused for its meaning (535 5.7.8). */
  readonly failure: "malformed" | "refused";
  /** One sentence for the log, without anything the client sent. */
  readonly reason: string;
  /** To be sent before the failure; whatever the client answers, the exchange has failed. */
  readonly challenge?: Uint8Array | undefined;
}

/** What a machine wants after a message of the client. */
export type ServerStep =
  /** Send these bytes and read a response. */
  | { readonly type: "challenge"; readonly bytes: Uint8Array }
  /**
   * Have the credentials judged, then call `verified()`. With `challenge`, that
   * must be sent and answered while the judge is still at work: it resolves as
   * soon as `credentials.verify()` is called, and the judge's promise settles
   * after the next step. That step gives the same credentials once more.
   */
  | {
    readonly type: "verify";
    readonly credentials: Credentials;
    readonly challenge?: Promise<Uint8Array> | undefined;
  }
  | ServerFailure;

/** How an exchange ends. */
export interface ServerEnd {
  /** Whether the client is who it says. */
  readonly ok: boolean;
  /** To be sent, and its answer read, before the final reply. */
  readonly challenge?: Uint8Array | undefined;
}

/** One mechanism on the server's side. */
export interface ServerMechanism {
  /** Its name. */
  readonly name: MechanismName;
  /**
   * The beginning.
   *
   * @param initial The initial response, decoded; `undefined` for none, empty for `=`
   */
  start(initial: Uint8Array | undefined): ServerStep;
  /**
   * The client's answer to the last challenge.
   *
   * @param response The response, decoded
   */
  step(response: Uint8Array): ServerStep;
  /**
   * The judgement on the credentials.
   *
   * @param ok Whether they were found right
   */
  verified(ok: boolean): ServerEnd;
  /** The exchange is given up: a judge still waiting for the client gets `false`. */
  cancel(): void;
}

/** Options of {@linkcode createServerMechanism}. */
export interface ServerMechanismOptions {
  /** The server's own name, for the challenge of CRAM-MD5. */
  readonly hostname: string;
  /**
   * The channel binding of kind tls-server-end-point: the digest of the
   * server's certificate. Give it exactly where SCRAM-SHA-256-PLUS is offered:
   * then a client that believes it was not is refused, for somebody has cut it
   * out of the list on the way.
   */
  readonly channelBinding?: Uint8Array | undefined;
  /** The client's TLS certificate in DER, which EXTERNAL needs. */
  readonly certificate?: Uint8Array | undefined;
  /**
   * What users that do not exist are compared with: SCRAM names its rounds and
   * salt length for them, and PLAIN and LOGIN take as long. Without it they
   * look like users whose secret is stored plain.
   */
  readonly decoy?: ScramVerifier | undefined;
  /**
   * Key of the salts that SCRAM names for users without a verifier, 32 bytes;
   * not used where there is a decoy. Threads that serve one port must share it,
   * or unknown users are found out by a salt that changes.
   *
   * @default {random, one for this process or thread}
   */
  readonly saltKey?: Uint8Array | undefined;
  /** The scope that a client with a bad token is told to ask for. */
  readonly oauthScope?: string | undefined;
  /** Where a client with a bad token finds the OpenID configuration (OAUTHBEARER). */
  readonly openIdConfiguration?: string | undefined;
  /**
   * The server's part of the nonce (SCRAM), or what stands before the `@`
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
 * @param reason What was wanted, without anything the client sent
 */
export function malformed(reason: string): ServerFailure {
  return { type: "failure", failure: "malformed", reason };
}

/**
 * A step for a message that is well-formed and still cannot be accepted.
 *
 * @param reason Why, without anything the client sent
 */
export function refused(reason: string): ServerFailure {
  return { type: "failure", failure: "refused", reason };
}

/** The names in a client's message. */
export interface Names {
  /** Who the client is. */
  readonly username: string;
  /** Whom it wants to act for, `""` for none. */
  readonly authorizationId: string;
}

/**
 * The names of a message, prepared, or the failure that they make.
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
