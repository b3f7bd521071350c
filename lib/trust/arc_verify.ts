/**
 * Checks the ARC chain of a message: the newest message signature, and all seals.
 * What comes out is information about the forwarders, and no verdict.
 *
 * Key questions begin with the header; the body is hashed in the pass that serves
 * DKIM, too. A chain that breaks a rule asks no question and costs no hash.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc8617#section-5.2 | RFC 8617 section 5.2}
 */

import {
  type ArcChain,
  type ArcMessageSignature,
  type ArcSignature,
  readArcChain,
  sealedText,
} from "./arc_set.ts";
import { type BodyDigest, BodyHashes } from "./body_hash.ts";
import {
  latin1Bytes,
  type RawField,
  rawFields,
  signedText,
} from "./canonical_header.ts";
import { fetchDkimKey, type KeyOutcome } from "./dkim_key.ts";
import type { DkimCheckOptions, VerifyDkimOptions } from "./dkim_verify.ts";
import { MessageSplitter, piecesOf } from "./message_splitter.ts";
import type { ArcResult } from "./result.ts";
import { LEAST_RSA_BITS } from "./rsa_verify.ts";

/** The check of one message: begun with its header, ended after its body. */
export class ArcCheck {
  readonly #fields: readonly RawField[];
  readonly #chain: ArcChain;
  readonly #options: DkimCheckOptions;
  readonly #keys = new Map<string, Promise<KeyOutcome>>();
  readonly #body: BodyDigest | undefined;

  private constructor(fields: readonly RawField[], options: DkimCheckOptions) {
    this.#fields = fields;
    this.#options = options;
    this.#chain = readArcChain(fields);
    const newest = this.#chain.sets.at(-1);
    if (newest === undefined || this.#chain.fault !== undefined) return;
    const { bodyForm: form, bodyLimit: limit } = newest.message;
    this.#body = options.bodies.add({ form, limit });
    this.#ask(newest.message);
    for (const { seal } of this.#chain.sets) this.#ask(seal);
  }

  /**
   * Reads the sets, says which hash of the body they need, and begins the
   * questions for their keys. Nothing waits, and nothing rejects later.
   */
  static begin(
    fields: readonly RawField[],
    options: DkimCheckOptions,
  ): ArcCheck {
    return new ArcCheck(fields, options);
  }

  /** The result, after the hashes of the body have ended. */
  async end(): Promise<ArcResult> {
    const { sets, instance, fault } = this.#chain;
    const sealedBy = sets.map(({ seal }) => seal.domain);
    const common = { instance, sealedBy };
    if (instance === 0) return { result: "none", ...common };
    if (fault !== undefined) {
      return { result: "fail", ...common, reason: fault };
    }
    const found = await this.#judge();
    return { ...found, ...common };
  }

  async #judge(): Promise<Pick<ArcResult, "result" | "reason">> {
    const { sets } = this.#chain;
    const { message } = sets.at(-1)!;
    const fault = this.#bodyFault(message) ??
      await this.#fault(message, this.#signed(message));
    if (fault !== undefined) return fault;
    const covered = sets.map((set) =>
      [set.results, set.message.field, set.seal.field] as const
    );
    for (let at = sets.length; at > 0; at--) {
      const text = sealedText(covered.slice(0, at));
      const fault = await this.#fault(sets[at - 1]!.seal, text);
      if (fault !== undefined) return fault;
    }
    return { result: "pass" };
  }

  #bodyFault(
    { bodyHash, bodyLimit = 0 }: ArcMessageSignature,
  ): Pick<ArcResult, "result" | "reason"> | undefined {
    const { digest, size } = this.#body!;
    const isSame = digest.length === bodyHash.length &&
      digest.every((byte, at) => byte === bodyHash[at]);
    if (isSame && bodyLimit <= size) return undefined;
    const reason = "The body is not the one that the newest set signs";
    return { result: "fail", reason };
  }

  #signed({ field, fields: names, headerForm: form }: ArcMessageSignature) {
    return signedText(this.#fields, { names, form, own: field });
  }

  /** What is wrong with a signature over a text. */
  async #fault(
    signature: ArcSignature,
    text: string,
  ): Promise<Pick<ArcResult, "result" | "reason"> | undefined> {
    const { field, keyType, value } = signature;
    const outcome = await this.#ask(signature);
    if (outcome.key === undefined) {
      const { result, reason } = outcome;
      return { result: result === "temperror" ? result : "fail", reason };
    }
    const { key } = outcome;
    const { minKeyBits = LEAST_RSA_BITS } = this.#options;
    const isFit = key.type === keyType &&
      (key.type !== "rsa" || key.bits >= minKeyBits);
    if (isFit && key.verify(latin1Bytes(text), value)) return undefined;
    const reason = isFit
      ? `The signature in ${field.name} does not fit`
      : `The key for ${field.name} is of another type, or too short`;
    return { result: "fail", reason };
  }

  /** The key of a signature, asked for once. */
  #ask(place: ArcSignature): Promise<KeyOutcome> {
    const name = `${place.selector} ${place.domain}`;
    let key = this.#keys.get(name);
    if (key === undefined) {
      key = fetchDkimKey(place, this.#options);
      this.#keys.set(name, key);
    }
    return key;
  }
}

/**
 * Checks the ARC chain of a message (RFC 8617). Lines that end with LF are taken as
 * lines that end with CRLF. What is wrong with the chain is a result, never an
 * exception.
 *
 * @param message The message, header and body, as it came
 * @param options Where keys are asked for, as for {@linkcode verifyDkim};
 * `maxSignatures` has no effect
 *
 * @example A message without a chain
 * ```ts
 * import { verifyArc } from "@smtp/server/trust";
 * import { DnsClient } from "@smtp/server/dns";
 *
 * const message = new TextEncoder().encode("Subject: Hello\r\n\r\nHello\r\n");
 * const { result } = await verifyArc(message, { dns: new DnsClient() });
 * console.assert(result === "none");
 * ```
 */
export async function verifyArc(
  message: Uint8Array | ReadableStream<Uint8Array>,
  options: VerifyDkimOptions,
): Promise<ArcResult> {
  const splitter = new MessageSplitter();
  const bodies = new BodyHashes();
  let check: ArcCheck | undefined;
  const begin = () =>
    ArcCheck.begin(
      splitter.header === undefined ? [] : rawFields(splitter.header),
      { ...options, bodies },
    );
  for await (const piece of piecesOf(message)) {
    const body = splitter.take(piece);
    if (splitter.inBody) check ??= begin();
    bodies.write(body);
  }
  check ??= begin();
  bodies.end();
  return await check.end();
}
