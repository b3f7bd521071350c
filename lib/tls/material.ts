/**
 * Finds the chain and the key of a certificate in PEM texts or files and checks
 * that they match. Every failure is a {@linkcode CertificateError} of one line
 * that never contains key or passphrase.
 */

import { Buffer } from "node:buffer";
import { type KeyObject, X509Certificate } from "node:crypto";
import { readSmallFile } from "../files/small_file.ts";
import { type PemBlock, readPem } from "./der.ts";
import { isKeyBlock, publicKeyInfo, readKey } from "./private_key.ts";

/**
 * A certificate, key or request that cannot be used. The message is one line
 * and safe to show.
 *
 * @example Report a problem to the operator
 * ```ts
 * import { Certificate } from "@smtp/server";
 * import { CertificateError } from "@smtp/server/tls";
 *
 * try {
 *   Certificate.parse("not a certificate");
 * } catch (error) {
 *   console.assert(error instanceof CertificateError);
 * }
 * ```
 */
export class CertificateError extends Error {
  /** The name of the error class. */
  override readonly name: string = "CertificateError";
}

/** Chain and key of one certificate. */
export interface CertificateMaterial {
  /** The certificate, followed by its issuers; at least one. */
  readonly chain: readonly X509Certificate[];
  /** The key of the first certificate, if any. */
  readonly key: KeyObject | undefined;
}

/** Options of {@linkcode assemble}. */
export interface MaterialSource {
  /** The PEM text with the certificates. */
  readonly certificates: string;
  /** The PEM text with the key. Default: `certificates`. */
  readonly key?: string | undefined;
  /** The passphrase of the key. */
  readonly passphrase?: string | undefined;
  /** Beginning of error messages: `Cannot load the certificate "x.pem"`. */
  readonly action: string;
  /** The same for a separate key: `Cannot load the private key "x.key"`. Default: `action`. */
  readonly keyAction?: string | undefined;
  /** Whether the key may be missing. */
  readonly keyOptional?: boolean | undefined;
}

/**
 * Finds chain and key and checks that they match.
 *
 * @throws {CertificateError} If either is missing or damaged, or they do not match
 */
export function assemble(source: MaterialSource): CertificateMaterial {
  const fail = failure(source.action);
  const failKey = failure(source.keyAction ?? source.action);
  const blocks = readPem(source.certificates);
  const keyBlocks = source.key === undefined ? blocks : readPem(source.key);
  if (blocks.length === 0) fail("not PEM, want a BEGIN CERTIFICATE line");
  const chain = blocks.filter(isCertificateBlock).map((block, index) => {
    try {
      return new X509Certificate(block.text);
    } catch {
      return fail(`certificate ${index + 1} in it is damaged`);
    }
  });
  if (chain[0] === undefined) {
    fail(
      blocks.some(isKeyBlock)
        ? "no certificate in it, only a private key"
        : `no certificate in it, only "${blocks[0]!.label}"`,
    );
  }
  const block = keyBlocks.find(isKeyBlock);
  if (block === undefined) {
    if (source.keyOptional) return { chain, key: undefined };
    failKey(
      source.key === undefined
        ? "no private key beside it"
        : source.keyAction === undefined
        ? "no private key in the text given for it"
        : keyBlocks.length === 0
        ? "not PEM, want a BEGIN PRIVATE KEY line"
        : `no private key in it, only "${keyBlocks[0]!.label}"`,
    );
  }
  let key: KeyObject;
  try {
    key = readKey(block!, source.passphrase);
  } catch (error) {
    failKey(
      error instanceof Error ? error.message : "the private key is damaged",
    );
  }
  requireMatch(chain, key!, fail);
  return { chain, key: key! };
}

/**
 * Reads a file of PEM text.
 *
 * @throws {CertificateError} If the file cannot be read
 */
export async function readPemFile(
  path: string,
  action: string,
): Promise<string> {
  try {
    return await readSmallFile(path);
  } catch (error) {
    const reason = error instanceof Deno.errors.NotFound
      ? "no such file"
      : error instanceof Deno.errors.PermissionDenied ||
          error instanceof Deno.errors.NotCapable
      ? "no permission to read it"
      : error instanceof RangeError
      ? "the file is larger than 16 MiB"
      : "the file cannot be read";
    throw new CertificateError(`${action}: ${reason}`, { cause: error });
  }
}

/** Parses DER into the platform's certificate. */
export function fromBytes(der: Uint8Array): X509Certificate {
  try {
    return new X509Certificate(
      Buffer.from(der.buffer, der.byteOffset, der.byteLength),
    );
  } catch {
    throw new CertificateError("Cannot read the certificate: damaged DER");
  }
}

/** The SubjectPublicKeyInfo of a certificate, `undefined` for an unsupported kind of key. */
export function publicKeyOf(certificate: X509Certificate): Buffer | undefined {
  try {
    return certificate.publicKey.export({ type: "spki", format: "der" });
  } catch {
    return undefined;
  }
}

function requireMatch(
  chain: readonly X509Certificate[],
  key: KeyObject,
  fail: (reason: string) => never,
): void {
  const info = publicKeyInfo(key);
  const at = chain.findIndex((certificate) =>
    publicKeyOf(certificate)?.equals(info) === true
  );
  if (at === 0) return;
  fail(
    at < 0
      ? "the private key belongs to another certificate"
      : `the private key belongs to certificate ${
        at + 1
      } of the chain, which must come first`,
  );
}

function isCertificateBlock(block: PemBlock): boolean {
  return block.label === "CERTIFICATE" || block.label === "X509 CERTIFICATE" ||
    block.label === "TRUSTED CERTIFICATE";
}

function failure(action: string): (reason: string) => never {
  return (reason) => {
    throw new CertificateError(`${action}: ${reason}`);
  };
}
