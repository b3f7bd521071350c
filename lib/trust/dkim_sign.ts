/**
 * Signs messages with DKIM. The header is held, the body only hashed, and one pass
 * over it serves all keys.
 *
 * Fields that a forger would add are listed once more than they occur, so that a
 * verifier notices an added one. Trace fields are never signed: every host adds
 * some.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc6376#section-5 | RFC 6376 section 5},
 * {@link https://www.rfc-editor.org/rfc/rfc6376#section-8.15 | section 8.15} (added fields),
 * {@link https://www.rfc-editor.org/rfc/rfc8463 | RFC 8463} (Ed25519)
 */

import { Buffer } from "node:buffer";
import {
  checkOptions,
  list,
  milliseconds,
  required,
  type Rules,
  text,
  where,
} from "../options.ts";
import { asciiDomain } from "../protocol/domain.ts";
import { type BodyDigest, BodyHashes } from "./body_hash.ts";
import {
  latin1Bytes,
  type RawField,
  rawFields,
  signedText,
} from "./canonical_header.ts";
import { DkimPrivateKey } from "./dkim_private_key.ts";
import { MessageSplitter, piecesOf } from "./message_splitter.ts";

/** A key, and whose mail it signs. */
export interface DkimKey {
  /** The signing domain, `d=`. */
  readonly domain: string;
  /** The selector, `s=`: the record is at `SELECTOR._domainkey.DOMAIN`. */
  readonly selector: string;
  /** The private key: PEM (PKCS#8 or PKCS#1), or loaded. */
  readonly key: string | DkimPrivateKey;
  /**
   * The domains of the authors (in From) whose mail it signs, `"*.NAME"` for
   * those below a name.
   *
   * @default {the domain and what is below it}
   */
  readonly authors?: readonly string[] | undefined;
  /**
   * Names of the header fields that it signs, where they occur; From is always
   * signed.
   *
   * @default {From, Subject, Date, To, Cc and others} The fields that readers see
   */
  readonly headers?: readonly string[] | undefined;
  /**
   * Milliseconds after which the signature expires, `x=`.
   *
   * @default {never}
   */
  readonly expireAfterMs?: number | undefined;
}

const name = where(
  'a domain, as "example.com"',
  (value) => typeof value === "string" && isName(asciiDomain(value)),
);

/** Rules for the properties of a {@linkcode DkimKey}. */
export const DKIM_KEY_RULES: Rules<DkimKey> = {
  domain: required(name),
  selector: required(where(
    'a selector, as "s2026a"',
    (value) => typeof value === "string" && isName(asciiDomain(value)),
  )),
  key: {
    want: "a private key in PEM, or a DkimPrivateKey",
    required: true,
    isSecret: true,
    check(value, at) {
      if (typeof value === "string" || value instanceof DkimPrivateKey) return;
      throw new TypeError(`${at.path}: want ${this.want}`);
    },
  },
  authors: list(text("a domain"), 'an array of domains, as ["example.com"]'),
  headers: list(
    where(
      'a field name, as "Subject"',
      (value) => typeof value === "string" && /^[!-9;-~]+$/.test(value),
    ),
    'an array of field names, as ["From", "Subject"]',
  ),
  expireAfterMs: milliseconds,
};

function isName(text: string): boolean {
  return text.length <= 253 &&
    /^[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*$/
      .test(text);
}

/** A key that is ready to sign. */
export interface LoadedDkimKey extends DkimKey {
  readonly key: DkimPrivateKey;
}

/**
 * Reads the key in the options.
 *
 * @throws {TypeError} If an option is unknown or of the wrong kind
 * @throws {SyntaxError} If the key cannot be read
 */
export async function loadDkimKey(given: DkimKey): Promise<LoadedDkimKey> {
  checkOptions(
    "dkim",
    given,
    DKIM_KEY_RULES,
    '{ domain: "example.com", selector: "s1", key }',
  );
  const { key } = given;
  return {
    ...given,
    domain: asciiDomain(given.domain),
    selector: asciiDomain(given.selector),
    key: typeof key === "string" ? await DkimPrivateKey.load(key) : key,
  };
}

/** Whether a key signs the mail of authors in a domain, given as A-labels. */
export function signsFor(
  { domain, authors }: DkimKey,
  author: string,
): boolean {
  const own = asciiDomain(domain);
  const wanted = authors?.map(asciiDomain) ?? [own, `*.${own}`];
  return wanted.some((one) =>
    one.startsWith("*.") ? author.endsWith(one.slice(1)) : author === one
  );
}

/** The fields that are signed where they occur. */
const SIGNED: readonly string[] = [
  ...["from", "reply-to", "sender", "subject", "date", "message-id"],
  ...["to", "cc", "in-reply-to", "references", "mime-version"],
  ...["content-type", "content-transfer-encoding", "list-id", "list-help"],
  ...["list-unsubscribe", "list-unsubscribe-post", "list-subscribe"],
  ...["list-post", "list-owner", "list-archive"],
];
/** The fields that are listed once more than they occur. */
const GUARDED: ReadonlySet<string> = new Set([
  ...["from", "subject", "to", "cc", "date", "reply-to", "content-type"],
]);
/** Fields that must not be signed: hosts on the way change them. */
const UNSIGNED: ReadonlySet<string> = new Set([
  ...["received", "return-path", "authentication-results", "dkim-signature"],
  ...["arc-seal", "arc-message-signature", "arc-authentication-results"],
  ...["received-spf", "bcc", "resent-bcc"],
]);

/**
 * The names that a signature lists: each as often as it occurs, and the guarded
 * ones once more.
 *
 * @param wanted Names of the fields to sign. Default: those that readers see
 */
export function signedNames(
  fields: readonly RawField[],
  wanted: readonly string[] = SIGNED,
): readonly string[] {
  const names = new Set(["from", ...wanted.map((one) => one.toLowerCase())]);
  const listed: string[] = [];
  for (const name of names) {
    if (UNSIGNED.has(name)) continue;
    for (const field of fields) if (field.name === name) listed.push(name);
    if (GUARDED.has(name)) listed.push(name);
  }
  return listed;
}

/** A message whose body is being hashed for its signatures. */
export class DkimSigning {
  readonly #fields: readonly RawField[];
  readonly #keys: readonly LoadedDkimKey[];
  readonly #body: BodyDigest;

  /**
   * @param fields The header of the message
   * @param keys The keys, at least one; the signature of the first is on top
   * @param bodies Gets the body from the caller, which ends it
   */
  constructor(
    fields: readonly RawField[],
    keys: readonly LoadedDkimKey[],
    bodies: BodyHashes,
  ) {
    this.#fields = fields;
    this.#keys = keys;
    this.#body = bodies.add({ form: "relaxed" });
  }

  /**
   * The signature fields with their line ends, after the end of the body.
   *
   * @param now The time, in milliseconds since 1970
   */
  async end(now: number = Date.now()): Promise<string> {
    const made = await Promise.all(
      this.#keys.map((key) => this.#field(key, Math.floor(now / 1000))),
    );
    return made.join("");
  }

  async #field(key: LoadedDkimKey, seconds: number): Promise<string> {
    const names = signedNames(this.#fields, key.headers);
    const hash = Buffer.from(this.#body.digest).toString("base64");
    const expiry = key.expireAfterMs === undefined
      ? []
      : [`x=${seconds + Math.ceil(key.expireAfterMs / 1000)}`];
    const tags = [
      ...["v=1", `a=${key.key.algorithm}`, "c=relaxed/relaxed"],
      ...[`d=${key.domain}`, `s=${key.selector}`, `t=${seconds}`, ...expiry],
      ...[`h=${names.join(":")}`, `bh=${hash}`, "b="],
    ];
    const text = foldTags("DKIM-Signature", tags);
    const own = { name: "dkim-signature", text, at: 0 };
    const signed = signedText(this.#fields, { names, form: "relaxed", own });
    const signature = await key.key.sign(latin1Bytes(signed));
    const value = Buffer.from(signature).toString("base64");
    return `${text}${foldValue(value, lastLine(text))}\r\n`;
  }
}

/**
 * Signs a message with one key or several, RSA and Ed25519 together if both are
 * given. Lines that end with LF, as in files, are taken as lines that end with
 * CRLF, as the message must be sent.
 *
 * @param message The message, header and body
 * @param keys The keys
 * @param options `now`: the time of the signature in milliseconds since 1970; the
 * time of the call by default
 * @returns The signature fields with their line ends, to be put on top
 * @throws {TypeError} If an option is unknown or of the wrong kind, or the header
 * is longer than 1 MiB
 * @throws {SyntaxError} If a key cannot be read
 *
 * @example Sign a message
 * ```ts
 * import { type DkimKey, DkimPrivateKey, signDkim } from "@smtp/server/trust";
 *
 * const key: DkimKey = {
 *   domain: "example.com",
 *   selector: "s2026a",
 *   key: await DkimPrivateKey.generate("ed25519"),
 * };
 * const message = "From: ann@example.com\r\nSubject: Hello\r\n\r\nHello\r\n";
 * const field = await signDkim(new TextEncoder().encode(message), key);
 * console.assert(field.startsWith("DKIM-Signature: v=1; a=ed25519-sha256;"));
 * ```
 */
export async function signDkim(
  message: Uint8Array | ReadableStream<Uint8Array>,
  keys: DkimKey | readonly DkimKey[],
  options: { readonly now?: number | undefined } = {},
): Promise<string> {
  const loaded = await Promise.all([keys].flat().map(loadDkimKey));
  const splitter = new MessageSplitter();
  const bodies = new BodyHashes();
  let signing: DkimSigning | undefined;
  const begin = () => new DkimSigning(headerOf(splitter), loaded, bodies);
  for await (const piece of piecesOf(message)) {
    const body = splitter.take(piece);
    if (splitter.inBody) signing ??= begin();
    bodies.write(body);
  }
  signing ??= begin();
  bodies.end();
  return await signing.end(options.now);
}

function headerOf({ header }: MessageSplitter): readonly RawField[] {
  if (header !== undefined) return rawFields(header);
  throw new TypeError("Cannot sign the message: its header exceeds 1 MiB");
}

/** Longest line of a folded field. */
const LINE = 78;

/** A field of tags, folded where a line would get too long. */
export function foldTags(name: string, tags: readonly string[]): string {
  let text = `${name}:`;
  let line = text.length;
  for (const [at, tag] of tags.entries()) {
    const end = at + 1 < tags.length ? ";" : "";
    for (const piece of piecesOfTag(tag + end)) {
      const isNew = piece.glue === "" && line + piece.text.length > LINE;
      const space = isNew ? "\r\n " : piece.glue;
      const isFull = line + piece.glue.length + piece.text.length > LINE;
      const glue = isFull ? "\r\n " : space;
      text += glue + piece.text;
      line = glue === "\r\n " ? 1 + piece.text.length : line + glue.length +
        piece.text.length;
    }
  }
  return text;
}

/** A tag in pieces that may stand on lines of their own: a list breaks at its colons. */
function piecesOfTag(
  tag: string,
): readonly { readonly text: string; readonly glue: string }[] {
  const parts = tag.startsWith("h=") ? tag.split(/(?<=:)/) : [tag];
  return parts.map((text, at) => ({ text, glue: at === 0 ? " " : "" }));
}

/** A long value in lines, the first of which begins in the column. */
export function foldValue(value: string, column: number): string {
  let text = "";
  let left = LINE - column;
  for (let at = 0; at < value.length;) {
    const part = value.slice(at, at + Math.max(left, 0));
    text += part;
    at += part.length;
    if (at >= value.length) break;
    text += "\r\n ";
    left = LINE - 1;
  }
  return text;
}

/** Characters of the last line. */
export function lastLine(text: string): number {
  return text.length - (text.lastIndexOf("\n") + 1);
}
