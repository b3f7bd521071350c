/**
 * The messages of XOAUTH2 and OAUTHBEARER, both ways: a name and a bearer
 * token in key-value pairs with octet 1 between. No state, no judgement.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc7628#section-3 | RFC 7628 section 3},
 * {@link https://developers.google.com/workspace/gmail/imap/xoauth2-protocol | XOAUTH2}
 */

import { formatGs2Header, parseGs2Header } from "./gs2.ts";
import { decodeUtf8, encodeUtf8 } from "./utf8.ts";

/** What a client says in an OAuth mechanism. */
export interface OAuthMessage {
  /** The name beside the token, `""` for none. */
  readonly username: string;
  /** The token; `""` where the client only asks for the server's terms. */
  readonly token: string;
}

/** Host and port that the client believes to talk to (OAUTHBEARER). */
export interface OAuthTarget {
  /** The server's name. */
  readonly host?: string | undefined;
  /** The server's port. */
  readonly port?: number | undefined;
}

const SEPARATOR = "\x01";
const PAIR = /^([A-Za-z]+)=([\t\n\r -~]*)$/;
const BEARER = /^bearer +([A-Za-z0-9._~+/-]+=*) *$/i;

/**
 * Reads the message of XOAUTH2.
 *
 * @param bytes The message
 */
export function parseXOAuth2(bytes: Uint8Array): OAuthMessage | undefined {
  const text = decodeUtf8(bytes) ?? "";
  // deno-lint-ignore no-control-regex
  const match = /^user=([^\0\x01]+)\x01auth=([^\x01]*)\x01\x01$/.exec(text);
  const [, username = "", auth = ""] = match ?? [];
  const token = bearerToken(auth);
  return username === "" || token === undefined
    ? undefined
    : { username, token };
}

/**
 * Reads the message of OAUTHBEARER. Host and port in it are passed over: behind
 * a proxy they are another's.
 *
 * @param bytes The message
 */
export function parseOAuthBearer(bytes: Uint8Array): OAuthMessage | undefined {
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

/**
 * Writes the message of XOAUTH2.
 *
 * @param message Name and token
 */
export function formatXOAuth2(message: OAuthMessage): Uint8Array<ArrayBuffer> {
  const { username, token } = message;
  return encodeUtf8(`user=${username}\x01auth=Bearer ${token}\x01\x01`);
}

/**
 * Writes the message of OAUTHBEARER.
 *
 * @param message Name and token
 * @param target Host and port
 */
export function formatOAuthBearer(
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

/**
 * Whether a text can be sent as a bearer token.
 *
 * @param token The token
 */
export function isBearerToken(token: string): boolean {
  return BEARER.test(`Bearer ${token}`);
}
