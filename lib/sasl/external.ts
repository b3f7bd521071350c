/**
 * EXTERNAL, both sides: the TLS certificate of the client authenticates it, and
 * the message names at most the user to act for. Stands alone: each mechanism
 * has its own file.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc4422#appendix-A | RFC 4422 appendix A}
 */

import { type ClientMechanism, SaslError } from "./client_mechanism.ts";
import { Credentials } from "./credentials.ts";
import { decodeUtf8, encodeUtf8 } from "./encoding.ts";
import { saslPrep } from "./saslprep.ts";
import {
  challenge,
  malformed,
  refused,
  type ServerEnd,
  type ServerMechanism,
  type ServerStep,
} from "./server_mechanism.ts";

/** EXTERNAL on the server's side. */
export class ExternalServer implements ServerMechanism {
  readonly name = "EXTERNAL";
  readonly #certificate: Uint8Array | undefined;

  constructor(options: { readonly certificate?: Uint8Array | undefined }) {
    this.#certificate = options.certificate;
  }

  /** Reads the authorization identity, or asks for it with an empty challenge. */
  start(initial: Uint8Array | undefined): ServerStep {
    return initial === undefined ? challenge("") : this.step(initial);
  }

  /** Reads the authorization identity; empty means that of the certificate. */
  step(response: Uint8Array): ServerStep {
    const text = decodeUtf8(response);
    const name = text === undefined ? undefined : saslPrep(text);
    if (name === undefined) {
      return malformed("The EXTERNAL identity has prohibited characters");
    }
    if (this.#certificate === undefined) {
      return refused("The client has presented no certificate");
    }
    const credentials = new Credentials({
      mechanism: this.name,
      username: name,
      authorizationId: name,
      certificate: this.#certificate,
      check: () => Promise.resolve(false),
    });
    return { type: "verify", credentials };
  }

  verified(ok: boolean): ServerEnd {
    return { ok };
  }

  cancel(): void {}
}

/** EXTERNAL on the client's side. */
export class ExternalClient implements ClientMechanism {
  readonly name = "EXTERNAL";
  readonly #authorizationId: string;

  constructor(login: { readonly authorizationId: string }) {
    this.#authorizationId = login.authorizationId;
  }

  /** The authorization identity; can be empty. */
  start(): Uint8Array {
    return encodeUtf8(this.#authorizationId);
  }

  /** Rejects: EXTERNAL has a single message. */
  step(_challenge: Uint8Array): Promise<Uint8Array> {
    return Promise.reject(
      new SaslError("Cannot go on with EXTERNAL: the server asks for more"),
    );
  }

  finish(): void {}
}
