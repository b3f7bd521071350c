/**
 * Writes X.509 certificates and PKCS#10 requests in DER, and reads the fields
 * of a certificate that the platform does not expose reliably: subject, issuer,
 * common name and alternative names. Makes no keys and no serial numbers, and asks no clock.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5280 | RFC 5280},
 * {@link https://www.rfc-editor.org/rfc/rfc2986 | RFC 2986}
 */

import { createHash } from "node:crypto";
import {
  bitString,
  booleanTrue,
  type Der,
  integer,
  namedBits,
  oid,
  oidText,
  readValues,
  sequence,
  TAG,
  time,
  utf8String,
  value,
} from "./der.ts";
import {
  addressBytes,
  addressText,
  canonicalHost,
  isAddress,
} from "./host_name.ts";
import type { CertificateSigner } from "./private_key.ts";

/**
 * The permitted use of a key
 * ({@link https://www.rfc-editor.org/rfc/rfc5280#section-4.2.1.3 | RFC 5280 section 4.2.1.3}).
 */
export type KeyUsage =
  | "digitalSignature"
  | "nonRepudiation"
  | "keyEncipherment"
  | "dataEncipherment"
  | "keyAgreement"
  | "keyCertSign"
  | "cRLSign";

/** The bit of each key usage. */
const USAGE_BITS: Readonly<Record<KeyUsage, number>> = {
  digitalSignature: 0,
  nonRepudiation: 1,
  keyEncipherment: 2,
  dataEncipherment: 3,
  keyAgreement: 4,
  keyCertSign: 5,
  cRLSign: 6,
};

/** All key usages. */
export const KEY_USAGES: readonly KeyUsage[] = Object.keys(
  USAGE_BITS,
) as KeyUsage[];

const SUBJECT_ALT_NAME = "2.5.29.17";
const COMMON_NAME = "2.5.4.3";
/** GeneralName [2] and [7], implicitly tagged. */
const DNS_NAME = 0x82;
const IP_ADDRESS = 0x87;
/** [0] and [3] of TBSCertificate. */
const VERSION = 0xa0;
const EXTENSIONS = 0xa3;
/** [0] of a request. */
const ATTRIBUTES = 0xa0;
const encoder = new TextEncoder();
const decoder = new TextDecoder("latin1");

/** The fields that certificate and request share. */
export interface SubjectParts {
  /** The common name; empty for a subject without one. */
  readonly commonName: string;
  /** Host names and IP addresses in canonical form. */
  readonly names: readonly string[];
  /** The SubjectPublicKeyInfo, in DER. */
  readonly publicKey: Uint8Array;
  /** The permitted uses of the key. */
  readonly keyUsage: readonly KeyUsage[];
}

/** The fields of a self-signed certificate. */
export interface CertificateParts extends SubjectParts {
  /** The serial number, at most 20 bytes, the first one below 0x80. */
  readonly serial: Uint8Array;
  /** Start of validity. */
  readonly notBefore: Date;
  /** End of validity. */
  readonly notAfter: Date;
}

/** Writes a self-signed certificate for servers and clients, not for an authority. */
export function writeCertificate(
  parts: CertificateParts,
  signer: CertificateSigner,
): Der {
  const name = distinguishedName(parts.commonName);
  const keyId = keyIdentifier(parts.publicKey);
  return signed(
    sequence(
      value(VERSION, integer(Uint8Array.of(2))),
      integer(parts.serial),
      signer.identifier,
      name,
      sequence(time(parts.notBefore), time(parts.notAfter)),
      name,
      parts.publicKey,
      value(
        EXTENSIONS,
        sequence(
          ...commonExtensions(parts),
          extension("2.5.29.14", value(TAG.octetString, keyId)),
          extension("2.5.29.35", sequence(value(0x80, keyId))),
        ),
      ),
    ),
    signer,
  );
}

/** Writes a request for a certificate. */
export function writeRequest(
  parts: SubjectParts,
  signer: CertificateSigner,
): Der {
  const extensionRequest = sequence(
    oid("1.2.840.113549.1.9.14"),
    value(TAG.set, sequence(...commonExtensions(parts))),
  );
  return signed(
    sequence(
      integer(Uint8Array.of(0)),
      distinguishedName(parts.commonName),
      parts.publicKey,
      value(ATTRIBUTES, extensionRequest),
    ),
    signer,
  );
}

/**
 * The DNS names and IP addresses in a certificate's subjectAltName, in order.
 * Skips entries that are neither a host name nor an address. Reads the DER,
 * because the platform's text of a list is ambiguous if a name contains a comma.
 *
 * @throws {SyntaxError} If the certificate is not DER
 */
export function readNames(certificate: Uint8Array): string[] {
  const names: string[] = [];
  for (const extensionValue of readExtensions(certificate)) {
    const [id, ...rest] = readValues(extensionValue);
    const content = rest.at(-1)?.content;
    if (!id || !content || oidText(id.content) !== SUBJECT_ALT_NAME) continue;
    for (const name of readValues(readValues(content)[0]?.content ?? content)) {
      const text = name.tag === DNS_NAME
        ? canonicalHost(decoder.decode(name.content))
        : name.tag === IP_ADDRESS
        ? addressText(name.content)
        : undefined;
      if (text !== undefined) names.push(text);
    }
  }
  return names;
}

/** Short names of the parts of a distinguished name (RFC 4514 section 3, RFC 4519). */
const PART_NAMES: Readonly<Record<string, string>> = {
  [COMMON_NAME]: "CN",
  "2.5.4.4": "SN",
  "2.5.4.5": "serialNumber",
  "2.5.4.6": "C",
  "2.5.4.7": "L",
  "2.5.4.8": "ST",
  "2.5.4.9": "street",
  "2.5.4.10": "O",
  "2.5.4.11": "OU",
  "2.5.4.12": "title",
  "2.5.4.42": "GN",
  "0.9.2342.19200300.100.1.1": "UID",
  "0.9.2342.19200300.100.1.25": "DC",
  "1.2.840.113549.1.9.1": "emailAddress",
};

/** Encodings of the string types in a distinguished name. */
const STRINGS: ReadonlyMap<number, string> = new Map([
  [TAG.utf8String, "utf-8"],
  [0x12, "utf-8"], // NumericString
  [0x13, "utf-8"], // PrintableString
  [0x14, "iso-8859-1"], // TeletexString
  [0x16, "utf-8"], // IA5String
  [0x1a, "utf-8"], // VisibleString
  [0x1e, "utf-16be"], // BMPString
]);

/** Parts of a name that are shown, at most. */
const MAX_PARTS = 50;
/** Bytes of a part that are shown, at most. */
const MAX_PART = 1000;

/** Subject and issuer of a certificate. */
export interface Parties {
  /** The subject, `""` for none. */
  readonly subject: string;
  /** The issuer, `""` for none. */
  readonly issuer: string;
}

/**
 * Subject and issuer of a certificate, each in one line. Never throws: a peer
 * wrote the names, so malformed ones are shown as far as possible. Does not use
 * the platform's text: that is missing for malformed characters, and a line
 * end in a name starts a new part there.
 */
export function readParties(certificate: Uint8Array): Parties {
  try {
    const { issuer, subject } = readNameFields(certificate);
    return { issuer: nameText(issuer), subject: nameText(subject) };
  } catch {
    return { subject: "?", issuer: "?" };
  }
}

/**
 * The common name of a certificate's subject; of several the last one, which is
 * the most specific. Nothing in another part of the subject can pass for it, as it
 * can in the platform's text.
 *
 * @returns The name; `undefined` without one, or if it cannot be read
 */
export function readCommonName(certificate: Uint8Array): string | undefined {
  let found: string | undefined;
  try {
    for (const set of readValues(readNameFields(certificate).subject)) {
      for (const part of readValues(set.content)) {
        const [id, text] = readValues(part.content);
        if (oidText(id!.content) !== COMMON_NAME) continue;
        const coding = STRINGS.get(text!.tag);
        const isReadable = coding !== undefined &&
          text!.content.length <= MAX_PART;
        found = isReadable
          ? new TextDecoder(coding).decode(text!.content)
          : undefined;
      }
    }
  } catch {
    return undefined;
  }
  return found;
}

/**
 * The contents of issuer and subject.
 *
 * @throws If the certificate is not DER
 */
function readNameFields(
  certificate: Uint8Array,
): { readonly issuer: Uint8Array; readonly subject: Uint8Array } {
  const [body] = readValues(readValues(certificate)[0]!.content);
  const fields = readValues(body!.content);
  // The version, in a tag of its own, may be left out.
  const at = fields[0]?.tag === VERSION ? 1 : 0;
  return {
    issuer: fields[at + 2]!.content,
    subject: fields[at + 4]!.content,
  };
}

/** A distinguished name as text; no part can imitate another part. */
function nameText(content: Uint8Array): string {
  const parts = readValues(content);
  const shown = parts.slice(0, MAX_PARTS).map((set) =>
    readValues(set.content).map(partText).join(" + ")
  );
  return shown.concat(parts.length > MAX_PARTS ? ["..."] : []).join(", ");
}

function partText(part: { readonly content: Uint8Array }): string {
  const [id, text] = readValues(part.content);
  const type = oidText(id!.content);
  const coding = STRINGS.get(text!.tag);
  const bytes = text!.content.subarray(0, MAX_PART);
  const plain = coding === undefined
    ? `#${bytes.toHex()}`
    : new TextDecoder(coding).decode(bytes).replace(/[,+"\\<>;]/g, "\\$&");
  const end = bytes.length < text!.content.length ? "..." : "";
  return `${PART_NAMES[type] ?? type}=${
    plain.replace(/[\p{Cc}\p{Bidi_Control}\u2028\u2029]/gu, "?")
  }${end}`;
}

/** The contents of the Extension values in a certificate. */
function readExtensions(certificate: Uint8Array): Uint8Array[] {
  const [tbs] = readValues(readValues(certificate)[0]?.content ?? certificate);
  const fields = readValues(tbs?.content ?? new Uint8Array());
  const list = fields.find((field) => field.tag === EXTENSIONS);
  if (list === undefined) return [];
  const [extensions] = readValues(list.content);
  return readValues(extensions?.content ?? new Uint8Array())
    .map((entry) => entry.content);
}

function commonExtensions(parts: SubjectParts): Der[] {
  const names = parts.names.map((name) =>
    isAddress(name)
      ? value(IP_ADDRESS, addressBytes(name))
      : value(DNS_NAME, encoder.encode(name))
  );
  const bits = parts.keyUsage.map((usage) => USAGE_BITS[usage]);
  return [
    extension("2.5.29.19", sequence(), { critical: true }),
    extension("2.5.29.15", namedBits(bits), { critical: true }),
    extension(
      "2.5.29.37",
      sequence(oid("1.3.6.1.5.5.7.3.1"), oid("1.3.6.1.5.5.7.3.2")),
    ),
    // An empty subject makes the alternative names critical (RFC 5280 4.2.1.6).
    extension(SUBJECT_ALT_NAME, sequence(...names), {
      critical: parts.commonName === "",
    }),
  ];
}

function extension(
  id: string,
  content: Uint8Array,
  options: { readonly critical?: boolean } = {},
): Der {
  const critical = options.critical ? [booleanTrue()] : [];
  return sequence(oid(id), ...critical, value(TAG.octetString, content));
}

function distinguishedName(commonName: string): Der {
  if (commonName === "") return sequence();
  const attribute = sequence(oid(COMMON_NAME), utf8String(commonName));
  return sequence(value(TAG.set, attribute));
}

/** The leftmost 160 bits of the SHA-256 of the key's bits (RFC 7093 section 2, method 1). */
function keyIdentifier(publicKey: Uint8Array): Uint8Array {
  const [info] = readValues(publicKey);
  const bits = readValues(info!.content)[1]!.content.subarray(1);
  return createHash("sha256").update(bits).digest().subarray(0, 20);
}

function signed(body: Uint8Array, signer: CertificateSigner): Der {
  return sequence(body, signer.identifier, bitString(signer.sign(body)));
}
