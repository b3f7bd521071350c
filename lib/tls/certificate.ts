/**
 * Certificates: made, loaded, looked at. One {@linkcode Certificate} is a chain
 * and, where it is one's own, its private key. It never changes; reloading
 * makes a new one.
 *
 * The key is handed out by {@linkcode Certificate.keyPem} alone: it is in no
 * property, no JSON, no text and no error.
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
  /** Path of the PEM file with the certificate, then those that vouch for it. */
  certificateFile: string;
  /** Path of the PEM file with the private key; `certificateFile` when not given. */
  keyFile?: string | undefined;
  /** Decrypts the private key. */
  passphrase?: string | undefined;
  /**
   * Whether a certificate without a private key will do: enough to look at it
   * or to trust it, not to serve with it.
   *
   * @default {false}
   */
  keyOptional?: boolean | undefined;
}

/** Options of {@linkcode Certificate.parse}. */
export interface ParseCertificateOptions {
  /** The private key in PEM: PKCS#8, SEC1 or PKCS#1; looked for beside the certificate when not given. */
  key?: string | undefined;
  /** Decrypts the private key. */
  passphrase?: string | undefined;
  /**
   * Whether a certificate without a private key will do.
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

/** What {@linkcode Certificate.toJSON} gives. */
export interface CertificateSummary {
  /** Whom it is for, as `"CN=mail.example"`; `""` where only `names` tell. */
  readonly subject: string;
  /** Who signed it; `""` for an authority without a name. */
  readonly issuer: string;
  /** The host names and IP addresses it is for. */
  readonly names: readonly string[];
  /** ISO 8601; `""` for a date that cannot be read. */
  readonly validFrom: string;
  /** ISO 8601; `""` for a date that cannot be read. */
  readonly validTo: string;
  /** SHA-256 of the DER. */
  readonly fingerprint: string;
  /** Hexadecimal. */
  readonly serialNumber: string;
  /** The key's, as `"ecdsa-p256"`. */
  readonly algorithm: string;
}

/**
 * An X.509 certificate with its chain and, where it is one's own, its key.
 *
 * @example A certificate to try things with
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

  /** Takes a chain and a key that belong together. */
  private constructor(material: CertificateMaterial) {
    this.#chain = material.chain;
    this.#key = material.key;
  }

  /**
   * Makes a key and a certificate that it signs itself. Valid from an hour
   * ago; for servers and clients, not an authority.
   *
   * @throws {TypeError} If `names` is empty or one is neither a host name nor an IP address
   * @throws {RangeError} If `days` or the length of `commonName` does not fit
   */
  static async selfSigned(options: SelfSignedOptions): Promise<Certificate> {
    const { der, key } = await makeSelfSigned(options);
    return new Certificate({ chain: [fromBytes(der)], key });
  }

  /**
   * Makes a request that an authority turns into a certificate.
   *
   * @throws {TypeError} If `names` is empty or one is neither a host name nor an IP address
   * @throws {RangeError} If the length of `commonName` does not fit
   * @throws {CertificateError} If `key` cannot be read
   */
  static createRequest(
    options: CertificateRequestOptions,
  ): Promise<CertificateRequest> {
    return makeRequest(options);
  }

  /**
   * Loads certificate, chain and key from PEM files. An expired one loads, too:
   * {@linkcode Certificate.verify} tells. Requires `allow-read`.
   *
   * @throws {CertificateError} If a file cannot be read, is not PEM, lacks its part, or key and certificate do not match
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
   * @param pem The certificate, then those that vouch for it, and the key if it is not in `options`
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
   * A certificate without a key, as a peer presents it.
   *
   * @param der The certificate, then those that vouch for it, each in DER
   * @throws {CertificateError} If there is none, or one is damaged
   */
  static fromDer(der: Uint8Array | readonly Uint8Array[]): Certificate {
    const chain = (der instanceof Uint8Array ? [der] : der).map(fromBytes);
    if (chain.length === 0) {
      throw new CertificateError("Cannot read the certificate: none given");
    }
    return new Certificate({ chain, key: undefined });
  }

  /**
   * Whom it is for, as `"O=Example, CN=mail.example"`; `""` for a certificate
   * whose {@linkcode Certificate.names} alone tell. What a terminal would obey is
   * shown as `?`; a comma or other sign within a part has a backslash (RFC 4514).
   */
  get subject(): string {
    return readParties(this.#leaf.raw).subject;
  }

  /** Who signed it; the same as {@linkcode Certificate.subject} where it did itself. */
  get issuer(): string {
    return readParties(this.#leaf.raw).issuer;
  }

  /** The host names and IP addresses it is for (subjectAltName), in order; none where it has no list that can be read. */
  get names(): readonly string[] {
    if (this.#names === undefined) {
      let names: string[] = [];
      try {
        names = readNames(this.#leaf.raw);
      } catch {
        // A list that cannot be read is for nobody.
      }
      this.#names = Object.freeze(names);
    }
    return this.#names;
  }

  /** Valid from then on. */
  get validFrom(): Date {
    return certificateDate(this.#leaf.validFrom);
  }

  /** Valid up to then. */
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

  /** The kind of its key, as `"ecdsa-p256"`, `"rsa-2048"` or `"ed25519"`; `"unknown"` for one not known here. */
  get algorithm(): string {
    return publicKeyOf(this.#leaf) === undefined
      ? "unknown"
      : keyAlgorithm(this.#leaf.publicKey);
  }

  /** Whether the private key is here, so that it can serve. */
  get hasKey(): boolean {
    return this.#key !== undefined;
  }

  /** The certificate in DER, without its chain: a copy. */
  get der(): Uint8Array<ArrayBuffer> {
    return Uint8Array.from(this.#leaf.raw);
  }

  /** Whether its time is over. The other way round, see {@linkcode Certificate.verify}. */
  isExpired(at: Date = new Date()): boolean {
    return !(at <= this.validTo);
  }

  /**
   * Whether it is for `host`, a host name or an IP address
   * ({@link https://www.rfc-editor.org/rfc/rfc9525#section-6.3 | RFC 9525 section 6.3}).
   */
  matches(host: string): boolean {
    return this.names.some((name) => nameCovers(name, host));
  }

  /**
   * What is wrong with dates, chain order and host. That the key belongs to it
   * was made sure of when it was read.
   *
   * @returns The problems; none if all is well
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
   * The private key in PEM (PKCS#8, not encrypted). Keep it from other eyes.
   *
   * @throws {CertificateError} If there is none
   */
  keyPem(): string {
    if (this.#key === undefined) {
      throw new CertificateError(
        `Cannot give the private key of "${this.#title}": there is none`,
      );
    }
    return keyText(this.#key);
  }

  /** One line for people. */
  toString(): string {
    return `${this.#title} (${this.algorithm}, valid to ${
      dateText(this.validTo) || "an unknown date"
    })`;
  }

  /** What it says, as plain values; never the key. */
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

  /** What it is called in a sentence. */
  get #title(): string {
    return this.subject || this.names.join(", ") ||
      `serial number ${this.serialNumber}`;
  }

  get #leaf(): X509Certificate {
    return this.#chain[0]!;
  }
}
