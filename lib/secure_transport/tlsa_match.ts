/**
 * Whether a server's certificate is one that its TLSA records name (DANE).
 *
 * Of the usages only 2 (an authority of the server's own) and 3 (the certificate
 * itself) count for mail. With 3 the digest alone decides: names and dates do not
 * count. With 2 the chain must lead to the authority, and names and dates count.
 *
 * Pure: the handshake has shown that the server has the key of its certificate, so
 * a copied one is worth nothing.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc6698#section-2.1 | RFC 6698 section 2.1},
 * {@link https://www.rfc-editor.org/rfc/rfc7671#section-5 | RFC 7671 section 5},
 * {@link https://www.rfc-editor.org/rfc/rfc7672#section-3.1 | RFC 7672 section 3.1}
 */

import { Buffer } from "node:buffer";
import { createHash, createPublicKey, X509Certificate } from "node:crypto";
import type { TlsaRecord } from "../dns/outcome.ts";
import { nameCovers } from "../tls/host_name.ts";
import { readCommonName, readNames } from "../tls/x509_writer.ts";
import type { TlsFailureType } from "./tls_result.ts";

/** What a certificate is checked for. */
export interface TlsaCheck {
  /** The records; those that are not usable do not count. */
  readonly records: readonly TlsaRecord[];
  /** The names of which a certificate of usage 2 must have one. */
  readonly names: readonly string[];
  /** The time, in milliseconds since 1970. */
  readonly now: number;
}

/** Why a certificate is not one that the records name. */
export interface TlsaFailure {
  readonly type: TlsFailureType;
  /** As one sentence without a final period. */
  readonly reason: string;
}

const DIGESTS: Readonly<Record<number, string>> = { 1: "sha256", 2: "sha512" };
/** Hexadecimal digits of the data, by matching type; any number for whole values. */
const LENGTHS: Readonly<Record<number, number>> = { 1: 64, 2: 128 };

/** The records that mail can use (RFC 7672 section 3.1). */
export function usableRecords(
  records: readonly TlsaRecord[],
): readonly TlsaRecord[] {
  return records.filter(({ usage, selector, matching, data }) =>
    (usage === 2 || usage === 3) && (selector === 0 || selector === 1) &&
    (matching === 0 ? data.length > 0 : data.length === LENGTHS[matching])
  );
}

/**
 * Checks a chain; `undefined` if the records name it.
 *
 * @param chain The server's certificate and what it sent behind it, in DER
 */
export function tlsaFailure(
  chain: readonly Uint8Array[],
  { records, names, now }: TlsaCheck,
): TlsaFailure | undefined {
  const certificates: X509Certificate[] = [];
  try {
    for (const der of chain) certificates.push(new X509Certificate(der));
  } catch {
    if (certificates.length === 0) {
      const reason = "The certificate cannot be read";
      return { type: "validation-failure", reason };
    }
  }
  const [leaf] = certificates;
  if (leaf === undefined) {
    return { type: "validation-failure", reason: "There is no certificate" };
  }
  const usable = strongest(usableRecords(records));
  if (usable.some((one) => one.usage === 3 && fits(one, leaf))) {
    return undefined;
  }
  const anchors = usable.filter(({ usage }) => usage === 2);
  if (!leadsTo(anchors, certificates)) {
    const reason = "No TLSA record fits the certificate";
    return { type: "validation-failure", reason };
  }
  return nameFailure(leaf, names) ?? dateFailure(anchors, certificates, now);
}

/**
 * The records without the weaker digests: of two digests for one usage and
 * selector the stronger alone counts (RFC 7671 section 9). Whole values always do.
 */
function strongest(records: readonly TlsaRecord[]): readonly TlsaRecord[] {
  return records.filter((one) =>
    one.matching === 0 ||
    !records.some(({ usage, selector, matching }) =>
      usage === one.usage && selector === one.selector &&
      matching > one.matching
    )
  );
}

/** Whether a record names a certificate. */
function fits(
  { selector, matching, data }: TlsaRecord,
  certificate: X509Certificate,
): boolean {
  const bytes = selector === 0
    ? certificate.raw
    : publicKeyInfo(certificate.raw);
  if (bytes === undefined) return false;
  const digest = DIGESTS[matching];
  const found = digest === undefined
    ? Buffer.from(bytes).toString("hex")
    : createHash(digest).update(bytes).digest("hex");
  return found === data;
}

/**
 * Whether the server's certificate leads to one that an anchor names, or signs. Of
 * several ways up, as after a cross-signature, one is enough; each certificate is
 * looked at once, so that no chain takes long.
 *
 * @param at The time at which each certificate of the way must be valid; unset if dates do not count
 */
function leadsTo(
  anchors: readonly TlsaRecord[],
  certificates: readonly X509Certificate[],
  at?: number,
): boolean {
  const [leaf, ...issuers] = certificates;
  if (anchors.length === 0 || !isValid(leaf!, at)) return false;
  // An authority may serve with its own certificate.
  if (leaf!.ca && anchors.some((one) => fits(one, leaf!))) return true;
  const left = new Set(issuers.filter((one) => one.ca && isValid(one, at)));
  const reached = [leaf!];
  for (const last of reached) {
    if (anchors.some((one) => signedBy(one, last, at))) return true;
    for (const issuer of left) {
      if (!isIssued(last, issuer)) continue;
      if (anchors.some((one) => fits(one, issuer))) return true;
      left.delete(issuer);
      reached.push(issuer);
    }
  }
  return false;
}

/** Whether a certificate is valid at a time, if one is given. */
function isValid(
  { validFrom, validTo }: X509Certificate,
  at: number | undefined,
): boolean {
  return at === undefined ||
    Date.parse(validFrom) <= at && at <= Date.parse(validTo);
}

/** Whether a certificate was signed by another. */
function isIssued(
  certificate: X509Certificate,
  issuer: X509Certificate,
): boolean {
  try {
    return certificate.checkIssued(issuer) &&
      certificate.verify(issuer.publicKey);
  } catch {
    return false;
  }
}

/** Whether an anchor that stands whole in its record has signed a certificate that came without it. */
function signedBy(
  { selector, matching, data }: TlsaRecord,
  certificate: X509Certificate,
  at: number | undefined,
): boolean {
  if (matching !== 0) return false;
  const bytes = Buffer.from(data, "hex");
  try {
    if (selector === 0) {
      const anchor = new X509Certificate(bytes);
      return anchor.ca && isValid(anchor, at) && isIssued(certificate, anchor);
    }
    const key = createPublicKey({ key: bytes, format: "der", type: "spki" });
    return certificate.verify(key);
  } catch {
    return false;
  }
}

function nameFailure(
  leaf: X509Certificate,
  names: readonly string[],
): TlsaFailure | undefined {
  const own = subjectNames(leaf);
  const isNamed = own.some((one) =>
    names.some((name) => nameCovers(one, name))
  );
  if (isNamed) return undefined;
  return {
    type: "certificate-host-mismatch",
    reason: `The certificate is not for "${names.join('" or "')}"`,
  };
}

/** The DNS names of a certificate; its common name where it has none. */
function subjectNames(certificate: X509Certificate): readonly string[] {
  const listed = listedNames(certificate.raw);
  if (listed.length > 0) return listed;
  const common = readCommonName(certificate.raw);
  return common === undefined ? [] : [common];
}

/** The names in the extension itself: as text, another kind of name could pass for one. */
function listedNames(der: Uint8Array): readonly string[] {
  try {
    return readNames(der);
  } catch {
    return [];
  }
}

function dateFailure(
  anchors: readonly TlsaRecord[],
  certificates: readonly X509Certificate[],
  now: number,
): TlsaFailure | undefined {
  if (leadsTo(anchors, certificates, now)) return undefined;
  return {
    type: "certificate-expired",
    reason: "A certificate of the chain has expired or is not valid yet",
  };
}

// The public key as it stands in the certificate, not as the platform would write it.

const SEQUENCE = 0x30;
/** Tag of the version, which old certificates lack. */
const VERSION = 0xa0;
/** Members of a certificate's body before its public key: serial number, algorithm, issuer, dates, subject. */
const BEFORE_KEY = 5;

/** SubjectPublicKeyInfo of a certificate in DER. */
function publicKeyInfo(der: Uint8Array): Uint8Array | undefined {
  const certificate = element(der, 0);
  if (certificate?.tag !== SEQUENCE) return undefined;
  const body = element(der, certificate.start);
  if (body?.tag !== SEQUENCE) return undefined;
  let at = body.start;
  for (let left = BEFORE_KEY; left > 0; left--) {
    const member = element(der, at);
    if (member === undefined) return undefined;
    if (member.tag === VERSION) left++;
    at = member.end;
  }
  const key = element(der, at);
  return key?.tag === SEQUENCE ? der.subarray(at, key.end) : undefined;
}

/** One element of DER: its tag, and where its content begins and ends. */
function element(
  der: Uint8Array,
  at: number,
):
  | { readonly tag: number; readonly start: number; readonly end: number }
  | undefined {
  const tag = der[at];
  const first = der[at + 1];
  if (tag === undefined || first === undefined) return undefined;
  const more = first < 0x80 ? 0 : first & 0x7f;
  if (more > 4) return undefined;
  let length = more === 0 ? first : 0;
  for (let byte = 0; byte < more; byte++) {
    length = length * 256 + (der[at + 2 + byte] ?? 0);
  }
  const start = at + 2 + more;
  const end = start + length;
  return end <= der.length ? { tag, start, end } : undefined;
}
