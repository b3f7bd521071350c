/**
 * The channel binding of type tls-server-end-point: a digest of the server's
 * certificate, made with the digest function of the certificate's signature.
 * Reads only the signature algorithm of the certificate.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5929#section-4.1 | RFC 5929 section 4.1}
 */

import { digest, type DigestName } from "./digest.ts";

const SEQUENCE = 0x30;
const OBJECT_IDENTIFIER = 0x06;
const FIRST_OPTIONAL = 0xa0;
const RSA_PSS = "2a864886f70d01010a";

/**
 * Digest functions by the bytes of the object identifier of a signature
 * algorithm or, in the last rows, of a digest algorithm. MD5 and SHA-1 count as
 * SHA-256, as RFC 5929 requires.
 */
const DIGESTS: ReadonlyMap<string, DigestName> = new Map([
  ["2a864886f70d010104", "sha256"], // md5WithRSAEncryption
  ["2a864886f70d010105", "sha256"], // sha1WithRSAEncryption
  ["2a864886f70d01010b", "sha256"], // sha256WithRSAEncryption
  ["2a864886f70d01010c", "sha384"], // sha384WithRSAEncryption
  ["2a864886f70d01010d", "sha512"], // sha512WithRSAEncryption
  ["2a8648ce3d0401", "sha256"], // ecdsa-with-SHA1
  ["2a8648ce3d040302", "sha256"], // ecdsa-with-SHA256
  ["2a8648ce3d040303", "sha384"], // ecdsa-with-SHA384
  ["2a8648ce3d040304", "sha512"], // ecdsa-with-SHA512
  ["2b0e03021a", "sha256"], // id-sha1
  ["608648016503040201", "sha256"], // id-sha256
  ["608648016503040202", "sha384"], // id-sha384
  ["608648016503040203", "sha512"], // id-sha512
]);

/**
 * The tls-server-end-point channel binding of a connection, for
 * SCRAM-SHA-256-PLUS on either side.
 *
 * @param certificate The server's certificate in DER
 * @returns The digest, or `undefined` if the bytes are not a certificate or its
 * signature has no single digest function (Ed25519). Without a binding
 * SCRAM-SHA-256-PLUS must not be offered
 *
 * @example No certificate, no binding
 * ```ts
 * import { tlsServerEndPoint } from "@smtp/server/sasl";
 *
 * console.assert(tlsServerEndPoint(new Uint8Array(0)) === undefined);
 * ```
 */
export function tlsServerEndPoint(
  certificate: Uint8Array,
): Uint8Array<ArrayBuffer> | undefined {
  const outer = readElement(certificate, SEQUENCE);
  const signed = outer && readElement(outer.content, SEQUENCE);
  const algorithm = signed && readElement(signed.rest, SEQUENCE);
  const name = algorithm && signatureDigest(algorithm.content);
  return name && digest(name, certificate);
}

/** The digest function of a signature's AlgorithmIdentifier. */
function signatureDigest(algorithm: Uint8Array): DigestName | undefined {
  const identifier = readElement(algorithm, OBJECT_IDENTIFIER);
  if (identifier?.content.toHex() !== RSA_PSS) {
    return identifier && DIGESTS.get(identifier.content.toHex());
  }
  // RSASSA-PSS names its digest in the parameters; absent means SHA-1 (RFC 4055
  // section 3.1).
  const parameters = readElement(identifier.rest, SEQUENCE);
  const hash = parameters && readElement(parameters.content, FIRST_OPTIONAL);
  if (hash === undefined) return parameters && "sha256";
  const inner = readElement(hash.content, SEQUENCE);
  const digestName = inner && readElement(inner.content, OBJECT_IDENTIFIER);
  return digestName && DIGESTS.get(digestName.content.toHex());
}

/** The content of one DER element, and the bytes after the element. */
interface Element {
  readonly content: Uint8Array;
  readonly rest: Uint8Array;
}

/** Reads an element with the tag `tag`; `undefined` if the tag differs or the element is cut off. */
function readElement(bytes: Uint8Array, tag: number): Element | undefined {
  const first = bytes[1];
  if (bytes[0] !== tag || first === undefined) return undefined;
  // Below 128 the byte is the length; from 128 it counts the length bytes.
  const lengthBytes = first < 0x80 ? 0 : first - 0x80;
  if (first === 0x80 || lengthBytes > 3) return undefined;
  const start = 2 + lengthBytes;
  let length = lengthBytes === 0 ? first : 0;
  for (const byte of bytes.subarray(2, start)) length = length * 256 + byte;
  const end = start + length;
  if (end > bytes.length) return undefined;
  return { content: bytes.subarray(start, end), rest: bytes.subarray(end) };
}
