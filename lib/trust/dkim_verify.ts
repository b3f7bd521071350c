/**
 * The DKIM signatures of one message: which of them are right.
 *
 * All key questions begin with the header, at once; the body is hashed in one
 * pass; the signatures are checked at its end. Each result is made of one
 * signature alone. A signature that breaks a rule asks no question and costs no
 * hash.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc6376#section-6 | RFC 6376 section 6},
 * {@link https://www.rfc-editor.org/rfc/rfc8301 | RFC 8301},
 * {@link https://www.rfc-editor.org/rfc/rfc8463 | RFC 8463}
 */

import type { DnsQuerier } from "../dns/outcome.ts";
import {
  abortSignal,
  checkOptions,
  having,
  number,
  required,
  type Rules,
  whole,
} from "../options.ts";
import { type BodyDigest, BodyHashes } from "./body_hash.ts";
import {
  latin1Bytes,
  type RawField,
  rawFields,
  signedText,
} from "./canonical_header.ts";
import { fetchDkimKey, type KeyOutcome } from "./dkim_key.ts";
import {
  type DkimSignature,
  domainOfIdentity,
  readDkimSignature,
  type SignatureNames,
} from "./dkim_signature.ts";
import { MessageSplitter, piecesOf } from "./message_splitter.ts";
import type { DkimResult } from "./result.ts";
import { LEAST_RSA_BITS } from "./rsa_verify.ts";

/** Options of {@linkcode verifyDkim}. */
export interface VerifyDkimOptions {
  /** Where the keys are asked for: a {@linkcode DnsClient}, or a table in a test. */
  dns: DnsQuerier;
  /** Ends the wait for keys; a signature whose key is missing then is "temperror". Default: no signal. */
  signal?: AbortSignal | undefined;
  /**
   * The time at which signatures must be valid, in milliseconds since 1970.
   *
   * @default {the time of the call}
   */
  now?: number | undefined;
  /**
   * The least number of bits of an RSA key, from 1024; a signature of a shorter
   * key is "policy".
   *
   * @default {1024}
   */
  minKeyBits?: number | undefined;
  /**
   * Most signatures that are looked at, from the top; further ones have no result.
   *
   * @default {10}
   */
  maxSignatures?: number | undefined;
}

const RULES: Rules<VerifyDkimOptions> = {
  dns: required(having("an object with the method query", "query")),
  signal: abortSignal,
  now: number(),
  minKeyBits: whole(LEAST_RSA_BITS),
  maxSignatures: whole(1),
};

/**
 * Checks the DKIM signatures of a message (RFC 6376), RSA and Ed25519, all in one
 * pass over its body. Holds the header block and nothing of the body.
 *
 * Lines that end with LF, as in files, are taken as lines that end with CRLF. What
 * is wrong with a message or a signature is a result, never an exception: only
 * options that are not valid, and a stream that fails, make it reject. A header
 * block of more than 1 MiB counts as one without signatures.
 *
 * @param message The message, header and body, as it came
 * @param options Where keys are asked for, and what is accepted
 * @returns A result for each signature, from the top of the header; none for a
 *   message that is not signed
 * @throws {TypeError} If an option is not valid
 * @throws {RangeError} If a number in the options is out of range
 *
 * @example The example of RFC 8463
 * ```ts
 * import { verifyDkim, type VerifyDkimOptions } from "@smtp/server/trust";
 * import type { DnsOutcome, DnsQuerier } from "@smtp/server/dns";
 *
 * const message = `DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 *  d=football.example.com; i=@football.example.com;
 *  q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 *  subject : date : message-id : from : subject : date;
 *  bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 *  b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 *  Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
 * From: Joe SixPack <joe@football.example.com>
 * To: Suzie Q <suzie@shopping.example.net>
 * Subject: Is dinner ready?
 * Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
 * Message-ID: <20030712040037.46341.5F8J@football.example.com>
 *
 * Hi.
 *
 * We lost the game.  Are you hungry yet?
 *
 * Joe.
 * `;
 * const key = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
 * // In a program: new DnsClient().
 * const answer: DnsOutcome<string> = { status: "found", records: [key] };
 * const dns = { query: () => Promise.resolve(answer) } as DnsQuerier;
 *
 * const options: VerifyDkimOptions = { dns, minKeyBits: 2048 };
 * const bytes = new TextEncoder().encode(message);
 * const [first] = await verifyDkim(bytes, options);
 * console.assert(first?.result === "pass");
 * console.assert(first?.domain === "football.example.com");
 * ```
 */
export async function verifyDkim(
  message: Uint8Array | ReadableStream<Uint8Array>,
  options: VerifyDkimOptions,
): Promise<readonly DkimResult[]> {
  checkOptions("verifyDkim", options, RULES);
  const splitter = new MessageSplitter();
  const bodies = new BodyHashes();
  let check: DkimCheck | undefined;
  for await (const piece of piecesOf(message)) {
    const body = splitter.take(piece);
    if (check === undefined && splitter.inBody) {
      check = beginCheck(splitter, bodies, options);
    }
    bodies.write(body);
  }
  check ??= beginCheck(splitter, bodies, options);
  bodies.end();
  return await check.end();
}

function beginCheck(
  { header }: MessageSplitter,
  bodies: BodyHashes,
  options: VerifyDkimOptions,
): DkimCheck {
  const fields = header === undefined ? [] : rawFields(header);
  return DkimCheck.begin(fields, { ...options, bodies });
}

/** Options of {@linkcode DkimCheck.begin}. */
export interface DkimCheckOptions extends VerifyDkimOptions {
  /** The hashes of the body; the caller writes the body to them, and ends them. */
  readonly bodies: BodyHashes;
}

/** A signature on its way to its result. */
interface Pending {
  readonly field: RawField;
  readonly names: SignatureNames;
  readonly signature: DkimSignature;
  readonly key: Promise<KeyOutcome>;
  readonly body: BodyDigest;
}

/** The check of one message: begun with its header, ended after its body. */
export class DkimCheck {
  readonly #fields: readonly RawField[];
  readonly #minKeyBits: number;
  readonly #checks: readonly (Pending | DkimResult)[];

  private constructor(
    fields: readonly RawField[],
    options: DkimCheckOptions,
  ) {
    const { now = Date.now(), maxSignatures = MAX_SIGNATURES } = options;
    this.#fields = fields;
    this.#minKeyBits = options.minKeyBits ?? LEAST_RSA_BITS;
    const keys = new Keys(options);
    this.#checks = fields.filter(({ name }) => name === "dkim-signature")
      .slice(0, maxSignatures)
      .map((field) => {
        const { names, signature, fault } = readDkimSignature(field, now);
        if (signature === undefined) {
          return {
            ...names,
            result: "permerror",
            testing: false,
            reason: fault,
          };
        }
        const { bodyForm: form, bodyLimit: limit } = signature;
        const body = options.bodies.add({ form, limit });
        return { field, names, signature, key: keys.ask(names), body };
      });
  }

  /**
   * Reads the signatures, says which hashes of the body they need, and begins the
   * questions for their keys. Nothing waits, and nothing rejects later.
   */
  static begin(
    fields: readonly RawField[],
    options: DkimCheckOptions,
  ): DkimCheck {
    return new DkimCheck(fields, options);
  }

  /** The results from the top of the header, after the hashes of the body have ended. */
  async end(): Promise<readonly DkimResult[]> {
    const results: DkimResult[] = [];
    for (const check of this.#checks) {
      results.push(
        "result" in check ? check : this.#judge(check, await check.key),
      );
    }
    return results;
  }

  #judge(check: Pending, outcome: KeyOutcome): DkimResult {
    const { names, signature, body } = check;
    if (outcome.key === undefined) {
      const { result, reason } = outcome;
      return { ...names, result, reason, testing: false };
    }
    const { key, record } = outcome;
    const limit = signature.bodyLimit;
    const facts = {
      ...names,
      keyBits: key.bits,
      testing: record.testing,
      unsigned: limit === undefined
        ? undefined
        : Math.max(body.size - limit, 0),
    };
    if (key.type !== signature.keyType) {
      const reason = "The key is of another type than the signature";
      return { ...facts, result: "permerror", reason };
    }
    const isExact = domainOfIdentity(names.identity) === names.domain;
    if (record.strict && !isExact) {
      const reason = "The key is for identities of exactly its domain";
      return { ...facts, result: "permerror", reason };
    }
    if (key.type === "rsa" && key.bits < this.#minKeyBits) {
      const reason =
        `The key has ${key.bits} bits, fewer than ${this.#minKeyBits}`;
      return { ...facts, result: "policy", reason };
    }
    if (limit !== undefined && limit > body.size) {
      const reason = "The body is shorter than its signed part";
      return { ...facts, result: "fail", reason };
    }
    if (!isEqual(body.digest, signature.bodyHash)) {
      const reason = "The body is not the one that was signed";
      return { ...facts, result: "fail", reason };
    }
    if (!key.verify(this.#signedBytes(check), signature.value)) {
      const reason = "The signature does not fit the header";
      return { ...facts, result: "fail", reason };
    }
    return { ...facts, result: "pass" };
  }

  #signedBytes({ field, signature }: Pending): Uint8Array {
    const { fields: names, headerForm: form } = signature;
    return latin1Bytes(signedText(this.#fields, { names, form, own: field }));
  }
}

/** Most signatures that are looked at by default. */
const MAX_SIGNATURES = 10;

/** The key questions of a message: each key is asked for once. */
class Keys {
  readonly #asked = new Map<string, Promise<KeyOutcome>>();
  readonly #options: DkimCheckOptions;

  constructor(options: DkimCheckOptions) {
    this.#options = options;
  }

  ask(place: SignatureNames): Promise<KeyOutcome> {
    const name = `${place.selector} ${place.domain}`;
    let key = this.#asked.get(name);
    if (key === undefined) {
      key = fetchDkimKey(place, this.#options);
      this.#asked.set(name, key);
    }
    return key;
  }
}

/** Whether two digests are the same. They are public: the time tells nothing. */
function isEqual(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length &&
    one.every((byte, at) => byte === other[at]);
}
