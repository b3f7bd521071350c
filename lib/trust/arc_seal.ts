/**
 * Seals a message that goes on to another host: adds one ARC set, which says what
 * this host has found and that it passes the message on.
 *
 * A chain that has failed gets one more set, which says so and seals itself alone;
 * after that nothing is added, and nothing beyond the fiftieth set.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc8617#section-5.1 | RFC 8617 section 5.1}
 */

import { Buffer } from "node:buffer";
import { DataEncoder } from "../protocol/data_encoder.ts";
import { parseAuthenticationResults } from "./authentication_results.ts";
import {
  MOST_SETS,
  readArcChain,
  type SealedFields,
  sealedText,
} from "./arc_set.ts";
import { type BodyDigest, BodyHashes } from "./body_hash.ts";
import {
  latin1Bytes,
  type RawField,
  rawFields,
  signedText,
  valueOf,
} from "./canonical_header.ts";
import {
  type DkimKey,
  FoldedField,
  namesFor,
  type SettledKey,
  settleKey,
} from "./dkim_sign.ts";
import { MessageSplitter, piecesOf } from "./message_splitter.ts";
import type { ArcResult } from "./result.ts";
import { trimSpace } from "./tag_list.ts";

/** What a seal says. */
export interface SealFacts {
  /** The result of our own check of the chain so far. */
  readonly arc: Pick<ArcResult, "result">;
  /**
   * The value of an Authentication-Results field: our name and what we found.
   * Without it, the fields of the message that bear `authservId`.
   */
  readonly results?: string | undefined;
  /** Our name in Authentication-Results. */
  readonly authservId: string;
  /** The time, in milliseconds since 1970. Default: now. */
  readonly now?: number | undefined;
}

type SettledFacts = SealFacts & { readonly now: number };

/** A message whose body is being hashed for its seal. */
export class ArcSealing {
  readonly #fields: readonly RawField[];
  readonly #key: SettledKey;
  readonly #names: readonly string[];
  readonly #body: BodyDigest;

  private constructor(
    fields: readonly RawField[],
    { key, names, bodies }: {
      readonly key: SettledKey;
      readonly names: readonly string[];
      readonly bodies: BodyHashes;
    },
  ) {
    this.#fields = fields;
    this.#key = key;
    this.#names = names;
    this.#body = bodies.add({ form: "relaxed" });
  }

  /**
   * Begins with the header.
   *
   * @param options `names`: the fields that the seal signs, by default those that
   * a signature signs, and DKIM-Signature; `bodies`: gets the body from the caller, which ends it
   */
  static begin(
    fields: readonly RawField[],
    options: {
      readonly key: SettledKey;
      readonly names?: readonly string[] | undefined;
      readonly bodies: BodyHashes;
    },
  ): ArcSealing {
    const { key, bodies } = options;
    // Signatures on the way in are part of what the seal vouches for (section 4.1.2).
    const names = options.names ??
      namesFor(fields, [...key.headers, "dkim-signature"]);
    return new ArcSealing(fields, { key, names, bodies });
  }

  /** The three fields with their line ends, `""` if none may be added; after the end of the body. */
  async end(given: SealFacts): Promise<string> {
    // What is signed and what is sent have one time, however long the signing takes.
    const facts = { ...given, now: given.now ?? Date.now() };
    const chain = readArcChain(this.#fields);
    const { instance } = chain;
    const hasFailed = this.#fields.some((field) =>
      field.name === "arc-seal" &&
      /(?:^|;)\s*cv\s*=\s*fail/.test(valueOf(field))
    );
    // A chain whose keys could not be had now is not known to be good.
    const { result } = facts.arc;
    if (hasFailed || instance >= MOST_SETS || result === "temperror") return "";
    // A chain that was not checked is not known to have failed.
    if (instance > 0 && result === "none") return "";
    const validity = instance === 0
      ? "none"
      : result === "pass" && chain.fault === undefined
      ? "pass"
      : "fail";
    const number = instance + 1;
    const results = this.#results(facts, number);
    const message = await this.#signature(number, facts, results);
    const before: SealedFields[] = validity === "fail" ? [] : chain.sets.map(
      (set) => [set.results, set.message.field, set.seal.field] as const,
    );
    const seal = await this.#seal(number, validity, facts, [
      ...before,
      [results, message, message],
    ]);
    const set = [seal, message, results].map(({ text }) => `${text}\r\n`);
    return textOf(set.join(""));
  }

  #results(facts: SealFacts, number: number): RawField {
    const value = facts.results ?? ownResults(this.#fields, facts.authservId);
    const field = `ARC-Authentication-Results: i=${number}; ${value}`;
    // What is signed are the bytes that are sent: a sender may be beyond ASCII.
    const text = Buffer.from(field).toString("latin1");
    return { name: "arc-authentication-results", text, at: 0 };
  }

  async #signature(
    number: number,
    facts: SettledFacts,
    results: RawField,
  ): Promise<RawField> {
    const { domain, selector, key } = this.#key;
    const names = this.#names;
    const hash = Buffer.from(this.#body.digest).toString("base64");
    const name = "ARC-Message-Signature";
    const tags = (signature: string) => [
      ...[`a=${key.algorithm}`, `b=${signature}`, `bh=${hash}`],
      ...["c=relaxed/relaxed", `d=${domain}`, `h=${names.join(":")}`],
      ...[`i=${number}`, `s=${selector}`, `t=${secondsOf(facts.now)}`],
    ];
    const own = fieldOf(name, tags(""));
    const fields = [...this.#fields, results];
    const text = signedText(fields, { names, form: "relaxed", own });
    const value = await key.sign(latin1Bytes(text));
    return fieldOf(name, tags(folded(value)));
  }

  async #seal(
    number: number,
    validity: string,
    facts: SettledFacts,
    covered: readonly SealedFields[],
  ): Promise<RawField> {
    const { domain, selector, key } = this.#key;
    const tags = (signature: string) => [
      ...[`a=${key.algorithm}`, `b=${signature}`, `cv=${validity}`],
      ...[`d=${domain}`, `i=${number}`, `s=${selector}`],
      `t=${secondsOf(facts.now)}`,
    ];
    const [results, message] = covered.at(-1)!;
    const own = fieldOf("ARC-Seal", tags(""));
    const text = sealedText([
      ...covered.slice(0, -1),
      [results, message, own],
    ]);
    const value = await key.sign(latin1Bytes(text));
    return fieldOf("ARC-Seal", tags(folded(value)));
  }
}

/** The text of a field that has one character for each byte. */
function textOf(field: string): string {
  return Buffer.from(field, "latin1").toString();
}

function secondsOf(now: number): number {
  return Math.floor(now / 1000);
}

function fieldOf(name: string, tags: readonly string[]): RawField {
  const field = new FoldedField(`${name}:`);
  for (const [at, tag] of tags.entries()) {
    field.add(" ", at + 1 < tags.length ? `${tag};` : tag);
  }
  return { name: name.toLowerCase(), text: field.text, at: 0 };
}

/**
 * A signature in base64, in one line as long as a line may be: a seal covers the
 * white space in the message signature, and hosts that fold it again break it.
 */
function folded(signature: Uint8Array): string {
  const value = Buffer.from(signature).toString("base64");
  return value.replace(/.{900}(?=.)/g, "$&\r\n ");
}

/** What the fields of a message that bear our name say, as one value. */
function ownResults(
  fields: readonly RawField[],
  authservId: string,
): string {
  const wanted = authservId.toLowerCase();
  const found: string[] = [];
  for (const field of fields) {
    if (field.name !== "authentication-results") continue;
    const value = textOf(valueOf(field));
    const read = parseAuthenticationResults(value);
    if (read?.authservId.toLowerCase() !== wanted) continue;
    found.push(trimSpace(value.slice(value.indexOf(";") + 1)));
  }
  return `${authservId}; ${found.length === 0 ? "none" : found.join(";\r\n ")}`;
}

/**
 * Seals a message (RFC 8617 section 5.1). Lines that end with LF are taken as lines
 * that end with CRLF.
 *
 * @param message The message as it goes on, header and body
 * @param key The key of the seal; `headers` are the fields that it signs
 * @param facts The result of the own check, and what it found
 * @returns The three fields with their line ends, to be put on top; `""` if no set
 * may be added: the chain has failed before, has 50 sets, or was not or could not be
 * checked
 * @throws {SyntaxError} If the key cannot be read
 * @throws {TypeError} If the header is longer than 1 MiB
 *
 * @example The first set of a message
 * ```ts
 * import {
 *   DkimPrivateKey,
 *   sealArc,
 *   type SealFacts,
 * } from "@smtp/server/trust";
 *
 * const key = {
 *   domain: "lists.example.org",
 *   selector: "s2026a",
 *   key: await DkimPrivateKey.generate("ed25519"),
 * };
 * const facts: SealFacts = {
 *   arc: { result: "none" },
 *   authservId: "lists.example.org",
 *   results: "lists.example.org; spf=pass smtp.mailfrom=ann@example.com",
 * };
 * const message = "From: ann@example.com\r\nSubject: Hello\r\n\r\nHello\r\n";
 * const set = await sealArc(new TextEncoder().encode(message), key, facts);
 * console.assert(set.startsWith("ARC-Seal: a=ed25519-sha256;"));
 * ```
 */
export async function sealArc(
  message: Uint8Array | ReadableStream<Uint8Array>,
  key: DkimKey,
  facts: SealFacts,
): Promise<string> {
  return await sealedBy(message, {
    ...{ key: await settleKey("sealArc", key), facts },
    names: key.headers,
    isBinary: false,
  });
}

/** Seals what a server forwards, with a key that was loaded once. */
export class ArcSealer {
  readonly #key: SettledKey;
  readonly #names: readonly string[] | undefined;

  private constructor(key: SettledKey, names: readonly string[] | undefined) {
    this.#key = key;
    this.#names = names;
  }

  /**
   * Checks and loads a key.
   *
   * @throws {TypeError} If an option cannot be used
   * @throws {SyntaxError} If the key cannot be read
   */
  static async load(key: DkimKey): Promise<ArcSealer> {
    const settled = await settleKey("relay.forwarding.arc", key);
    return new ArcSealer(settled, key.headers);
  }

  /**
   * The set for the top of a content; `""` if none may be added.
   *
   * @param options `isBinary`: whether its line ends are sent as they are
   * @throws {TypeError} If the header is longer than 1 MiB
   * @throws {unknown} The error of the content
   */
  async seal(
    content: AsyncIterable<Uint8Array>,
    options: { readonly facts: SealFacts; readonly isBinary: boolean },
  ): Promise<string> {
    return await sealedBy(content, {
      ...options,
      ...{ key: this.#key, names: this.#names },
    });
  }

  /**
   * The set for a content that was converted after it was sealed: it says the same.
   *
   * @param former The set before, of this server
   * @param content The converted content without it
   */
  async sealAgain(
    former: Uint8Array,
    content: AsyncIterable<Uint8Array>,
  ): Promise<string> {
    const fields = rawFields(former);
    const valueIn = (name: string) => {
      const field = fields.find((one) => one.name === name);
      return field === undefined ? "" : textOf(valueOf(field));
    };
    const [, results = ""] =
      /^\s*i=\d+;\s*(.*)$/s.exec(valueIn("arc-authentication-results")) ?? [];
    const [, validity = "none"] = /;\s*cv=([a-z]+)/.exec(valueIn("arc-seal")) ??
      [];
    const facts = {
      arc: { result: validity as "none" | "pass" | "fail" },
      ...{ results, authservId: "" },
    };
    return await this.seal(content, { facts, isBinary: false });
  }
}

async function sealedBy(
  message: Uint8Array | AsyncIterable<Uint8Array>,
  { key, names, facts, isBinary }: {
    readonly key: SettledKey;
    readonly names?: readonly string[] | undefined;
    readonly facts: SealFacts;
    readonly isBinary: boolean;
  },
): Promise<string> {
  // What is sent has no bare CR and no bare LF.
  const encoder = isBinary ? undefined : new DataEncoder({ framing: "bdat" });
  const splitter = new MessageSplitter();
  const bodies = new BodyHashes();
  let sealing: ArcSealing | undefined;
  const begin = () => {
    const { header } = splitter;
    if (header === undefined) {
      throw new TypeError("Cannot seal the message: its header exceeds 1 MiB");
    }
    return ArcSealing.begin(rawFields(header), { key, names, bodies });
  };
  for await (const piece of piecesOf(message)) {
    const body = splitter.take(encoder?.encode(piece) ?? piece);
    if (splitter.inBody) sealing ??= begin();
    bodies.write(body);
  }
  if (encoder !== undefined) bodies.write(splitter.take(encoder.finish()));
  sealing ??= begin();
  bodies.end();
  return await sealing.end(facts);
}
