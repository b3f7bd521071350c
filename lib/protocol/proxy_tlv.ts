/**
 * What a proxy says of a connection beside its addresses: the type-length-value
 * vectors of a PROXY header of version 2, and their checksum. It cuts them up
 * and names those that mail servers ask for; it believes nothing, and what is
 * not text where text is wanted is left out.
 *
 * {@link https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt | PROXY protocol, section 2.2}
 */

/** One type-length-value vector of a PROXY header. */
export interface ProxyTlv {
  /** What the value is, 0 to 255, as 2 for the name that the client asked for. */
  readonly type: number;
  /** The value, as it was sent. */
  readonly value: Uint8Array;
}

/** The TLS between a client and the proxy, as the proxy tells it. */
export interface ProxyTls {
  /** The protocol, as `"TLSv1.3"`. */
  readonly protocol?: string | undefined;
  /** The cipher suite in the proxy's words, as `"TLS_AES_256_GCM_SHA384"`. */
  readonly cipher?: string | undefined;
  /** The common name in the client's certificate, if it presented one. */
  readonly commonName?: string | undefined;
  /** Whether the client presented a certificate and the proxy verified it. */
  readonly verified: boolean;
}

const TYPE = { authority: 0x02, crc32c: 0x03, noop: 0x04, tls: 0x20 } as const;
const TLS_TYPE = { protocol: 0x21, commonName: 0x22, cipher: 0x23 } as const;
/** Bits of a TLS vector: the client speaks TLS, it presented a certificate now or before. */
const CLIENT = { tls: 0x01, certificate: 0x02 | 0x04 } as const;

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Cuts vectors apart, without those that only pad; `undefined` where one is cut off. */
export function parseTlvs(octets: Uint8Array): ProxyTlv[] | undefined {
  const tlvs: ProxyTlv[] = [];
  for (let at = 0; at < octets.length;) {
    const start = at + 3;
    if (start > octets.length) return undefined;
    const end = start + (octets[at + 1]! << 8 | octets[at + 2]!);
    if (end > octets.length) return undefined;
    const type = octets[at]!;
    if (type !== TYPE.noop) {
      tlvs.push({ type, value: octets.slice(start, end) });
    }
    at = end;
  }
  return tlvs;
}

/**
 * Whether the checksum among the vectors, if there is one, is that of the
 * header. The vectors must be well-formed.
 *
 * @param header The whole header
 * @param start Where its vectors begin
 */
export function isIntact(header: Uint8Array, start: number): boolean {
  for (let at = start; at < header.length;) {
    const length = header[at + 1]! << 8 | header[at + 2]!;
    if (header[at] === TYPE.crc32c) {
      if (length !== 4) return false;
      const copy = header.slice();
      // The sum was made with nothing in its own place.
      copy.fill(0, at + 3, at + 7);
      const sum = new DataView(header.buffer, header.byteOffset + at + 3, 4);
      return sum.getUint32(0) === crc32c(copy);
    }
    at += 3 + length;
  }
  return true;
}

/** What each octet makes of a sum; the polynomial 0x1edc6f41, bits in reverse. */
const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, octet) => {
  let crc = octet;
  for (let bit = 0; bit < 8; bit++) {
    crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return crc;
});

/** CRC-32C ({@link https://www.rfc-editor.org/rfc/rfc9260#appendix-A | RFC 9260 appendix A}). */
export function crc32c(octets: Uint8Array): number {
  let crc = ~0;
  for (const octet of octets) {
    crc = (crc >>> 8) ^ CRC_TABLE[(crc ^ octet) & 255]!;
  }
  return ~crc >>> 0;
}

/** The name that the client asked the proxy for, as SNI. */
export function authorityOf(tlvs: readonly ProxyTlv[]): string | undefined {
  return textOf(tlvs, TYPE.authority);
}

/** The TLS between client and proxy; `undefined` for a plain connection, and where the proxy does not tell. */
export function proxyTlsOf(tlvs: readonly ProxyTlv[]): ProxyTls | undefined {
  const value = tlvs.find(({ type }) => type === TYPE.tls)?.value;
  if (value === undefined || value.length < 5) return undefined;
  const client = value[0]!;
  if ((client & CLIENT.tls) === 0) return undefined;
  const inner = parseTlvs(value.subarray(5)) ?? [];
  return {
    protocol: textOf(inner, TLS_TYPE.protocol),
    cipher: textOf(inner, TLS_TYPE.cipher),
    commonName: textOf(inner, TLS_TYPE.commonName),
    // Zero stands for a good certificate, and also where there was none to look at.
    verified: (client & CLIENT.certificate) !== 0 &&
      value.subarray(1, 5).every((octet) => octet === 0),
  };
}

function textOf(tlvs: readonly ProxyTlv[], wanted: number): string | undefined {
  const value = tlvs.find(({ type }) => type === wanted)?.value;
  if (value === undefined) return undefined;
  try {
    return utf8.decode(value);
  } catch {
    return undefined;
  }
}
