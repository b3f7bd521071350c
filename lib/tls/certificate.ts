/**
 * Makes, loads and inspects certificates. A {@linkcode Certificate} is a chain
 * and, for a certificate of one's own, the private key. It never changes;
 * reloading makes a new one.
 *
 * Only {@linkcode Certificate.keyPem} hands out the key: no property, no JSON,
 * no text and no error contains it.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5280 | RFC 5280}
 */

import type { KeyObject, X509Certificate } from "node:crypto";
import {
  checkOptions,
  flag,
  optionError,
  path,
  required,
  type Rules,
  secret,
  text,
  where,
} from "../options.ts";
import {
  assemble,
  CertificateError,
  type CertificateMaterial,
  fromBytes,
  publicKeyOf,
  readPemFile,
} from "./material.ts";
import {
  type CertificateRequest,
  type CertificateRequestOptions,
  keyText,
  makeRequest,
  makeSelfSigned,
  type SelfSignedOptions,
} from "./request.ts";
import {
  certificateDate,
  type CertificateProblem,
  dateText,
  findProblems,
  type VerifyCertificateOptions,
} from "./verify.ts";
import { nameCovers } from "./host_name.ts";
import { writePem } from "./der.ts";
import { keyAlgorithm } from "./private_key.ts";
import { readNames, readParties } from "./x509_writer.ts";

/** Options of {@linkcode Certificate.load}. */
export interface LoadCertificateOptions {
  /** Path of the PEM file with the certificate, followed by its issuers. */
  certificateFile: string;
  /** Path of the PEM file with the private key. Default: `certificateFile`. */
  keyFile?: string | undefined;
  /** The passphrase of the private key. Default: the key is not encrypted. */
  passphrase?: string | undefined;
  /**
   * Whether the private key may be missing. A certificate without a key can be
   * inspected or trusted, but not served with.
   *
   * @default {false}
   */
  keyOptional?: boolean | undefined;
}

/** Options of {@linkcode Certificate.parse}. */
export interface ParseCertificateOptions {
  /** The private key in PEM: PKCS#8, SEC1 or PKCS#1. Default: the key in the text of the certificate. */
  key?: string | undefined;
  /** The passphrase of the private key. Default: the key is not encrypted. */
  passphrase?: string | undefined;
  /**
   * Whether the private key may be missing.
   *
   * @default {false}
   */
  keyOptional?: boolean | undefined;
}

const LOAD_RULES: Rules<LoadCertificateOptions> = {
  certificateFile: required(path),
  keyFile: path,
  passphrase: secret(text()),
  keyOptional: flag,
};
const PARSE_RULES: Rules<ParseCertificateOptions> = {
  key: secret(text("a private key in PEM")),
  passphrase: secret(text()),
  keyOptional: flag,
};
const VERIFY_RULES: Rules<VerifyCertificateOptions> = {
  host: text(),
  at: where("a Date", (value) => value instanceof Date),
};

/** The result of {@linkcode Certificate.toJSON}. */
export interface CertificateSummary {
  /** The subject, as `"CN=mail.example"`; `""` if the certificate has only `names`. */
  readonly subject: string;
  /** The issuer; `""` for an authority without a name. */
  readonly issuer: string;
  /** The host names and IP addresses in subjectAltName. */
  readonly names: readonly string[];
  /** Start of validity in ISO 8601; `""` for a malformed date. */
  readonly validFrom: string;
  /** End of validity in ISO 8601; `""` for a malformed date. */
  readonly validTo: string;
  /** SHA-256 of the DER. */
  readonly fingerprint: string;
  /** The serial number, hexadecimal. */
  readonly serialNumber: string;
  /** The kind of key, as `"ecdsa-p256"`. */
  readonly algorithm: string;
}

/**
 * An X.509 certificate with its chain and, for a certificate of one's own, its
 * key.
 *
 * @example A certificate for experiments
 * ```ts
 * import { Certificate } from "@smtp/server";
 *
 * const certificate = await Certificate.selfSigned({
 *   names: ["mail.example.com", "127.0.0.1"],
 *   days: 30,
 * });
 * console.assert(certificate.matches("mail.example.com"));
 * console.assert(!certificate.isExpired());
 * ```
 */
export class Certificate {
  readonly #chain: readonly X509Certificate[];
  readonly #key: KeyObject | undefined;
  #names: readonly string[] | undefined;

  private constructor(material: CertificateMaterial) {
    this.#chain = material.chain;
    this.#key = material.key;
  }

  /**
   * Makes a key and a self-signed certificate for servers and clients, not for
   * an authority. It is valid from one hour before now.
   *
   * @throws {TypeError} If `names` is empty or one is neither a host name nor an IP address
   * @throws {RangeError} If `days` or the length of `commonName` is out of range
   */
  static async selfSigned(options: SelfSignedOptions): Promise<Certificate> {
    const { der, key } = await makeSelfSigned(options);
    return new Certificate({ chain: [fromBytes(der)], key });
  }

  /**
   * Makes a request that an authority turns into a certificate.
   *
   * @throws {TypeError} If `names` is empty or one is neither a host name nor an IP address
   * @throws {RangeError} If the length of `commonName` is out of range
   * @throws {CertificateError} If `key` cannot be read
   */
  static createRequest(
    options: CertificateRequestOptions,
  ): Promise<CertificateRequest> {
    return makeRequest(options);
  }

  /**
   * Loads certificate, chain and key from PEM files. Loads an expired
   * certificate, too: {@linkcode Certificate.verify} reports it. Requires
   * `allow-read`.
   *
   * @throws {CertificateError} If a file cannot be read, is not PEM or lacks its part, or key and certificate do not match
   *
   * @example Write a certificate and its key, and load them
   * ```ts
   * import { Certificate } from "@smtp/server/tls";
   *
   * const folder = await Deno.makeTempDir();
   * const [certificateFile, keyFile] = [`${folder}/mx.pem`, `${folder}/mx.key`];
   * const made = await Certificate.selfSigned({ names: ["mx.example.com"] });
   * await Deno.writeTextFile(certificateFile, made.toPem());
   * await Deno.writeTextFile(keyFile, made.keyPem(), { mode: 0o600 });
   *
   * const certificate = await Certificate.load({ certificateFile, keyFile });
   * console.assert(certificate.verify().length === 0);
   * await Deno.remove(folder, { recursive: true });
   * ```
   */
  static async load(options: LoadCertificateOptions): Promise<Certificate> {
    checkOptions(
      "Certificate.load",
      options,
      LOAD_RULES,
      '{ certificateFile: "mail.pem", keyFile: "mail.key" }',
    );
    const { certificateFile, keyFile } = options;
    const action = `Cannot load the certificate "${certificateFile}"`;
    const certificates = await readPemFile(certificateFile, action);
    const keyAction = keyFile === undefined
      ? undefined
      : `Cannot load the private key "${keyFile}"`;
    const key = keyAction && await readPemFile(keyFile!, keyAction);
    const { passphrase, keyOptional } = options;
    return new Certificate(assemble({
      ...{ certificates, key, passphrase, keyOptional },
      ...{ action, keyAction },
    }));
  }

  /**
   * Reads certificate, chain and key from PEM texts.
   *
   * @param pem The certificate, followed by its issuers, and the key if it is not in `options`
   * @throws {CertificateError} If a part is missing or damaged, or key and certificate do not match
   *
   * @example
   * ```ts
   * import { Certificate } from "@smtp/server";
   *
   * const made = await Certificate.selfSigned({ names: ["mail.example"] });
   * const read = Certificate.parse(made.toPem(), { key: made.keyPem() });
   * console.assert(read.fingerprint === made.fingerprint);
   * ```
   */
  static parse(
    pem: string,
    options: ParseCertificateOptions = {},
  ): Certificate {
    if (typeof pem !== "string") {
      const at = { path: "pem", of: "Certificate.parse", secret: true };
      throw optionError(at, pem, { want: "the text of a certificate in PEM" });
    }
    checkOptions("Certificate.parse", options, PARSE_RULES);
    return new Certificate(assemble({
      ...options,
      certificates: pem,
      action: "Cannot parse the certificate",
    }));
  }

  /**
   * Makes a certificate without a key, as a peer presents it.
   *
   * @param der The certificate, followed by its issuers, each in DER
   * @throws {CertificateError} If the list is empty, or a certificate is damaged
   */
  static fromDer(der: Uint8Array | readonly Uint8Array[]): Certificate {
    const chain = (der instanceof Uint8Array ? [der] : der).map(fromBytes);
    if (chain.length === 0) {
      throw new CertificateError("Cannot read the certificate: none given");
    }
    return new Certificate({ chain, key: undefined });
  }

  /**
   * The subject, as `"O=Example, CN=mail.example"`; `""` if the certificate has
   * only {@linkcode Certificate.names}. Control characters are shown as `?`;
   * commas and other separators within a part have a backslash (RFC 4514).
   */
  get subject(): string {
    return readParties(this.#leaf.raw).subject;
  }

  /** The issuer; equal to {@linkcode Certificate.subject} if self-signed. */
  get issuer(): string {
    return readParties(this.#leaf.raw).issuer;
  }

  /** The host names and IP addresses in subjectAltName, in order; empty if that is missing or malformed. */
  get names(): readonly string[] {
    if (this.#names === undefined) {
      let names: string[] = [];
      try {
        names = readNames(this.#leaf.raw);
      } catch {
        // A malformed list covers no host.
      }
      this.#names = Object.freeze(names);
    }
    return this.#names;
  }

  /** Start of validity. */
  get validFrom(): Date {
    return certificateDate(this.#leaf.validFrom);
  }

  /** End of validity. */
  get validTo(): Date {
    return certificateDate(this.#leaf.validTo);
  }

  /** SHA-256 of the DER, as `"AB:CD:..."`. */
  get fingerprint(): string {
    return this.#leaf.fingerprint256;
  }

  /** The serial number, hexadecimal. */
  get serialNumber(): string {
    return this.#leaf.serialNumber;
  }

  /** The kind of key, as `"ecdsa-p256"`, `"rsa-2048"` or `"ed25519"`; `"unknown"` for an unsupported one. */
  get algorithm(): string {
    return publicKeyOf(this.#leaf) === undefined
      ? "unknown"
      : keyAlgorithm(this.#leaf.publicKey);
  }

  /** Whether it has its private key and can be served with. */
  get hasKey(): boolean {
    return this.#key !== undefined;
  }

  /** A copy of the certificate in DER, without its chain. */
  get der(): Uint8Array<ArrayBuffer> {
    return Uint8Array.from(this.#leaf.raw);
  }

  /** A copy of the certificate and of the issuers that came with it, in DER. */
  get chain(): readonly Uint8Array<ArrayBuffer>[] {
    return this.#chain.map(({ raw }) => Uint8Array.from(raw));
  }

  /** Whether it has expired. For "not yet valid" see {@linkcode Certificate.verify}. */
  isExpired(at: Date = new Date()): boolean {
    return !(at <= this.validTo);
  }

  /**
   * Whether it covers `host`, a host name or an IP address
   * ({@link https://www.rfc-editor.org/rfc/rfc9525#section-6.3 | RFC 9525 section 6.3}).
   */
  matches(host: string): boolean {
    return this.names.some((name) => nameCovers(name, host));
  }

  /**
   * Checks the dates, the order of the chain and the host. Does not check that
   * key and certificate match: loading has checked that.
   *
   * @returns The problems; empty for a good certificate
   *
   * @example
   * ```ts
   * import { Certificate } from "@smtp/server";
   *
   * const certificate = await Certificate.selfSigned({ names: ["mail.example"] });
   * const [problem] = certificate.verify({ host: "www.example" });
   * console.assert(problem?.code === "host");
   * ```
   */
  verify(options: VerifyCertificateOptions = {}): CertificateProblem[] {
    checkOptions("Certificate.verify", options, VERIFY_RULES);
    return findProblems({ chain: this.#chain, names: this.names }, options);
  }

  /** The certificate and its chain in PEM, without the key. */
  toPem(): string {
    return this.#chain.map((one) => writePem("CERTIFICATE", one.raw)).join("");
  }

  /**
   * The private key in PEM (PKCS#8, not encrypted). Keep it secret.
   *
   * @throws {CertificateError} If the certificate has no private key
   */
  keyPem(): string {
    if (this.#key === undefined) {
      throw new CertificateError(
        `Cannot give the private key of "${this.#title}": there is none`,
      );
    }
    return keyText(this.#key);
  }

  /** A description in one line. */
  toString(): string {
    return `${this.#title} (${this.algorithm}, valid to ${
      dateText(this.validTo) || "an unknown date"
    })`;
  }

  /** The contents as plain values, without the key. */
  toJSON(): CertificateSummary {
    return {
      subject: this.subject,
      issuer: this.issuer,
      names: this.names,
      validFrom: dateText(this.validFrom),
      validTo: dateText(this.validTo),
      fingerprint: this.fingerprint,
      serialNumber: this.serialNumber,
      algorithm: this.algorithm,
    };
  }

  /** The name of the certificate in texts. */
  get #title(): string {
    return this.subject || this.names.join(", ") ||
      `serial number ${this.serialNumber}`;
  }

  get #leaf(): X509Certificate {
    return this.#chain[0]!;
  }
}
