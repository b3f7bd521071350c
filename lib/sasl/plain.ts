/**
 * PLAIN and LOGIN, both sides: the two mechanisms that send name and password
 * in the clear. PLAIN sends both in one message; LOGIN asks for one after the
 * other. LOGIN has no RFC, only an expired draft, but old clients know nothing
 * else.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc4616 | RFC 4616},
 * {@link https://datatracker.ietf.org/doc/html/draft-murchison-sasl-login-00 | draft-murchison-sasl-login}
 */

import { type ClientMechanism, SaslError } from "./client_mechanism.ts";
import { Credentials, passwordCheck } from "./credentials.ts";
import { decodeUtf8, encodeUtf8 } from "./encoding.ts";
import type { ScramVerifier } from "./scram_verifier.ts";
import {
  challenge,
  malformed,
  prepareNames,
  type ServerEnd,
  type ServerMechanism,
  type ServerStep,
} from "./server_mechanism.ts";

/** PLAIN on the server's side. */
export class PlainServer implements ServerMechanism {
  readonly name = "PLAIN";
  readonly #decoy: ScramVerifier | undefined;

  constructor(options: { readonly decoy?: ScramVerifier | undefined }) {
    this.#decoy = options.decoy;
  }

  /** Reads the message, or asks for it with an empty challenge. */
  start(initial: Uint8Array | undefined): ServerStep {
    return initial === undefined ? challenge("") : this.step(initial);
  }

  /** Reads `[authzid] NUL authcid NUL passwd`. */
  step(response: Uint8Array): ServerStep {
    const parts = decodeUtf8(response)?.split("\0") ?? [];
    const [authorizationId = "", username = "", password = ""] = parts;
    if (parts.length !== 3 || password === "") {
      return malformed(
        "The PLAIN message is not three parts of UTF-8 with NUL between",
      );
    }
    const names = prepareNames({ username, authorizationId });
    if ("type" in names) return names;
    const check = passwordCheck({ password, decoy: this.#decoy });
    const credentials = new Credentials({
      mechanism: this.name,
      ...names,
      password,
      check,
    });
    return { type: "verify", credentials };
  }

  verified(ok: boolean): ServerEnd {
    return { ok };
  }

  cancel(): void {}
}

/** PLAIN on the client's side. */
export class PlainClient implements ClientMechanism {
  readonly name = "PLAIN";
  readonly #message: Uint8Array<ArrayBuffer>;

  /** @throws {TypeError} If a name or the password contains a NUL */
  constructor(
    login: {
      readonly username: string;
      readonly password: string;
      readonly authorizationId: string;
    },
  ) {
    const parts = [login.authorizationId, login.username, login.password];
    if (parts.some((part) => part.includes("\0"))) {
      throw new TypeError(
        "Cannot log in with PLAIN: a name or the password has a NUL in it",
      );
    }
    this.#message = encodeUtf8(parts.join("\0"));
  }

  /** The whole message. */
  start(): Uint8Array {
    return this.#message;
  }

  /** Rejects: PLAIN has a single message. */
  step(_challenge: Uint8Array): Promise<Uint8Array> {
    return Promise.reject(
      new SaslError("Cannot go on with PLAIN: the server asks for more"),
    );
  }

  finish(): void {}
}

/** LOGIN on the server's side. */
export class LoginServer implements ServerMechanism {
  readonly name = "LOGIN";
  readonly #decoy: ScramVerifier | undefined;
  #username: string | undefined;

  constructor(options: { readonly decoy?: ScramVerifier | undefined }) {
    this.#decoy = options.decoy;
  }

  /** Asks for the name; an initial response is the name. */
  start(initial: Uint8Array | undefined): ServerStep {
    return initial === undefined ? challenge("Username:") : this.step(initial);
  }

  /** Reads the name, then the password. */
  step(response: Uint8Array): ServerStep {
    const text = decodeUtf8(response);
    if (text === undefined || text === "" || text.includes("\0")) {
      return malformed("The name or password of LOGIN is empty or no UTF-8");
    }
    if (this.#username !== undefined) return this.#judge(this.#username, text);
    const names = prepareNames({ username: text, authorizationId: "" });
    if ("type" in names) return names;
    this.#username = names.username;
    return challenge("Password:");
  }

  #judge(username: string, password: string): ServerStep {
    const check = passwordCheck({ password, decoy: this.#decoy });
    const mechanism = this.name;
    const credentials = new Credentials({
      mechanism,
      username,
      password,
      check,
    });
    return { type: "verify", credentials };
  }

  verified(ok: boolean): ServerEnd {
    return { ok };
  }

  cancel(): void {}
}

/** LOGIN on the client's side. */
export class LoginClient implements ClientMechanism {
  readonly name = "LOGIN";
  readonly #answers: string[];

  constructor(login: { readonly username: string; readonly password: string }) {
    this.#answers = [login.username, login.password];
  }

  /** No initial response: not every server accepts the name with the command. */
  start(): undefined {}

  /**
   * Answers the first challenge with the name and the second with the password.
   * Ignores the wording of the challenges: no standard fixes it.
   */
  step(_challenge: Uint8Array): Promise<Uint8Array> {
    const answer = this.#answers.shift();
    return answer === undefined
      ? Promise.reject(
        new SaslError("Cannot go on with LOGIN: the server asks for more"),
      )
      : Promise.resolve(encodeUtf8(answer));
  }

  /**
   * Checks that the server sent both challenges.
   *
   * @throws {SaslError} If the server accepted without asking for the password
   */
  finish(): void {
    if (this.#answers.length > 0) {
      throw new SaslError(
        "Cannot trust the server: it ended LOGIN without asking for the password",
      );
    }
  }
}
