/**
 * Signs messages. One pass over a message serves all its keys: the header is
 * held, the body goes through one hash. relaxed/relaxed, no `l=`. Fields that
 * readers see are signed once more than they occur, so that none can be added.
 *
 * Never signs fields that change on the way: Received, Return-Path,
 * Authentication-Results. Knows nothing of the clients whose mail may be signed.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc6376#section-5 | RFC 6376 section 5},
 * {@link https://www.rfc-editor.org/rfc/rfc8301 | RFC 8301},
 * {@link https://www.rfc-editor.org/rfc/rfc8463 | RFC 8463}
 */

import { Buffer } from "node:buffer";
import {
  checkOptions,
  list,
  number,
  required,
  type Rules,
  secret,
  text,
  where,
} from "../options.ts";
import { DataEncoder } from "../protocol/data_encoder.ts";
import { authorDomain, mailDomain } from "./author.ts";
import { BodyHashes } from "./body_hash.ts";
import {
  latin1Bytes,
  type RawField,
  rawFields,
  signedText,
} from "./canonical_header.ts";
import { DkimPrivateKey } from "./dkim_private_key.ts";
import { MessageSplitter, piecesOf } from "./message_splitter.ts";

/**
 * A key that signs mail, and whose mail it signs.
 *
 * @example A server that signs the mail of its users
 * ```ts
 * import { SmtpServer } from "@smtp/server";
 * import { type DkimKey, DkimPrivateKey } from "@smtp/server/trust";
 *
 * const key = await DkimPrivateKey.generate("ed25519");
 * const dkim: DkimKey = { domain: "example.com", selector: "s2026a", key };
 * const server = new SmtpServer({ relay: { allow: "authenticated" }, dkim });
 * console.assert(!server.active);
 * ```
 */
export interface DkimKey {
  /** The signing domain, `d=`. */
  readonly domain: string;
  /** The selector, `s=`: the key is at `SELECTOR._domainkey.DOMAIN` in the DNS. */
  readonly selector: string;
  /** The key: PEM text (PKCS#8 or PKCS#1), or loaded. */
  readonly key: string | DkimPrivateKey;
  /**
   * The domains of authors (those in From) whose mail a server signs with it, each
   * with the domains below it. Of several keys that fit, a server takes those whose
   * entry is the longest. `signDkim` signs whatever the author.
   *
   * @default {[domain]}
   */
  readonly authors?: readonly string[] | undefined;
  /**
   * The fields that are signed. From always is. A field that is not there is left
   * out, but From, Subject, To, Cc, Date, Reply-To and Content-Type count as there
   * once more than they are.
   *
   * @default {those seven, Message-ID, In-Reply-To, References, Sender, MIME-Version, Content-Transfer-Encoding, List-*}
   */
  readonly headers?: readonly string[] | undefined;
  /**
   * Milliseconds for which a signature holds, `x=`; 1000 at least. It is made when
   * the message enters the queue, so this should be more than `relay.expireAfterMs`.
   * Default: it does not expire.
   */
  readonly expireAfterMs?: number | undefined;
}

/** The fields signed without an option, in this order. */
const FIELDS: readonly string[] = [
  ...["from", "to", "cc", "subject", "date", "message-id", "in-reply-to"],
  ...["references", "reply-to", "sender", "mime-version", "content-type"],
  ...["content-transfer-encoding", "list-id", "list-help"],
  ...["list-unsubscribe", "list-unsubscribe-post", "list-subscribe"],
  ...["list-post", "list-owner", "list-archive"],
];
/** The fields that must not be added afterwards. */
const SEALED: ReadonlySet<string> = new Set([
  ...["from", "to", "cc", "subject", "date", "reply-to", "content-type"],
]);
/** The fields that change on the way, or sign by themselves. */
const NEVER: ReadonlySet<string> = new Set([
  ...["received", "return-path", "authentication-results", "dkim-signature"],
  ...["received-spf", "delivered-to", "bcc"],
]);
const FIELD_NAME = /^[A-Za-z0-9][A-Za-z0-9-]{0,75}$/;
/** Most names in `h=`. */
const MOST_NAMES = 1000;
/** Characters of a line of the field. */
const WIDTH = 78;

const RULES: Rules<DkimKey> = {
  domain: required(text('a domain, as "example.com"')),
  selector: required(text('a selector, as "s2026a"')),
  key: required(secret(where(
    "a private key in PEM, or a DkimPrivateKey",
    (value) => typeof value === "string" || value instanceof DkimPrivateKey,
  ))),
  authors: list(text(), 'an array of domains, as ["example.com"]'),
  headers: list(
    where(
      "the name of a field that does not change on the way",
      (value) =>
        typeof value === "string" && FIELD_NAME.test(value) &&
        !NEVER.has(value.toLowerCase()),
    ),
    'an array of fields, as ["From", "Subject"]',
  ),
  expireAfterMs: number(1000, 100 * 365 * 86_400_000),
};

/** A key whose options are checked. */
export interface SettledKey {
  readonly domain: string;
  readonly selector: string;
  readonly key: DkimPrivateKey;
  readonly authors: readonly string[];
  readonly headers: readonly string[];
  readonly expireAfterMs: number | undefined;
}

/**
 * Signs a message.
 *
 * @param message The message. Line ends may be CRLF or LF; the signature holds for
 * the message with CRLF
 * @param key The key; several make a signature each
 * @returns The DKIM-Signature fields that belong on top of the message, each with its CRLF
 * @throws {TypeError} If an option of a key cannot be used, or the message has no From
 * @throws {SyntaxError} If a key cannot be read
 * @throws {RangeError} If the header is larger than 1 MiB, or has more than 1000 fields to be signed
 *
 * @example
 * ```ts
 * import { DkimPrivateKey, signDkim } from "@smtp/server/trust";
 *
 * const message = new TextEncoder().encode("From: ann@example.com\r\n\r\nHi\r\n");
 * const key = await DkimPrivateKey.generate("ed25519");
 * const field = await signDkim(message, {
 *   ...{ domain: "example.com", selector: "s2026a", key },
 * });
 * console.assert(field.startsWith("DKIM-Signature: v=1; a=ed25519-sha256;"));
 * ```
 */
export async function signDkim(
  message: Uint8Array | ReadableStream<Uint8Array>,
  key: DkimKey | readonly DkimKey[],
): Promise<string> {
  const keys = await settleKeys("signDkim", key);
  return await signedBy(message, { choose: () => keys, isBinary: false });
}

/** A message that a server may sign. */
export interface SignRequest {
  /** The content. */
  readonly content: AsyncIterable<Uint8Array>;
  /** Whether its line ends are sent as they are (BINARYMIME). */
  readonly isBinary: boolean;
}

/** What became of a message: the fields for its top, `""` with the author's domain if no key is for it, or the reason. */
export type Signed =
  | { readonly fields: string; readonly domain: string | undefined }
  | { readonly fields: ""; readonly reason: string };

/** Signs messages with the keys that fit their authors. */
export class DkimSigner {
  readonly #keys: readonly SettledKey[];

  private constructor(keys: readonly SettledKey[]) {
    this.#keys = keys;
  }

  /**
   * Checks and loads keys.
   *
   * @throws {TypeError} If an option cannot be used
   * @throws {SyntaxError} If a key cannot be read
   */
  static async load(keys: DkimKey | readonly DkimKey[]): Promise<DkimSigner> {
    return new DkimSigner(await settleKeys("dkim", keys));
  }

  /**
   * Signs a message if keys fit its author.
   *
   * @throws {unknown} The error of the content
   */
  async sign({ content, isBinary }: SignRequest): Promise<Signed> {
    let domain: string | undefined;
    try {
      const choose = (fields: readonly RawField[]) => {
        const author = authorDomain(fields);
        if (author.domain === undefined) throw new Unsignable(author.reason);
        domain = author.domain;
        return this.#fitting(domain);
      };
      return { fields: await signedBy(content, { choose, isBinary }), domain };
    } catch (error) {
      if (!(error instanceof Unsignable)) throw error;
      return { fields: "", reason: error.message };
    }
  }

  /** The keys with the longest entry that fits an author's domain. */
  #fitting(domain: string): readonly SettledKey[] {
    let longest = 0;
    const lengths = this.#keys.map(({ authors }) => {
      const fitting = authors.filter((one) => isWithin(domain, one));
      const length = Math.max(0, ...fitting.map((one) => one.length));
      longest = Math.max(longest, length);
      return length;
    });
    return longest === 0
      ? []
      : this.#keys.filter((_, at) => lengths[at] === longest);
  }
}

/** Why a message cannot be signed, whatever the keys. */
class Unsignable extends RangeError {}

/** Whether a domain is another one, or below it. */
function isWithin(domain: string, other: string): boolean {
  return domain === other || domain.endsWith(`.${other}`);
}

async function settleKeys(
  of: string,
  given: DkimKey | readonly DkimKey[],
): Promise<readonly SettledKey[]> {
  const keys = Array.isArray(given) ? given as readonly DkimKey[] : [
    given as DkimKey,
  ];
  const seen = new Set<string>();
  const settled: SettledKey[] = [];
  for (const one of keys) {
    const made = await settleKey(of, one);
    const place = `${made.selector}._domainkey.${made.domain}`;
    if (seen.has(place)) {
      throw new TypeError(
        `Cannot use two keys for ${place}: want a selector for each`,
      );
    }
    seen.add(place);
    settled.push(made);
  }
  return settled;
}

/** Checks the options of a key, and loads it. */
export async function settleKey(
  of: string,
  given: DkimKey,
): Promise<SettledKey> {
  checkOptions(of, given, RULES, "{ domain, selector, key }");
  const { key, headers, expireAfterMs } = given;
  const domain = nameOf("domain", given.domain);
  const names = headers?.map((name) => name.toLowerCase()) ?? FIELDS;
  return {
    domain,
    selector: nameOf("selector", given.selector),
    key: key instanceof DkimPrivateKey ? key : await DkimPrivateKey.load(key),
    authors: given.authors?.map((one) => nameOf("authors", one)) ?? [domain],
    headers: [...new Set(["from", ...names])],
    expireAfterMs,
  };
}

/** A domain or selector with A-labels, in lower case. */
function nameOf(option: string, text: string): string {
  const name = mailDomain(text);
  if (name !== undefined) return name;
  // A selector may be a number, as those of dates are; a domain may not.
  if (option === "selector" && /^[0-9]{1,63}$/.test(text)) return text;
  throw new TypeError(
    `Cannot use ${option} ${
      JSON.stringify(text.slice(0, 100))
    } of a DKIM key: want ${
      option === "selector"
        ? 'a name, as "s2026a"'
        : 'a domain, as "example.com"'
    }`,
  );
}

/** Reads a message once, and signs it with the keys that its header chooses. */
async function signedBy(
  content: Uint8Array | AsyncIterable<Uint8Array>,
  { choose, isBinary }: {
    readonly choose: (fields: readonly RawField[]) => readonly SettledKey[];
    readonly isBinary: boolean;
  },
): Promise<string> {
  const bodies = new BodyHashes();
  const body = bodies.add({ form: "relaxed" });
  // What is sent has no bare CR and no bare LF.
  const encoder = isBinary ? undefined : new DataEncoder({ framing: "bdat" });
  const splitter = new MessageSplitter();
  let chosen: readonly SettledKey[] | undefined;
  let fields: readonly RawField[] = [];
  const begin = ({ header }: MessageSplitter) => {
    if (header === undefined) {
      throw new Unsignable("Cannot sign a message with a header over 1 MiB");
    }
    fields = rawFields(header);
    chosen = choose(fields);
    if (chosen.length > 0 && !fields.some(({ name }) => name === "from")) {
      throw new TypeError("Cannot sign a message without From");
    }
  };
  for await (const piece of piecesOf(content)) {
    const rest = splitter.take(encoder?.encode(piece) ?? piece);
    if (!splitter.inBody) continue;
    if (chosen === undefined) begin(splitter);
    if (chosen!.length === 0) return "";
    bodies.write(rest);
  }
  if (encoder !== undefined) bodies.write(splitter.take(encoder.finish()));
  if (chosen === undefined) begin(splitter);
  bodies.end();
  const now = Math.floor(Date.now() / 1000);
  const bodyHash = Buffer.from(body.digest).toString("base64");
  let signatures = "";
  for (const key of chosen!) {
    signatures += await signature(fields, { key, bodyHash, now });
  }
  return signatures;
}

/** The field of one key, with its line end. */
async function signature(
  fields: readonly RawField[],
  { key: settled, bodyHash, now }: {
    readonly key: SettledKey;
    readonly bodyHash: string;
    /** Seconds since 1970. */
    readonly now: number;
  },
): Promise<string> {
  const { key, domain, selector, headers, expireAfterMs } = settled;
  const names = namesFor(fields, headers);
  const field = new FoldedField("DKIM-Signature:");
  field.add(" ", "v=1;");
  field.add(" ", `a=${key.algorithm};`);
  field.add(" ", "c=relaxed/relaxed;");
  field.add(" ", `d=${domain};`);
  field.add(" ", `s=${selector};`);
  field.add(" ", `t=${now};`);
  if (expireAfterMs !== undefined) {
    field.add(" ", `x=${now + Math.floor(expireAfterMs / 1000)};`);
  }
  for (const [at, name] of names.entries()) {
    const end = at + 1 < names.length ? ":" : ";";
    field.add(at === 0 ? " " : "", `${at === 0 ? "h=" : ""}${name}${end}`);
  }
  field.add(" ", `bh=${bodyHash};`);
  field.add(" ", "b=");
  const own = { name: "dkim-signature", text: field.text, at: 0 };
  const signed = signedText(fields, { names, form: "relaxed", own });
  const bytes = await key.sign(latin1Bytes(signed));
  field.fill(Buffer.from(bytes).toString("base64"));
  return `${field.text}\r\n`;
}

/** The names for `h=`: each as often as it occurs, the sealed ones once more. */
export function namesFor(
  fields: readonly RawField[],
  headers: readonly string[],
): readonly string[] {
  const counts = new Map<string, number>();
  for (const { name } of fields) counts.set(name, (counts.get(name) ?? 0) + 1);
  const names: string[] = [];
  for (const name of headers) {
    const count = (counts.get(name) ?? 0) + (SEALED.has(name) ? 1 : 0);
    if (names.length + count > MOST_NAMES) {
      throw new Unsignable(
        `Cannot sign a message with more than ${MOST_NAMES} fields to be signed`,
      );
    }
    for (let number = 0; number < count; number++) names.push(name);
  }
  return names;
}

/** A field that is written in lines of {@linkcode WIDTH} characters. */
export class FoldedField {
  text: string;
  #column: number;

  constructor(name: string) {
    this.text = name;
    this.#column = name.length;
  }

  /** Adds a piece that is not cut; it begins a line if it does not fit any more. */
  add(glue: string, piece: string): void {
    const size = glue.length + piece.length;
    if (this.#column + size <= WIDTH) {
      this.text += glue + piece;
      this.#column += size;
    } else {
      this.text += `\r\n ${piece}`;
      this.#column = 1 + piece.length;
    }
  }

  /** Adds text that may be cut anywhere. */
  fill(text: string): void {
    for (let at = 0; at < text.length;) {
      const room = WIDTH - this.#column;
      this.text += text.slice(at, at + room);
      at += room;
      if (at < text.length) this.text += "\r\n ";
      this.#column = 1;
    }
  }
}
