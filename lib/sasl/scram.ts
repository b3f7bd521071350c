/**
 * SCRAM-SHA-256 and SCRAM-SHA-256-PLUS: the four messages, then the client's
 * side, then the server's side.
 *
 * Messages have no state and no keys; a malformed one parses to `undefined`.
 * Their attributes come in the RFC's order, and nothing precedes them. A
 * mandatory extension (`m=`) is refused because it cannot be honoured; optional
 * ones at the end are ignored.
 *
 * The client's side never succeeds without the server's signature: a server
 * that cannot give it does not know the secret and is an impostor.
 *
 * The danger: salt and rounds go out before the proof comes in, so the judge
 * (which knows the secret) has to speak first and decide later. Its call of
 * `credentials.verify()` gives the salt, and the promise it got settles with
 * the proof. A user that does not exist gets a salt too, the same at every try.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5802 | RFC 5802},
 * {@link https://www.rfc-editor.org/rfc/rfc7677 | RFC 7677},
 * {@link https://www.rfc-editor.org/rfc/rfc5929#section-4 | RFC 5929 section 4}
 */

import { canonicalAccount } from "./accounts.ts";
import { type ClientMechanism, SaslError } from "./client_mechanism.ts";
import { Credentials, type KnownSecret } from "./credentials.ts";
import { digest, equalSecrets, hmac, pbkdf2, randomBytes } from "./digest.ts";
import {
  decodeBase64Strict,
  decodeUtf8,
  encodeBase64,
  encodeUtf8,
} from "./encoding.ts";
import {
  escapeName,
  formatGs2Header,
  type Gs2Header,
  parseGs2Header,
  unescapeName,
} from "./gs2.ts";
import { saslPrep } from "./saslprep.ts";
import {
  MAX_ITERATIONS,
  MIN_ITERATIONS,
  scramKeys,
  ScramVerifier,
  xor,
} from "./scram_verifier.ts";
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

/** The two mechanisms; only the second one binds to the TLS channel. */
type ScramName = "SCRAM-SHA-256" | "SCRAM-SHA-256-PLUS";

/** The type of channel binding in use. */
const BINDING_TYPE = "tls-server-end-point";

/** The client's first message. */
interface ClientFirst {
  /** Channel binding flag and authorization identity. */
  readonly header: Gs2Header;
  /** The user name, unescaped, not yet prepared. */
  readonly username: string;
  /** The client's nonce. */
  readonly nonce: string;
  /** The message without the header, a part of the AuthMessage. */
  readonly bare: string;
}

/** The client's final message. */
interface ClientFinal {
  /** The GS2 header again, followed by the channel binding data. */
  readonly channelBinding: Uint8Array;
  /** Both nonces. */
  readonly nonce: string;
  /** The ClientProof. */
  readonly proof: Uint8Array;
  /** The message without the proof, a part of the AuthMessage. */
  readonly withoutProof: string;
}

/** The server's first message. */
interface ServerFirst extends Parameters {
  /** Both nonces. */
  readonly nonce: string;
}

/** Salt and rounds that the server sends. */
interface Parameters {
  readonly salt: Uint8Array;
  /** Rounds of PBKDF2. */
  readonly iterations: number;
}

const NONCE = String.raw`r=([!-+\--~]+)`;
const EXTENSIONS = String.raw`(?:,[A-Za-z]=[^,\0]+)*`;
const BASE64 = "[A-Za-z0-9+/=]+";
const CLIENT_FIRST = new RegExp(
  String.raw`^n=([^,\0]+),${NONCE}${EXTENSIONS}$`,
);
const CLIENT_FINAL = new RegExp(
  `^(c=(${BASE64}),${NONCE}${EXTENSIONS}),p=(${BASE64})$`,
);
const SERVER_FIRST = new RegExp(
  String.raw`^${NONCE},s=(${BASE64}),i=([1-9]\d{0,9})${EXTENSIONS}$`,
);
const SERVER_FINAL = new RegExp(`^v=(${BASE64})${EXTENSIONS}$`);

function parseClientFirst(bytes: Uint8Array): ClientFirst | undefined {
  const text = decodeUtf8(bytes);
  const header = text === undefined ? undefined : parseGs2Header(text);
  if (text === undefined || header === undefined) return undefined;
  const bare = text.slice(header.text.length);
  const [, name, nonce] = CLIENT_FIRST.exec(bare) ?? [];
  const username = name === undefined ? undefined : unescapeName(name);
  if (username === undefined || nonce === undefined) return undefined;
  return { header, username, nonce, bare };
}

function parseClientFinal(bytes: Uint8Array): ClientFinal | undefined {
  const [, withoutProof, binding, nonce, proofText] =
    CLIENT_FINAL.exec(decodeUtf8(bytes) ?? "") ?? [];
  const channelBinding = decodeBase64Strict(binding ?? "");
  const proof = decodeBase64Strict(proofText ?? "");
  if (
    withoutProof === undefined || nonce === undefined ||
    channelBinding === undefined || proof === undefined
  ) {
    return undefined;
  }
  return { channelBinding, nonce, proof, withoutProof };
}

function parseServerFirst(bytes: Uint8Array): ServerFirst | undefined {
  const [, nonce, saltText, count] =
    SERVER_FIRST.exec(decodeUtf8(bytes) ?? "") ?? [];
  const salt = decodeBase64Strict(saltText ?? "");
  if (nonce === undefined || salt === undefined || count === undefined) {
    return undefined;
  }
  return { nonce, salt, iterations: Number(count) };
}

/** The signature in the server's final message, or `undefined` if it has none (an error, `e=`, included). */
function parseServerFinal(
  bytes: Uint8Array,
): Uint8Array<ArrayBuffer> | undefined {
  const [, signature] = SERVER_FINAL.exec(decodeUtf8(bytes) ?? "") ?? [];
  return signature === undefined ? undefined : decodeBase64Strict(signature);
}

function formatServerFirst(message: ServerFirst): string {
  const { nonce, salt, iterations } = message;
  return `r=${nonce},s=${encodeBase64(salt)},i=${iterations}`;
}

/** Options of the client's side. */
interface ScramLogin {
  readonly username: string;
  readonly password: string;
  /** The user to act for, `""` for the client's own. */
  readonly authorizationId: string;
  /** The channel binding of type tls-server-end-point, if the connection has one. */
  readonly channelBinding?: Uint8Array | undefined;
  /** The client's nonce, for tests; random if unset. */
  readonly nonce?: string | undefined;
}

/** SCRAM on the client's side. */
export class ScramClient implements ClientMechanism {
  readonly name: ScramName;
  readonly #password: string;
  readonly #header: string;
  readonly #bare: string;
  readonly #nonce: string;
  readonly #bindingData: Uint8Array | undefined;
  #state: "first" | "final" | "signed" = "first";
  #signature: Uint8Array | undefined;

  /**
   * @throws {TypeError} If the name or the password is empty or prohibited by
   * SASLprep, or the channel binding is missing
   */
  constructor(name: ScramName, login: ScramLogin) {
    const binds = name === "SCRAM-SHA-256-PLUS";
    if (binds && login.channelBinding === undefined) {
      throw new TypeError(
        `Cannot log in with ${name}: the channel binding is missing`,
      );
    }
    const username = saslPrep(login.username);
    const password = saslPrep(login.password);
    if (!username || !password) {
      throw new TypeError(
        `Cannot log in with ${name}: the name or the password is empty or has characters that SASLprep prohibits`,
      );
    }
    this.name = name;
    this.#password = password;
    this.#nonce = login.nonce ?? encodeBase64(randomBytes(24));
    this.#bindingData = binds ? login.channelBinding : undefined;
    // "y" says that this side supports channel binding: if an attacker removed
    // the server's offer on the way, the server notices.
    const possible = login.channelBinding === undefined ? "n" : "y";
    this.#header = formatGs2Header({
      flag: binds ? "p" : possible,
      bindingType: BINDING_TYPE,
      authorizationId: login.authorizationId,
    });
    this.#bare = `n=${escapeName(username)},r=${this.#nonce}`;
  }

  /** The client's first message. */
  start(): Uint8Array {
    return encodeUtf8(this.#header + this.#bare);
  }

  /** Answers salt and rounds with the proof, and checks the server's signature. */
  async step(challenge: Uint8Array): Promise<Uint8Array> {
    if (this.#state === "first") return await this.#prove(challenge);
    this.#checkSignature(challenge);
    return new Uint8Array(0);
  }

  async #prove(challenge: Uint8Array): Promise<Uint8Array> {
    const first = parseServerFirst(challenge);
    if (
      first === undefined || !first.nonce.startsWith(this.#nonce) ||
      first.nonce.length === this.#nonce.length
    ) {
      throw new SaslError(
        `Cannot go on with ${this.name}: the server's first message is wrong`,
      );
    }
    // With few rounds an impostor would get a proof that makes the password
    // cheap to guess; with too many it would keep this side busy.
    if (
      first.iterations < MIN_ITERATIONS || first.iterations > MAX_ITERATIONS
    ) {
      throw new SaslError(
        `Cannot go on with ${this.name}: the server asks for ${first.iterations} iterations, want ${MIN_ITERATIONS} to ${MAX_ITERATIONS}`,
      );
    }
    this.#state = "final";
    const keys = scramKeys(await pbkdf2(this.#password, first));
    const withoutProof = `c=${this.#binding()},r=${first.nonce}`;
    const serverFirst = decodeUtf8(challenge) ?? "";
    const data = encodeUtf8(`${this.#bare},${serverFirst},${withoutProof}`);
    const signature = hmac("sha256", { key: keys.storedKey, data });
    this.#signature = hmac("sha256", { key: keys.serverKey, data });
    const proof = encodeBase64(xor(keys.clientKey, signature));
    return encodeUtf8(`${withoutProof},p=${proof}`);
  }

  /** The GS2 header and the channel binding data, in base64. */
  #binding(): string {
    const header = encodeUtf8(this.#header);
    return encodeBase64(
      Uint8Array.from([...header, ...this.#bindingData ?? []]),
    );
  }

  #checkSignature(message: Uint8Array): void {
    const signature = parseServerFinal(message);
    if (
      this.#state !== "final" || this.#signature === undefined ||
      signature === undefined || !equalSecrets(signature, this.#signature)
    ) {
      throw new SaslError(
        `Cannot trust the server: its ${this.name} signature is wrong or missing`,
      );
    }
    this.#state = "signed";
  }

  /**
   * Checks that the server has sent its signature.
   *
   * @param final The server's final message, if the success reply carried it
   * @throws {SaslError} If it has not
   */
  finish(final?: Uint8Array): void {
    if (final !== undefined) this.#checkSignature(final);
    if (this.#state !== "signed") {
      throw new SaslError(
        `Cannot trust the server: it accepted without a ${this.name} signature`,
      );
    }
  }
}

/** Default of the option `saltKey`. */
const processSaltKey = randomBytes(32);

/** The parts of the client's final message that prove its knowledge. */
interface Proof {
  readonly authMessage: Uint8Array;
  readonly proof: Uint8Array;
}

/** SCRAM on the server's side. */
export class ScramServer implements ServerMechanism {
  readonly name: ScramName;
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

  constructor(name: ScramName, options: ServerMechanismOptions) {
    this.name = name;
    this.#options = options;
    this.#nonce = options.nonce ?? encodeBase64(randomBytes(24));
  }

  /** Reads the client's first message, or asks for it with an empty challenge. */
  start(initial: Uint8Array | undefined): ServerStep {
    return initial === undefined ? challenge("") : this.step(initial);
  }

  /** Reads the client's first message, then its final one. */
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

  /** The failure for a client's channel binding flag, `undefined` if the flag is right (RFC 5802 section 6). */
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
    const exists = secret !== undefined && secret !== "";
    const matches = exists && verifier.iterations === sent.iterations &&
      equalSecrets(verifier.salt, sent.salt);
    if (!proven || !matches) return false;
    this.#proven = verifier;
    return true;
  }

  /** Sends salt and rounds of the first secret that is checked; later secrets are checked with these. */
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
    // Verifiers keep their salts over a restart, so unknown users must, too.
    // The decoy is the same on all threads.
    const key = decoy === undefined
      ? saltKey
      : digest("sha256", encodeUtf8(decoy.toString()));
    // All spellings of an account's name have the same salt.
    const data = encodeUtf8(canonicalAccount(username));
    return hmac("sha256", { key, data }).subarray(0, length);
  }

  /** The verifier to check the proof with; for an unknown user one that no proof fits. */
  async #verifierOf(
    secret: KnownSecret,
    sent: Parameters,
  ): Promise<ScramVerifier> {
    const { decoy } = this.#options;
    const prepared = typeof secret === "string" ? saslPrep(secret) : undefined;
    // A plain secret costs the rounds here, so all secrets pay them: otherwise
    // the time would reveal the form of a secret.
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

  /** Whether `c=` repeats the GS2 header, followed with flag `p` by this connection's binding data. */
  #bindsChannel(final: ClientFinal, header: Gs2Header): boolean {
    const text = encodeUtf8(header.text);
    const data = header.flag === "p" ? this.#options.channelBinding : undefined;
    const want = new Uint8Array(text.length + (data?.length ?? 0));
    want.set(text);
    if (data !== undefined) want.set(data, text.length);
    return equalSecrets(final.channelBinding, want);
  }

  /**
   * Ends with the server's signature. The handler's judgement is not enough:
   * without a valid proof there is no key to sign with.
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

  /** Answers a handler that waits for the proof with `false`. */
  cancel(): void {
    this.#proof.resolve(undefined);
  }
}
