/**
 * XOAUTH2 and OAUTHBEARER, both sides: a name and a bearer token in key-value
 * pairs, separated by byte 1. The server answers a refused token with a JSON
 * object first; the client answers that once before the exchange fails.
 *
 * The server's side does not look into tokens: the handler finds out the user
 * of a token and its lifetime. The client's side shows the server's JSON object
 * to no caller: it is the peer's text.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc7628#section-3 | RFC 7628 section 3},
 * {@link https://developers.google.com/workspace/gmail/imap/xoauth2-protocol | XOAUTH2}
 */

import { formatGs2Header, parseGs2Header } from "./gs2.ts";
import { decodeUtf8, encodeUtf8 } from "./encoding.ts";
import { type ClientMechanism, SaslError } from "./client_mechanism.ts";
import { Credentials, tokenCheck } from "./credentials.ts";
import { saslPrep } from "./saslprep.ts";
import {
  challenge,
  malformed,
  type ServerEnd,
  type ServerMechanism,
  type ServerMechanismOptions,
  type ServerStep,
} from "./server_mechanism.ts";

/** A client's message in an OAuth mechanism. */
interface OAuthMessage {
  /** The name that accompanies the token, `""` for none. */
  readonly username: string;
  /** The token; `""` if the client only asks for the server's terms. */
  readonly token: string;
}

/** The host and port that the client connected to (OAUTHBEARER). */
interface OAuthTarget {
  /** The server's name. */
  readonly host?: string | undefined;
  /** The server's port. */
  readonly port?: number | undefined;
}

/** The two mechanisms; they differ only in the form of their messages. */
type OAuthName = "XOAUTH2" | "OAUTHBEARER";

const SEPARATOR = "\x01";
const PAIR = /^([A-Za-z]+)=([\t\n\r -~]*)$/;
const BEARER = /^bearer +([A-Za-z0-9._~+/-]+=*) *$/i;

/** The OAuth mechanisms on the server's side. */
export class OAuthServer implements ServerMechanism {
  readonly name: OAuthName;
  readonly #options: ServerMechanismOptions;

  constructor(
    name: OAuthName,
    options: ServerMechanismOptions,
  ) {
    this.name = name;
    this.#options = options;
  }

  /** Reads the message, or asks for it with an empty challenge. */
  start(initial: Uint8Array | undefined): ServerStep {
    return initial === undefined ? challenge("") : this.step(initial);
  }

  /** Reads name and token. */
  step(response: Uint8Array): ServerStep {
    const message = this.name === "XOAUTH2"
      ? parseXOAuth2(response)
      : parseOAuthBearer(response);
    const username = message === undefined
      ? undefined
      : saslPrep(message.username);
    if (message === undefined || username === undefined) {
      return malformed(`The ${this.name} message does not fit the grammar`);
    }
    const { token } = message;
    if (token === "") {
      return {
        type: "failure",
        failure: "refused",
        reason: "The client asks for the server's terms with an empty token",
        challenge: this.#terms(),
      };
    }
    const credentials = new Credentials({
      mechanism: this.name,
      username,
      token,
      check: tokenCheck(token),
    });
    return { type: "verify", credentials };
  }

  /** The JSON object that tells a client how to get a valid token. */
  #terms(): Uint8Array {
    const { oauthScope: scope, openIdConfiguration } = this.#options;
    const bearer = this.name === "OAUTHBEARER";
    return encodeUtf8(JSON.stringify({
      status: bearer ? "invalid_token" : "401",
      ...(bearer ? {} : { schemes: "bearer" }),
      ...(scope === undefined ? {} : { scope }),
      ...(!bearer || openIdConfiguration === undefined
        ? {}
        : { "openid-configuration": openIdConfiguration }),
    }));
  }

  /** Ends; a refusal sends the terms first. */
  verified(ok: boolean): ServerEnd {
    return ok ? { ok } : { ok, challenge: this.#terms() };
  }

  cancel(): void {}
}

/** The OAuth mechanisms on the client's side. */
export class OAuthClient implements ClientMechanism {
  readonly name: OAuthName;
  readonly #message: Uint8Array<ArrayBuffer>;
  #refused = false;

  /** @throws {TypeError} If the name or the token has characters that a message cannot carry */
  constructor(
    name: OAuthName,
    login: OAuthMessage & OAuthTarget,
  ) {
    // deno-lint-ignore no-control-regex
    const unfit = /[\0\x01]/.test(`${login.username}${login.host ?? ""}`);
    if (unfit || !isBearerToken(login.token)) {
      throw new TypeError(
        `Cannot log in with ${name}: the name has control characters or the token is none`,
      );
    }
    this.name = name;
    this.#message = name === "XOAUTH2"
      ? formatXOAuth2(login)
      : formatOAuthBearer(login, login);
  }

  /** The whole message. */
  start(): Uint8Array {
    return this.#message;
  }

  /** Answers the error object; the server then sends its refusal. */
  step(_challenge: Uint8Array): Promise<Uint8Array> {
    if (this.#refused) {
      return Promise.reject(
        new SaslError(
          `Cannot go on with ${this.name}: the server asks for more`,
        ),
      );
    }
    this.#refused = true;
    return Promise.resolve(encodeUtf8(this.name === "XOAUTH2" ? "" : "\x01"));
  }

  /**
   * Checks that the server did not refuse the token before it accepted it.
   *
   * @throws {SaslError} If it did
   */
  finish(): void {
    if (this.#refused) {
      throw new SaslError(
        `Cannot trust the server: it refused the token of ${this.name} and then accepted it`,
      );
    }
  }
}

function parseXOAuth2(bytes: Uint8Array): OAuthMessage | undefined {
  const text = decodeUtf8(bytes) ?? "";
  // deno-lint-ignore no-control-regex
  const match = /^user=([^\0\x01]+)\x01auth=([^\x01]*)\x01\x01$/.exec(text);
  const [, username = "", auth = ""] = match ?? [];
  const token = bearerToken(auth);
  return username === "" || token === undefined
    ? undefined
    : { username, token };
}

/** Ignores host and port in the message: behind a proxy they are those of another server. */
function parseOAuthBearer(bytes: Uint8Array): OAuthMessage | undefined {
  const text = decodeUtf8(bytes) ?? "";
  const header = parseGs2Header(text);
  if (header === undefined || header.flag === "p") return undefined;
  const parts = text.slice(header.text.length).split(SEPARATOR);
  const ends = [parts.shift(), parts.pop(), parts.pop()];
  if (ends.some((part) => part !== "")) return undefined;
  const pairs = new Map<string, string>();
  for (const part of parts) {
    const [, key, value] = PAIR.exec(part) ?? [];
    if (key === undefined || value === undefined || pairs.has(key)) {
      return undefined;
    }
    pairs.set(key, value);
  }
  const token = bearerToken(pairs.get("auth"));
  return token === undefined
    ? undefined
    : { username: header.authorizationId, token };
}

/** The token of an `auth` value, `""` for an empty value, `undefined` for none. */
function bearerToken(auth: string | undefined): string | undefined {
  return auth === "" ? "" : BEARER.exec(auth ?? "")?.[1];
}

function formatXOAuth2(message: OAuthMessage): Uint8Array<ArrayBuffer> {
  const { username, token } = message;
  return encodeUtf8(`user=${username}\x01auth=Bearer ${token}\x01\x01`);
}

function formatOAuthBearer(
  message: OAuthMessage,
  target: OAuthTarget,
): Uint8Array<ArrayBuffer> {
  const header = formatGs2Header({
    flag: "n",
    bindingType: "",
    authorizationId: message.username,
  });
  const { host, port } = target;
  const pairs = [
    ...(host === undefined ? [] : [`host=${host}`]),
    ...(port === undefined ? [] : [`port=${port}`]),
    `auth=Bearer ${message.token}`,
  ];
  return encodeUtf8(`${header}\x01${pairs.join(SEPARATOR)}\x01\x01`);
}

function isBearerToken(token: string): boolean {
  return BEARER.test(`Bearer ${token}`);
}
