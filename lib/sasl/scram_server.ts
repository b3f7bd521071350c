/**
 * SCRAM-SHA-256 and SCRAM-SHA-256-PLUS on the server's side.
 *
 * The danger: salt and rounds go out before the proof comes in, so the judge
 * (who knows the secret) has to speak first and decide later. Its call of
 * `credentials.verify()` gives the salt, and the promise it got settles with
 * the proof. A user who does not exist gets a salt too, the same at every try.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5802 | RFC 5802},
 * {@link https://www.rfc-editor.org/rfc/rfc7677 | RFC 7677},
 * {@link https://www.rfc-editor.org/rfc/rfc5929#section-4 | RFC 5929 section 4}
 */

import { canonicalAccount } from "./accounts.ts";
import { encodeBase64, encodeUtf8 } from "./encoding.ts";
import { Credentials, type KnownSecret } from "./credentials.ts";
import { digest, equalSecrets, hmac, pbkdf2, randomBytes } from "./digest.ts";
import type { Gs2Header } from "./gs2.ts";
import { saslPrep } from "./saslprep.ts";
import {
  type ClientFinal,
  type ClientFirst,
  formatServerFirst,
  parseClientFinal,
  parseClientFirst,
} from "./scram_messages.ts";
import { MIN_ITERATIONS, scramKeys, ScramVerifier } from "./scram_verifier.ts";
import {
  challenge,
  malformed,
  prepareNames,
  refused,
  type ServerEnd,
  type ServerFailure,
  type ServerMechanism,
  type ServerMechanismOptions,
  type ServerStep,
} from "./server_mechanism.ts";

const BINDING_TYPE = "tls-server-end-point";
const processSaltKey = randomBytes(32);

/** What came of the client's final message. */
interface Proof {
  readonly authMessage: Uint8Array;
  readonly proof: Uint8Array;
}

/** Salt and rounds that were sent. */
interface Parameters {
  readonly salt: Uint8Array;
  readonly iterations: number;
}

/** SCRAM on the server's side. */
export class ScramServer implements ServerMechanism {
  readonly name: "SCRAM-SHA-256" | "SCRAM-SHA-256-PLUS";
  readonly #options: ServerMechanismOptions;
  readonly #nonce: string;
  readonly #challenge = Promise.withResolvers<Uint8Array>();
  readonly #proof = Promise.withResolvers<Proof | undefined>();
  #first: ClientFirst | undefined;
  #credentials: Credentials | undefined;
  #parameters: Parameters | undefined;
  #serverFirst = "";
  #authMessage: Uint8Array | undefined;
  #proven: ScramVerifier | undefined;

  constructor(
    name: "SCRAM-SHA-256" | "SCRAM-SHA-256-PLUS",
    options: ServerMechanismOptions,
  ) {
    this.name = name;
    this.#options = options;
    this.#nonce = options.nonce ?? encodeBase64(randomBytes(24));
  }

  /** Takes the client's first message, or asks for it with an empty challenge. */
  start(initial: Uint8Array | undefined): ServerStep {
    return initial === undefined ? challenge("") : this.step(initial);
  }

  /** Takes the client's first message, then its final one. */
  step(response: Uint8Array): ServerStep {
    const step = this.#first === undefined
      ? this.#takeFirst(response)
      : this.#takeFinal(response, this.#first);
    if (step.type === "failure") this.cancel();
    return step;
  }

  #takeFirst(response: Uint8Array): ServerStep {
    const first = parseClientFirst(response);
    if (first === undefined) {
      return malformed("The first SCRAM message does not fit the grammar");
    }
    const failure = this.#checkBinding(first.header);
    if (failure !== undefined) return failure;
    const names = prepareNames({
      username: first.username,
      authorizationId: first.header.authorizationId,
    });
    if ("type" in names) return names;
    this.#first = first;
    this.#credentials = new Credentials({
      mechanism: this.name,
      ...names,
      check: (secret) => this.#check(secret, names.username),
    });
    return {
      type: "verify",
      credentials: this.#credentials,
      challenge: this.#challenge.promise,
    };
  }

  /** What is wrong with the client's channel binding flag, if anything is (RFC 5802 section 6). */
  #checkBinding(header: Gs2Header): ServerFailure | undefined {
    const { channelBinding } = this.#options;
    if (this.name === "SCRAM-SHA-256-PLUS") {
      return header.flag === "p" && header.bindingType === BINDING_TYPE &&
          channelBinding !== undefined
        ? undefined
        : refused(`The channel binding is not of kind "${BINDING_TYPE}"`);
    }
    if (header.flag === "p") {
      return refused("SCRAM-SHA-256 was chosen with channel binding");
    }
    return header.flag === "y" && channelBinding !== undefined
      ? refused(
        "The client was not shown that SCRAM-SHA-256-PLUS is offered: the list was changed on the way",
      )
      : undefined;
  }

  async #check(secret: KnownSecret, username: string): Promise<boolean> {
    const sent = this.#sendParameters(secret, username);
    const proof = await this.#proof.promise;
    if (proof === undefined) return false;
    const verifier = await this.#verifierOf(secret, sent);
    const proven = verifier.provesKnowledge(proof);
    const usable = secret !== undefined && secret !== "" &&
      verifier.iterations === sent.iterations &&
      equalSecrets(verifier.salt, sent.salt);
    if (!proven || !usable) return false;
    this.#proven = verifier;
    return true;
  }

  /** Sends salt and rounds with the first secret that is asked about; later ones have to do with them. */
  #sendParameters(secret: KnownSecret, username: string): Parameters {
    if (this.#parameters !== undefined) return this.#parameters;
    const { decoy } = this.#options;
    this.#parameters = secret instanceof ScramVerifier ? secret : {
      salt: this.#saltFor(username, decoy?.salt.length ?? 16),
      iterations: decoy?.iterations ?? MIN_ITERATIONS,
    };
    this.#serverFirst = formatServerFirst({
      nonce: `${this.#first?.nonce}${this.#nonce}`,
      salt: this.#parameters.salt,
      iterations: this.#parameters.iterations,
    });
    this.#challenge.resolve(encodeUtf8(this.#serverFirst));
    return this.#parameters;
  }

  #saltFor(username: string, length: number): Uint8Array {
    const { saltKey = processSaltKey, decoy } = this.#options;
    // Verifiers keep their salts over a restart: unknown users must, too. The
    // decoy is the same on all threads.
    const key = decoy === undefined
      ? saltKey
      : digest("sha256", encodeUtf8(decoy.toString()));
    // As accounts are looked up: all spellings of one name have one salt.
    const data = encodeUtf8(canonicalAccount(username));
    return hmac("sha256", { key, data }).subarray(0, length);
  }

  /** The verifier to hold the proof against; one that nothing fits for an unknown user. */
  async #verifierOf(
    secret: KnownSecret,
    sent: Parameters,
  ): Promise<ScramVerifier> {
    const { decoy } = this.#options;
    const prepared = typeof secret === "string" ? saslPrep(secret) : undefined;
    // Where some secrets are plain, those pay the rounds here: so do the
    // others, or the time would tell them apart.
    const keys = scramKeys(await pbkdf2(prepared ?? "", sent));
    if (secret instanceof ScramVerifier) return secret;
    if (secret === undefined && decoy !== undefined) return decoy;
    return prepared === undefined || prepared === ""
      ? ScramVerifier.decoy(sent)
      : new ScramVerifier({ ...sent, ...keys });
  }

  #takeFinal(response: Uint8Array, first: ClientFirst): ServerStep {
    const final = parseClientFinal(response);
    const credentials = this.#credentials;
    if (
      final === undefined || credentials === undefined ||
      this.#authMessage !== undefined
    ) {
      return malformed("The final SCRAM message does not fit the grammar");
    }
    if (final.nonce !== first.nonce + this.#nonce) {
      return refused("The nonce is not the one that was sent");
    }
    if (!this.#bindsChannel(final, first.header)) {
      return refused("The channel binding is not that of this connection");
    }
    this.#authMessage = encodeUtf8(
      `${first.bare},${this.#serverFirst},${final.withoutProof}`,
    );
    this.#proof.resolve({
      authMessage: this.#authMessage,
      proof: final.proof,
    });
    return { type: "verify", credentials };
  }

  /** Whether `c=` repeats the GS2 header, with this connection's binding data after it where that was agreed. */
  #bindsChannel(final: ClientFinal, header: Gs2Header): boolean {
    const text = encodeUtf8(header.text);
    const data = header.flag === "p" ? this.#options.channelBinding : undefined;
    const want = new Uint8Array(text.length + (data?.length ?? 0));
    want.set(text);
    if (data !== undefined) want.set(data, text.length);
    return equalSecrets(final.channelBinding, want);
  }

  /**
   * Ends with the server's signature. A judgement alone is not enough: without
   * the proof there is no key to sign with.
   */
  verified(ok: boolean): ServerEnd {
    if (
      !ok || this.#proven === undefined || this.#authMessage === undefined
    ) {
      return { ok: false };
    }
    const signature = encodeBase64(this.#proven.sign(this.#authMessage));
    return { ok: true, challenge: encodeUtf8(`v=${signature}`) };
  }

  /** Lets a judge that waits for the proof go on, with `false`. */
  cancel(): void {
    this.#proof.resolve(undefined);
  }
}
