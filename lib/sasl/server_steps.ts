/**
 * The few things that every server mechanism does: making steps, and preparing
 * the names a client gives.
 */

import { saslPrep } from "./saslprep.ts";
import type { ServerFailure, ServerStep } from "./server_mechanism.ts";
import { encodeUtf8 } from "./encoding.ts";

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
