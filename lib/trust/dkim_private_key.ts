/**
 * Private keys that sign mail: made, read from PEM, and their public halves as
 * DNS records. RSA signs by Web Crypto, which works beside the main thread. No
 * text and no error contains the key; `toPem()` alone gives it out.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc6376#section-3.6.1 | RFC 6376 section 3.6.1},
 * {@link https://www.rfc-editor.org/rfc/rfc8301#section-3.2 | RFC 8301 section 3.2} (1024 bits at least),
 * {@link https://www.rfc-editor.org/rfc/rfc8463 | RFC 8463} (Ed25519)
 */

import { Buffer } from "node:buffer";
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPair,
  type KeyObject,
} from "node:crypto";

/** The kinds of key that sign mail. */
export type DkimKeyType = "rsa" | "ed25519";

/** Fewest bits of an RSA key (RFC 8301 section 3.2). */
const LEAST_BITS = 1024;
/** Most bits: what others can verify, and what fits a record of the DNS. */
const MOST_BITS = 4096;
const DEFAULT_BITS = 2048;
/** Longest PEM text that is looked at, in characters. */
const MOST_TEXT = 65_536;
/** The DER of an Ed25519 public key before its 32 bytes. */
const ED25519_HEAD = 12;

/** The names of Web Crypto. */
const NAMES: Readonly<Record<DkimKeyType, string>> = {
  rsa: "RSASSA-PKCS1-v1_5",
  ed25519: "Ed25519",
};

/** The constructor, for this file alone. */
let fromKey: (key: KeyObject) => Promise<DkimPrivateKey>;

const BLOCK =
  /-----BEGIN ((?:[A-Z0-9]+ )*PRIVATE KEY)-----[^-]*-----END \1-----/;

/**
 * A private key that signs mail.
 *
 * @example Make a key, and show what the DNS has to say
 * ```ts
 * import { DkimPrivateKey, type DkimKeyType } from "@smtp/server/trust";
 *
 * const type: DkimKeyType = "ed25519";
 * const key = await DkimPrivateKey.generate(type);
 * console.assert(key.algorithm === "ed25519-sha256");
 * console.assert(key.record.startsWith("v=DKIM1; k=ed25519; p="));
 * const again = await DkimPrivateKey.load(key.toPem());
 * console.assert(again.record === key.record);
 * ```
 */
export class DkimPrivateKey {
  /** The kind of key. */
  readonly type: DkimKeyType;
  /** The algorithm of its signatures, the `a=` of a signature. */
  readonly algorithm: "rsa-sha256" | "ed25519-sha256";
  /** Bits of the key; 256 for Ed25519. */
  readonly bits: number;
  /**
   * The TXT record for `SELECTOR._domainkey.DOMAIN`, as one line. In a zone file
   * it stands in strings of 255 bytes at most.
   */
  readonly record: string;
  readonly #key: KeyObject;
  readonly #signing: CryptoKey;

  private constructor(key: KeyObject, facts: Facts, signing: CryptoKey) {
    this.#key = key;
    this.#signing = signing;
    this.type = facts.type;
    this.bits = facts.bits;
    this.algorithm = `${facts.type}-sha256`;
    const { type } = facts;
    const data = publicBytes(key, type).toString("base64");
    this.record = `v=DKIM1; k=${type}; p=${data}`;
  }

  /**
   * Makes a new key.
   *
   * @param type The kind of key. All receivers take RSA, many take Ed25519
   * @param options `bits`: bits of an RSA key, 1024 to 4096, 2048 by default
   * @throws {TypeError} If the kind is unknown
   * @throws {RangeError} If the bits are out of range
   */
  static async generate(
    type: DkimKeyType,
    options: { readonly bits?: number | undefined } = {},
  ): Promise<DkimPrivateKey> {
    const { bits = DEFAULT_BITS } = options;
    if (type !== "rsa" && type !== "ed25519") {
      throw new TypeError(
        `Cannot make a DKIM key of type "${type}": want "rsa" or "ed25519"`,
      );
    }
    const isInRange = Number.isInteger(bits) && bits >= LEAST_BITS &&
      bits <= MOST_BITS;
    if (!isInRange) {
      throw new RangeError(
        `Cannot make a DKIM key of ${bits} bits: want ${LEAST_BITS} to ${MOST_BITS}`,
      );
    }
    return await fromKey(await makeKey(type, bits));
  }

  /**
   * Reads a key: PKCS#8, or PKCS#1 for RSA. Text around the PEM block is ignored.
   *
   * @param pem The PEM text
   * @throws {SyntaxError} If there is no private key, it is encrypted or damaged,
   * is neither RSA nor Ed25519, or an RSA key has fewer than 1024 bits. The message
   * never contains the text
   */
  static async load(pem: string): Promise<DkimPrivateKey> {
    const text = String(pem);
    const block = text.length > MOST_TEXT ? null : BLOCK.exec(text);
    if (block === null) {
      const isOther = /-----BEGIN [A-Z ]*(?:PUBLIC KEY|CERTIFICATE)-----/
        .test(text.slice(0, MOST_TEXT));
      throw new SyntaxError(
        `Cannot read the DKIM key: want a private key in PEM${
          isOther ? ", this is a public one" : ""
        }`,
      );
    }
    if (/^ENCRYPTED /.test(block[1]!) || block[0].includes("Proc-Type:")) {
      throw new SyntaxError(
        "Cannot read the DKIM key: it is encrypted, want it without a passphrase",
      );
    }
    let key: KeyObject;
    try {
      key = createPrivateKey({ key: `${block[0]}\n`, format: "pem" });
    } catch {
      // Leaves out the platform's text, which may quote the input.
      throw new SyntaxError(
        "Cannot read the DKIM key: it is damaged, or of a kind that is not known",
      );
    }
    return await fromKey(key);
  }

  /** The key as PKCS#8 in PEM: a secret, for a file that its owner alone may read. */
  toPem(): string {
    return this.#key.export({ type: "pkcs8", format: "pem" }).toString();
  }

  /**
   * Signs.
   *
   * @param data The text to be signed, not hashed
   * @returns The signature, the `b=` of a signature before base64
   */
  async sign(data: Uint8Array): Promise<Uint8Array> {
    // RFC 8463 section 3: Ed25519 signs the hash.
    const signed = this.type === "rsa"
      ? Uint8Array.from(data)
      : Uint8Array.from(createHash("sha256").update(data).digest());
    const name = NAMES[this.type];
    return new Uint8Array(
      await crypto.subtle.sign(name, this.#signing, signed),
    );
  }

  /** Makes the key of a platform's key. */
  static {
    fromKey = async (key) => {
      const facts = factsOf(key);
      const { type } = facts;
      const bytes = Uint8Array.from(
        key.export({ type: "pkcs8", format: "der" }) as Uint8Array,
      );
      const algorithm = type === "rsa"
        ? { name: NAMES.rsa, hash: "SHA-256" }
        : { name: NAMES.ed25519 };
      try {
        const signing = await crypto.subtle
          .importKey("pkcs8", bytes, algorithm, false, ["sign"]);
        return new DkimPrivateKey(key, facts, signing);
      } catch {
        throw new SyntaxError("Cannot read the DKIM key: it is damaged");
      }
    };
  }
}

interface Facts {
  readonly type: DkimKeyType;
  readonly bits: number;
}

/** The kind and size of a key; throws for one that cannot sign mail. */
function factsOf(key: KeyObject): Facts {
  const type = key.asymmetricKeyType;
  if (type === "ed25519") return { type, bits: 256 };
  if (type !== "rsa") {
    throw new SyntaxError(
      `Cannot read the DKIM key: want RSA or Ed25519, this is ${
        type ?? "another kind"
      }`,
    );
  }
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  if (bits < LEAST_BITS || bits > MOST_BITS) {
    throw new SyntaxError(
      `Cannot use the DKIM key: it has ${bits} bits, want ${LEAST_BITS} to ${MOST_BITS}`,
    );
  }
  return { type, bits };
}

/** What `p=` says: the SubjectPublicKeyInfo of RSA, the bare key of Ed25519. */
function publicBytes(key: KeyObject, type: DkimKeyType): Buffer {
  const info = createPublicKey(key).export({ type: "spki", format: "der" });
  return Buffer.from(type === "rsa" ? info : info.subarray(ED25519_HEAD));
}

function makeKey(type: DkimKeyType, bits: number): Promise<KeyObject> {
  return new Promise((resolve, reject) => {
    const done = (error: Error | null, _public: KeyObject, key: KeyObject) =>
      error === null || error === undefined ? resolve(key) : reject(error);
    if (type === "rsa") generateKeyPair("rsa", { modulusLength: bits }, done);
    else generateKeyPair("ed25519", {}, done);
  });
}
