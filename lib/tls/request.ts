/**
 * Makes keys, self-signed certificates and PKCS#10 requests for names: checks
 * the names and chooses serial number and dates. Reads the clock and the random
 * generator, so that `x509_writer.ts` need not.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc2986 | RFC 2986}
 */

import type { KeyObject } from "node:crypto";
import {
  anyNumber,
  checkOptions,
  list,
  oneOf,
  required,
  type Rules,
  secret,
  text,
} from "../options.ts";
import { CertificateError } from "./material.ts";
import { type Der, readPem, writePem } from "./der.ts";
import { canonicalHost, isAddress } from "./host_name.ts";
import {
  isKeyBlock,
  type KeyAlgorithm,
  keyAlgorithm,
  makeKey,
  publicKeyInfo,
  readKey,
  signer,
} from "./private_key.ts";
import {
  KEY_USAGES,
  type KeyUsage,
  type SubjectParts,
  writeCertificate,
  writeRequest,
} from "./x509_writer.ts";

/** Age of a new certificate, in ms, for clients whose clocks are slow. */
const BACKDATE_MS = 60 * 60 * 1000;
const DAY_MS = 24 * 60 * 60 * 1000;
/** The longest common name (RFC 5280 appendix A.1, ub-common-name). */
const MAX_COMMON_NAME = 64;
/** The last year that a certificate can contain (RFC 5280 section 4.1.2.5). */
const MAX_YEAR = 9999;

/**
 * Options that certificates and requests share.
 *
 * @example One subject, self-signed for now and requested from an authority
 * ```ts
 * import {
 *   Certificate,
 *   type CertificateRequest,
 *   type CertificateRequestOptions,
 *   type CertificateSubjectOptions,
 *   type KeyAlgorithm,
 *   type KeyUsage,
 *   type SelfSignedOptions,
 * } from "@smtp/server/tls";
 *
 * const algorithm: KeyAlgorithm = "ecdsa-p256";
 * const keyUsage: readonly KeyUsage[] = ["digitalSignature"];
 * const subject: CertificateSubjectOptions = {
 *   names: ["mail.example.com"],
 *   ...{ algorithm, keyUsage },
 * };
 * const forNow: SelfSignedOptions = { ...subject, days: 7 };
 * const certificate = await Certificate.selfSigned(forNow);
 * const wanted: CertificateRequestOptions = {
 *   ...subject,
 *   key: certificate.keyPem(),
 * };
 * const request: CertificateRequest = await Certificate.createRequest(wanted);
 * console.assert(request.toPem().includes("CERTIFICATE REQUEST"));
 * ```
 */
export interface CertificateSubjectOptions {
  /** Host names (`*.example.com` included) and IP addresses to cover; at least one. */
  names: readonly string[];
  /**
   * The kind of key to make.
   *
   * @default {"ecdsa-p256"}
   */
  algorithm?: KeyAlgorithm | undefined;
  /** The common name, up to 64 characters. Default: the first name of `names`. */
  commonName?: string | undefined;
  /** The permitted uses of the key. Default: digital signatures, and with RSA key encipherment. */
  keyUsage?: readonly KeyUsage[] | undefined;
}

/** Options of {@linkcode Certificate.selfSigned}. */
export interface SelfSignedOptions extends CertificateSubjectOptions {
  /**
   * Number of days until the certificate expires.
   *
   * @default {365}
   */
  days?: number | undefined;
}

/** Options of {@linkcode Certificate.createRequest}. */
export interface CertificateRequestOptions extends CertificateSubjectOptions {
  /** The private key to use, in PEM. Default: a new one of kind `algorithm`. */
  key?: string | undefined;
  /** The passphrase of `key`. Default: the key is not encrypted. */
  passphrase?: string | undefined;
}

const SUBJECT_RULES: Rules<CertificateSubjectOptions> = {
  names: required(list(text(), 'an array of names, as ["mail.example.com"]')),
  algorithm: oneOf("ecdsa-p256", "rsa-2048", "ed25519"),
  commonName: text(),
  keyUsage: list(oneOf(...KEY_USAGES)),
};
const SELF_SIGNED_RULES: Rules<SelfSignedOptions> = {
  ...SUBJECT_RULES,
  days: anyNumber,
};
const REQUEST_RULES: Rules<CertificateRequestOptions> = {
  ...SUBJECT_RULES,
  key: secret(text("a private key in PEM")),
  passphrase: secret(text()),
};
const EXAMPLE = '{ names: ["mail.example.com"] }';

/** The constructor of {@linkcode CertificateRequest}, for this file alone. */
let newRequest: (der: Der, key: KeyObject) => CertificateRequest;

/**
 * A certificate request (PKCS#10) and the private key that signed it. Made by
 * {@linkcode Certificate.createRequest}.
 *
 * @example A request for an authority
 * ```ts
 * import { Certificate } from "@smtp/server";
 *
 * const request = await Certificate.createRequest({ names: ["mail.example"] });
 * console.assert(request.toPem().startsWith("-----BEGIN CERTIFICATE REQUEST"));
 * ```
 */
export class CertificateRequest {
  /** The request in DER. */
  readonly der: Uint8Array<ArrayBuffer>;
  readonly #key: KeyObject;

  private constructor(der: Uint8Array<ArrayBuffer>, key: KeyObject) {
    this.der = der;
    this.#key = key;
  }

  static {
    newRequest = (der, key) => new CertificateRequest(der, key);
  }

  /** The kind of key, as `"ecdsa-p256"`. */
  get algorithm(): string {
    return keyAlgorithm(this.#key);
  }

  /** The request in PEM, to send to an authority. */
  toPem(): string {
    return writePem("CERTIFICATE REQUEST", this.der);
  }

  /** The private key in PEM (PKCS#8, not encrypted). Keep it secret. */
  keyPem(): string {
    return keyText(this.#key);
  }
}

/** A certificate in DER, and its private key. */
export interface MadeCertificate {
  readonly der: Der;
  readonly key: KeyObject;
}

/** See {@linkcode Certificate.selfSigned}. */
export async function makeSelfSigned(
  options: SelfSignedOptions,
): Promise<MadeCertificate> {
  checkOptions("Certificate.selfSigned", options, SELF_SIGNED_RULES, EXAMPLE);
  const names = certificateNames(options.names);
  const { days = 365 } = options;
  const now = Date.now();
  const notAfter = new Date(now + days * DAY_MS);
  if (!(days > 0) || !(notAfter.getUTCFullYear() <= MAX_YEAR)) {
    throw new RangeError(
      `Cannot make a certificate for "${days}" days: want a positive number that ends before the year 10000`,
    );
  }
  const key = await makeKey(options.algorithm ?? "ecdsa-p256");
  const der = writeCertificate({
    ...subjectParts(names, { ...options, key }),
    serial: serialNumber(),
    notBefore: new Date(now - BACKDATE_MS),
    notAfter,
  }, signer(key));
  return { der, key };
}

/** See {@linkcode Certificate.createRequest}. */
export async function makeRequest(
  options: CertificateRequestOptions,
): Promise<CertificateRequest> {
  checkOptions("Certificate.createRequest", options, REQUEST_RULES, EXAMPLE);
  const names = certificateNames(options.names);
  const key = options.key === undefined
    ? await makeKey(options.algorithm ?? "ecdsa-p256")
    : givenKey(options.key, options.passphrase);
  const parts = subjectParts(names, { ...options, key });
  return newRequest(writeRequest(parts, signer(key)), key);
}

/** A private key in PEM (PKCS#8, not encrypted). */
export function keyText(key: KeyObject): string {
  return String(key.export({ type: "pkcs8", format: "pem" }));
}

function givenKey(text: string, passphrase: string | undefined): KeyObject {
  const block = readPem(text).find(isKeyBlock);
  if (block === undefined) {
    throw new CertificateError(
      "Cannot make a certificate request: no private key in the text given for it, want PEM",
    );
  }
  try {
    return readKey(block, passphrase);
  } catch (error) {
    throw new CertificateError(
      `Cannot make a certificate request: ${
        error instanceof Error ? error.message : "the private key is damaged"
      }`,
    );
  }
}

function certificateNames(names: readonly string[]): string[] {
  if (names.length === 0) {
    throw new TypeError(
      "Cannot make a certificate without names: want at least one host name or IP address",
    );
  }
  return [...new Set(names.map(certificateName))];
}

function certificateName(name: string): string {
  const normal = canonicalHost(name);
  if (normal === undefined) {
    throw new TypeError(
      `Cannot make a certificate for the name "${name}": want a host name or an IP address`,
    );
  }
  return normal;
}

function subjectParts(
  names: readonly string[],
  options: Pick<CertificateSubjectOptions, "commonName" | "keyUsage"> & {
    readonly key: KeyObject;
  },
): SubjectParts {
  const { key } = options;
  const rsa = keyAlgorithm(key).startsWith("rsa");
  const usage: readonly KeyUsage[] = rsa
    ? ["digitalSignature", "keyEncipherment"]
    : ["digitalSignature"];
  return {
    commonName: options.commonName === undefined
      ? defaultCommonName(names)
      : checkedCommonName(options.commonName),
    names,
    publicKey: publicKeyInfo(key),
    keyUsage: options.keyUsage ?? usage,
  };
}

/** The first name that is short enough; an issuer must have a name (RFC 5280 section 4.1.2.4). */
function defaultCommonName(names: readonly string[]): string {
  const hosts = names.filter((name) => !isAddress(name));
  return [...hosts, ...names].find((name) => name.length <= MAX_COMMON_NAME) ??
    "SMTP server";
}

function checkedCommonName(name: string): string {
  const size = [...name].length;
  // deno-lint-ignore no-control-regex
  if (size < 1 || size > MAX_COMMON_NAME || /[\x00-\x1f\x7f]/.test(name)) {
    throw new RangeError(
      `Cannot make a certificate with a common name of ${size} characters: want 1 to ${MAX_COMMON_NAME}, none of them a control character`,
    );
  }
  return name;
}

/** 16 random bytes. The first is 0x40 to 0x7f, so the number is positive and its length fixed. */
function serialNumber(): Uint8Array {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[0] = (bytes[0]! & 0x3f) | 0x40;
  return bytes;
}
