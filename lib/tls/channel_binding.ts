/**
 * The channel binding `tls-server-end-point`: a hash of the server's
 * certificate that both ends compute for themselves, so that a login cannot be
 * replayed through a man in the middle. Computes it, and nothing else.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5929#section-4 | RFC 5929 section 4}
 */

import { createHash } from "node:crypto";
import { oidText, readValues } from "./der.ts";
import {
  readSignatureAlgorithm,
  type SignatureAlgorithm,
} from "./x509_writer.ts";

const RSA_PSS = "1.2.840.113549.1.1.10";

/** The digest of each signature algorithm; MD5 and SHA-1 count as SHA-256. */
const DIGESTS: ReadonlyMap<string, string> = new Map([
  ["1.2.840.113549.1.1.4", "sha256"], // md5WithRSAEncryption
  ["1.2.840.113549.1.1.5", "sha256"], // sha1WithRSAEncryption
  ["1.2.840.113549.1.1.14", "sha224"],
  ["1.2.840.113549.1.1.11", "sha256"],
  ["1.2.840.113549.1.1.12", "sha384"],
  ["1.2.840.113549.1.1.13", "sha512"],
  ["1.2.840.10045.4.1", "sha256"], // ecdsa-with-SHA1
  ["1.2.840.10045.4.3.1", "sha224"],
  ["1.2.840.10045.4.3.2", "sha256"],
  ["1.2.840.10045.4.3.3", "sha384"],
  ["1.2.840.10045.4.3.4", "sha512"],
  // Parameters of RSASSA-PSS name the digest itself; without them it is SHA-1.
  ["1.3.14.3.2.26", "sha256"],
  ["2.16.840.1.101.3.4.2.1", "sha256"],
  ["2.16.840.1.101.3.4.2.2", "sha384"],
  ["2.16.840.1.101.3.4.2.3", "sha512"],
  ["2.16.840.1.101.3.4.2.4", "sha224"],
]);

/**
 * The `tls-server-end-point` channel binding data of a server's certificate.
 *
 * @param certificate The server's own certificate, in DER
 * @returns The hash; `undefined` where the signature has no single digest (Ed25519, Ed448), for which RFC 5929 defines none
 * @throws {SyntaxError} If `certificate` is not a certificate in DER
 *
 * @example The value that SCRAM-SHA-256-PLUS binds to
 * ```ts
 * import { Certificate, channelBinding } from "@smtp/server";
 *
 * const certificate = await Certificate.selfSigned({ names: ["mail.example"] });
 * console.assert(channelBinding(certificate.der)?.length === 32);
 * ```
 */
export function channelBinding(
  certificate: Uint8Array,
): Uint8Array<ArrayBuffer> | undefined {
  const algorithm = readSignatureAlgorithm(certificate);
  const id = algorithm.oid === RSA_PSS ? pssDigest(algorithm) : algorithm.oid;
  const digest = DIGESTS.get(id);
  if (digest === undefined) return undefined;
  return Uint8Array.from(createHash(digest).update(certificate).digest());
}

/** The OID of the digest in RSASSA-PSS-params (RFC 4055 section 3.1): [0] AlgorithmIdentifier. */
function pssDigest(algorithm: SignatureAlgorithm): string {
  const [list] = readValues(algorithm.parameters ?? new Uint8Array());
  const [hash] = readValues(list?.content ?? new Uint8Array());
  if (hash?.tag !== 0xa0) return "1.3.14.3.2.26";
  const [identifier] = readValues(hash.content);
  const [id] = readValues(identifier?.content ?? new Uint8Array());
  return id === undefined ? "" : oidText(id.content);
}
