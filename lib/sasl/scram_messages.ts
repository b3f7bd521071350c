/**
 * The four messages of SCRAM: parsed and printed, no state, no keys.
 *
 * A wrong message is `undefined`. Attributes come in the RFC's order and
 * nothing else stands before them; a mandatory extension (`m=`) is refused
 * because it cannot be honoured; optional ones at the end are let through.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5802#section-7 | RFC 5802 section 7}
 */

import { decodeBase64Strict, decodeUtf8, encodeBase64 } from "./encoding.ts";
import { type Gs2Header, parseGs2Header, unescapeName } from "./gs2.ts";

/** The client's first message. */
export interface ClientFirst {
  /** Channel binding flag and authorization identity. */
  readonly header: Gs2Header;
  /** The user name, unescaped, not yet prepared. */
  readonly username: string;
  /** The client's nonce. */
  readonly nonce: string;
  /** The message without the header, as the AuthMessage wants it. */
  readonly bare: string;
}

/** The client's final message. */
export interface ClientFinal {
  /** The GS2 header once more, and the channel binding data after it. */
  readonly channelBinding: Uint8Array;
  /** Both nonces. */
  readonly nonce: string;
  /** The ClientProof. */
  readonly proof: Uint8Array;
  /** The message without the proof, as the AuthMessage wants it. */
  readonly withoutProof: string;
}

/** The server's first message. */
export interface ServerFirst {
  /** Both nonces. */
  readonly nonce: string;
  /** The salt. */
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

/**
 * Reads the client's first message.
 *
 * @param bytes The message
 */
export function parseClientFirst(bytes: Uint8Array): ClientFirst | undefined {
  const text = decodeUtf8(bytes);
  const header = text === undefined ? undefined : parseGs2Header(text);
  if (text === undefined || header === undefined) return undefined;
  const bare = text.slice(header.text.length);
  const [, name, nonce] = CLIENT_FIRST.exec(bare) ?? [];
  const username = name === undefined ? undefined : unescapeName(name);
  if (username === undefined || nonce === undefined) return undefined;
  return { header, username, nonce, bare };
}

/**
 * Reads the client's final message.
 *
 * @param bytes The message
 */
export function parseClientFinal(bytes: Uint8Array): ClientFinal | undefined {
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

/**
 * Reads the server's first message.
 *
 * @param bytes The message
 */
export function parseServerFirst(bytes: Uint8Array): ServerFirst | undefined {
  const [, nonce, saltText, count] =
    SERVER_FIRST.exec(decodeUtf8(bytes) ?? "") ?? [];
  const salt = decodeBase64Strict(saltText ?? "");
  if (nonce === undefined || salt === undefined || count === undefined) {
    return undefined;
  }
  return { nonce, salt, iterations: Number(count) };
}

/**
 * Reads the server's final message: its signature, or `undefined` where it
 * gives none (`e=` as well).
 *
 * @param bytes The message
 */
export function parseServerFinal(
  bytes: Uint8Array,
): Uint8Array<ArrayBuffer> | undefined {
  const [, signature] = SERVER_FINAL.exec(decodeUtf8(bytes) ?? "") ?? [];
  return signature === undefined ? undefined : decodeBase64Strict(signature);
}

/**
 * Writes the server's first message.
 *
 * @param message What it says
 */
export function formatServerFirst(message: ServerFirst): string {
  const { nonce, salt, iterations } = message;
  return `r=${nonce},s=${encodeBase64(salt)},i=${iterations}`;
}
