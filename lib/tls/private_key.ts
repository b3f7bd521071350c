/**
 * Makes private keys, reads them from all PEM forms in use, and signs with
 * them. The key stays in the platform's key object; no text and no error
 * contains it or a passphrase.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5958 | RFC 5958} (PKCS#8),
 * {@link https://www.rfc-editor.org/rfc/rfc5915 | RFC 5915} (SEC1),
 * {@link https://www.rfc-editor.org/rfc/rfc8017#appendix-A.1.2 | RFC 8017 appendix A.1.2} (PKCS#1)
 */

import {
  createPrivateKey,
  createPublicKey,
  generateKeyPair,
  type KeyObject,
  sign,
} from "node:crypto";
import { Buffer } from "node:buffer";
import { type Der, oid, type PemBlock, sequence } from "./der.ts";

/** The kinds of key that can be made. */
export type KeyAlgorithm = "ecdsa-p256" | "rsa-2048" | "ed25519";

const CURVES: Readonly<Record<string, string>> = {
  prime256v1: "p256",
  "P-256": "p256",
  secp384r1: "p384",
  "P-384": "p384",
  secp521r1: "p521",
  "P-521": "p521",
};

/** Parameters of a key's signatures: the digest, and the AlgorithmIdentifier. */
interface Signing {
  readonly digest: string | null;
  readonly identifier: Der;
}

const NULL = Uint8Array.of(5, 0);
const SIGNINGS: ReadonlyMap<string, Signing> = new Map([
  ["rsa", {
    digest: "sha256",
    identifier: sequence(oid("1.2.840.113549.1.1.11"), NULL),
  }],
  ["ecdsa-p256", {
    digest: "sha256",
    identifier: sequence(oid("1.2.840.10045.4.3.2")),
  }],
  ["ecdsa-p384", {
    digest: "sha384",
    identifier: sequence(oid("1.2.840.10045.4.3.3")),
  }],
  ["ecdsa-p521", {
    digest: "sha512",
    identifier: sequence(oid("1.2.840.10045.4.3.4")),
  }],
  ["ed25519", { digest: null, identifier: sequence(oid("1.3.101.112")) }],
]);

export function makeKey(algorithm: KeyAlgorithm): Promise<KeyObject> {
  return new Promise((resolve, reject) => {
    const done = (error: Error | null, _public: KeyObject, key: KeyObject) =>
      error === null || error === undefined ? resolve(key) : reject(error);
    switch (algorithm) {
      case "ecdsa-p256":
        return generateKeyPair("ec", { namedCurve: "P-256" }, done);
      case "rsa-2048":
        return generateKeyPair("rsa", { modulusLength: 2048 }, done);
      case "ed25519":
        return generateKeyPair("ed25519", {}, done);
      default:
        reject(
          new TypeError(
            `Cannot make a key of algorithm "${algorithm}": want "ecdsa-p256", "rsa-2048" or "ed25519"`,
          ),
        );
    }
  });
}

/** Whether a PEM block holds a private key. */
export function isKeyBlock(block: PemBlock): boolean {
  return block.label.endsWith("PRIVATE KEY");
}

/**
 * Reads a private key: PKCS#8, SEC1 or PKCS#1, encrypted or not.
 *
 * @throws {Error} If the passphrase is missing or wrong, or the key is damaged or of an unsupported kind
 */
export function readKey(block: PemBlock, passphrase?: string): KeyObject {
  const encrypted = block.label === "ENCRYPTED PRIVATE KEY" ||
    /^Proc-Type:.*ENCRYPTED/m.test(block.text);
  if (encrypted && (passphrase === undefined || passphrase === "")) {
    throw new Error("Private key is encrypted: want a passphrase");
  }
  try {
    return createPrivateKey({
      key: block.text,
      format: "pem",
      ...(encrypted ? { passphrase } : {}),
    });
  } catch {
    // Leaves out the platform's text, which names library internals.
    throw new Error(
      encrypted
        ? "the passphrase of the private key is wrong, or the key is damaged"
        : "the private key is damaged or of a kind not supported",
    );
  }
}

/** The kind of key: `"ecdsa-p256"`, `"rsa-2048"`, `"ed25519"`; for others the platform's name. */
export function keyAlgorithm(key: KeyObject): string {
  const details = key.asymmetricKeyDetails;
  const type = key.asymmetricKeyType ?? "unknown";
  if (type === "rsa") return `rsa-${details?.modulusLength}`;
  if (type !== "ec") return type;
  const curve = details?.namedCurve ?? "unknown";
  return `ecdsa-${CURVES[curve] ?? curve}`;
}

/** The SubjectPublicKeyInfo of a private key, in DER. */
export function publicKeyInfo(key: KeyObject): Uint8Array {
  return createPublicKey(key).export({ type: "spki", format: "der" });
}

/**
 * Makes a signer that uses the digest that suits the key.
 *
 * @throws {TypeError} If keys of this kind are not supported
 */
export function signer(key: KeyObject): CertificateSigner {
  const algorithm = keyAlgorithm(key);
  const signing = SIGNINGS.get(algorithm.replace(/^rsa-.*/, "rsa"));
  if (signing === undefined) {
    throw new TypeError(
      `Cannot sign with a key of algorithm "${algorithm}": want RSA, ECDSA on P-256, P-384 or P-521, or Ed25519`,
    );
  }
  return {
    identifier: signing.identifier,
    sign: (bytes) => sign(signing.digest, Buffer.from(bytes), key),
  };
}

/** Signs certificates and requests with one key. */
export interface CertificateSigner {
  /** The AlgorithmIdentifier of the signatures, in DER. */
  readonly identifier: Uint8Array;
  /** The signature of `bytes`, in the form for X.509. */
  sign(bytes: Uint8Array): Uint8Array;
}
