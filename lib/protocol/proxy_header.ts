/**
 * The PROXY protocol header, with which a proxy names the client of a
 * connection: the text of version 1, and the block of version 2 with its
 * type-length-value vectors (TLVs). Finds the exact end of the header: the
 * bytes after it belong to the client.
 *
 * Never searches for a header and never does without one: its caller has
 * decided beforehand that one must come. Reports any other input at the first
 * byte that does not fit, so a peer that is not a proxy causes no wait. Verifies
 * the checksum, but no other content of TLVs: a name that should be text and is
 * not is left out, and stays in `tlvs` only.
 *
 * {@link https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt | PROXY protocol, sections 2.1 and 2.2}
 */

import { formatIp, type IpBytes, parseUnmapped } from "./ip.ts";

/**
 * The proxy in front of a session, and what its header says of the connection.
 *
 * @example The client in the words of a proxy or of a filter
 * ```ts
 * import type {
 *   SessionProxy,
 *   SmtpHandlers,
 *   XclientAttributes,
 * } from "@smtp/server";
 *
 * const byProxy = ({ authority, source }: SessionProxy) =>
 *   `${source?.address} for ${authority}`;
 * const byFilter = ({ name, addr }: XclientAttributes) => `${name} at ${addr}`;
 * const handlers: SmtpHandlers = {
 *   onConnect({ proxy, xclient }) {
 *     if (proxy !== undefined) console.log(byProxy(proxy));
 *     if (xclient !== undefined) console.log(byFilter(xclient));
 *   },
 * };
 * console.assert(handlers.onConnect !== undefined);
 * ```
 */
export interface SessionProxy {
  /** The proxy's own IP address. */
  readonly address: string;
  /** The proxy's own port. */
  readonly port: number;
  /** The version of the PROXY protocol. */
  readonly version: 1 | 2;
  /**
   * `"PROXY"` for the connection of a client, `"LOCAL"` for one of the proxy's
   * own, such as a health check.
   */
  readonly command: "PROXY" | "LOCAL";
  /** The kind of the addresses; `"unspec"` where the proxy does not give them. */
  readonly family: "inet" | "inet6" | "unix" | "unspec";
  /** The client; `undefined` where the proxy does not say. */
  readonly source?: {
    /** IP address, or the path of a Unix socket. */
    readonly address: string;
    /** Port; 0 for a Unix socket. */
    readonly port: number;
  } | undefined;
  /** Where the client connected to, at the proxy; `undefined` where the proxy does not say. */
  readonly destination?: {
    /** IP address, or the path of a Unix socket. */
    readonly address: string;
    /** Port; 0 for a Unix socket. */
    readonly port: number;
  } | undefined;
  /** The server name that the client asked the proxy for (SNI), if the proxy says it. */
  readonly authority?: string | undefined;
  /** The TLS between client and proxy, if the proxy describes it. */
  readonly tls?: {
    /** The protocol, as `"TLSv1.3"`. */
    readonly protocol?: string | undefined;
    /** The cipher suite in the proxy's words, as `"TLS_AES_256_GCM_SHA384"`. */
    readonly cipher?: string | undefined;
    /** The common name in the client's certificate, if it presented one. */
    readonly commonName?: string | undefined;
    /** Whether the client presented a certificate and the proxy verified it. */
    readonly verified: boolean;
  } | undefined;
  /** All vectors of version 2, in order, without padding. */
  readonly tlvs: readonly {
    /** What the value is, 0 to 255, as 2 for the server name. */
    readonly type: number;
    /** The value, as it was sent. */
    readonly value: Uint8Array;
  }[];
}

/** What a header says. */
export type ProxyHeader = Omit<SessionProxy, "address" | "port">;
/** One end of a connection. */
export type ProxyEndpoint = NonNullable<ProxyHeader["source"]>;
/** The TLS between a client and the proxy. */
type ProxyTls = NonNullable<ProxyHeader["tls"]>;
/** One type-length-value vector. */
type ProxyTlv = ProxyHeader["tlvs"][number];

/** Result of {@linkcode ProxyHeaderReader.read}. */
export type ProxyHeaderStatus = "more" | "header" | "malformed";

const LF = 10;
const encoder = new TextEncoder();
/** The beginning of a header of version 1. */
const PREFIX = encoder.encode("PROXY ");
/** The beginning of a header of version 2. */
const SIGNATURE = encoder.encode("\r\n\r\n\0\r\nQUIT\n");
/** Bytes of version 2 before the addresses: signature, command, family, length. */
const FIXED = 16;
/** Longest header of version 1, in bytes with its CRLF. */
const MAX_LINE = 107;

const PORT = "(0|[1-9]\\d{0,4})";
const LINE = new RegExp(
  `^PROXY (TCP4|TCP6) ([\\dA-Fa-f.:]+) ([\\dA-Fa-f.:]+) ${PORT} ${PORT}\r\n$`,
);
/** The text after UNKNOWN is ignored. */
const UNKNOWN_LINE = /^PROXY UNKNOWN(?: [^\r\n]*)?\r\n$/;

const COMMANDS = ["LOCAL", "PROXY"] as const;
const FAMILIES = ["unspec", "inet", "inet6", "unix"] as const;
/** Bytes of both addresses and ports, by family. */
const ADDRESS_SIZE = { unspec: 0, inet: 12, inet6: 36, unix: 216 } as const;
/** Transport protocols: unspecified, stream, datagram. */
const STREAM = 1;
const LAST_TRANSPORT = 2;

/** Reads one PROXY header. */
export class ProxyHeaderReader {
  /** The header, after the status `"header"`. */
  header: ProxyHeader | undefined;
  /** Bytes of the last input that belong to the header. */
  position = 0;
  #held: Uint8Array<ArrayBuffer> = new Uint8Array(MAX_LINE);
  #used = 0;
  /** Number of bytes at which the next check is possible. */
  #wanted = 1;

  /** Whether any byte has arrived. */
  get hasBegun(): boolean {
    return this.#used > 0;
  }

  /** Continues in `input`, up to the end of the header. Must not be called after that. */
  read(input: Uint8Array): ProxyHeaderStatus {
    this.position = 0;
    while (this.position < input.length) {
      const missing = this.#wanted - this.#used;
      const part = input.subarray(this.position, this.position + missing);
      this.#held.set(part, this.#used);
      this.#used += part.length;
      this.position += part.length;
      if (this.#used < this.#wanted) break;
      const held = this.#held.subarray(0, this.#used);
      const status = held[0] === PREFIX[0]
        ? this.#readLine(held)
        : this.#readBlock(held);
      if (status !== "more") return status;
    }
    return "more";
  }

  /** Checks the bytes of version 1 so far, one more than the last time. */
  #readLine(held: Uint8Array): ProxyHeaderStatus {
    const last = held.length - 1;
    if (last < PREFIX.length && held[last] !== PREFIX[last]) return "malformed";
    if (held[last] === LF) return this.#end(parseLine(held));
    if (held.length === MAX_LINE) return "malformed";
    this.#wanted++;
    return "more";
  }

  /** Checks the bytes of version 2 so far, or parses the complete block. */
  #readBlock(held: Uint8Array): ProxyHeaderStatus {
    const { length } = held;
    if (length <= SIGNATURE.length) {
      if (held[length - 1] !== SIGNATURE[length - 1]) return "malformed";
      this.#wanted = length < SIGNATURE.length ? length + 1 : FIXED;
      return "more";
    }
    const whole = FIXED + (held[14]! << 8 | held[15]!);
    if (length === whole) return this.#end(parseBlock(held));
    if (!isKnown(held)) return "malformed";
    this.#wanted = whole;
    const grown = new Uint8Array(whole);
    grown.set(held);
    this.#held = grown;
    return "more";
  }

  #end(header: ProxyHeader | undefined): ProxyHeaderStatus {
    this.header = header;
    return header === undefined ? "malformed" : "header";
  }
}

function parseLine(bytes: Uint8Array): ProxyHeader | undefined {
  const text = String.fromCharCode(...bytes);
  if (UNKNOWN_LINE.test(text)) {
    return { version: 1, command: "PROXY", family: "unspec", tlvs: [] };
  }
  const match = LINE.exec(text);
  if (match === null) return undefined;
  const [, protocol, from = "", to = "", fromPort, toPort] = match;
  const family = protocol === "TCP4" ? "inet" : "inet6";
  const source = endpointOf({ address: from, port: Number(fromPort) }, family);
  const destination = endpointOf({ address: to, port: Number(toPort) }, family);
  if (source === undefined || destination === undefined) return undefined;
  return {
    version: 1,
    command: "PROXY",
    family,
    source,
    destination,
    tlvs: [],
  };
}

/** An end of the connection, from its text. IPv4-mapped IPv6 becomes IPv4. */
function endpointOf(
  { address, port }: ProxyEndpoint,
  family: "inet" | "inet6",
): ProxyEndpoint | undefined {
  const bytes = parseUnmapped(address);
  const isFamily = address.includes(":") === (family === "inet6");
  if (bytes === undefined || !isFamily || port > 65535) return undefined;
  return { address: formatIp(bytes), port };
}

/** Whether version, command, family and transport have defined values. */
function isKnown(block: Uint8Array): boolean {
  const version = block[12]! >> 4;
  const command = block[12]! & 15;
  return version === 2 && command < COMMANDS.length &&
    block[13]! >> 4 < FAMILIES.length && (block[13]! & 15) <= LAST_TRANSPORT;
}

function parseBlock(block: Uint8Array): ProxyHeader | undefined {
  if (!isKnown(block)) return undefined;
  const command = COMMANDS[block[12]! & 15]!;
  if (command === "LOCAL") {
    // The other content of a LOCAL header must be ignored.
    return { version: 2, command, family: "unspec", tlvs: [] };
  }
  const family = FAMILIES[block[13]! >> 4]!;
  const start = FIXED + ADDRESS_SIZE[family];
  if (block.length < start) return undefined;
  let tlvs = parseTlvs(block.subarray(start));
  // The addresses may be of an unknown kind, and of unknown length.
  if (tlvs === undefined && family === "unspec") tlvs = [];
  else if (tlvs === undefined || !isIntact(block, start)) return undefined;
  return {
    version: 2,
    command,
    family,
    // SMTP does not run over datagrams: such a header does not name the client.
    ...((block[13]! & 15) === STREAM && endsOf(block.subarray(FIXED), family)),
    authority: authorityOf(tlvs),
    tls: proxyTlsOf(tlvs),
    tlvs,
  };
}

function endsOf(
  bytes: Uint8Array,
  family: ProxyHeader["family"],
): Pick<ProxyHeader, "source" | "destination"> {
  if (family === "unspec") return {};
  if (family === "unix") {
    return {
      source: { address: pathOf(bytes.subarray(0, 108)), port: 0 },
      destination: { address: pathOf(bytes.subarray(108, 216)), port: 0 },
    };
  }
  const size = family === "inet" ? 4 : 16;
  const port = (at: number) => bytes[at]! << 8 | bytes[at + 1]!;
  return {
    source: {
      address: addressOf([...bytes.subarray(0, size)]),
      port: port(2 * size),
    },
    destination: {
      address: addressOf([...bytes.subarray(size, 2 * size)]),
      port: port(2 * size + 2),
    },
  };
}

function addressOf(bytes: IpBytes): string {
  const text = formatIp(bytes);
  return formatIp(parseUnmapped(text) ?? bytes);
}

/** A path up to its NUL, one character a byte; an abstract path begins with `@`. */
function pathOf(bytes: Uint8Array): string {
  const isAbstract = bytes[0] === 0 && bytes[1] !== 0;
  const named = isAbstract ? bytes.subarray(1) : bytes;
  const end = named.indexOf(0);
  const path = String.fromCharCode(
    ...named.subarray(0, end < 0 ? undefined : end),
  );
  return isAbstract ? `@${path}` : path;
}

const TYPE = { authority: 0x02, crc32c: 0x03, noop: 0x04, tls: 0x20 } as const;
const TLS_TYPE = { protocol: 0x21, commonName: 0x22, cipher: 0x23 } as const;
/**
 * Bits of a TLS vector: the client uses TLS, it presented a certificate on this
 * or an earlier connection.
 */
const CLIENT = { tls: 0x01, certificate: 0x02 | 0x04 } as const;

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Splits the vectors, without padding; `undefined` if one is cut off. */
function parseTlvs(bytes: Uint8Array): ProxyTlv[] | undefined {
  const tlvs: ProxyTlv[] = [];
  for (let at = 0; at < bytes.length;) {
    const start = at + 3;
    if (start > bytes.length) return undefined;
    const end = start + (bytes[at + 1]! << 8 | bytes[at + 2]!);
    if (end > bytes.length) return undefined;
    const type = bytes[at]!;
    if (type !== TYPE.noop) {
      tlvs.push({ type, value: bytes.slice(start, end) });
    }
    at = end;
  }
  return tlvs;
}

/**
 * Whether the checksum among the vectors, if there is one, matches the header.
 * The vectors must be well-formed.
 *
 * @param header The whole header
 * @param start Index at which its vectors begin
 */
function isIntact(header: Uint8Array, start: number): boolean {
  for (let at = start; at < header.length;) {
    const length = header[at + 1]! << 8 | header[at + 2]!;
    if (header[at] === TYPE.crc32c) {
      if (length !== 4) return false;
      const copy = header.slice();
      // The checksum is computed with zeros in its own place.
      copy.fill(0, at + 3, at + 7);
      const sum = new DataView(header.buffer, header.byteOffset + at + 3, 4);
      return sum.getUint32(0) === crc32c(copy);
    }
    at += 3 + length;
  }
  return true;
}

/** The table of the polynomial 0x1edc6f41, bits in reverse. */
const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) {
    crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return crc;
});

/** CRC-32C ({@link https://www.rfc-editor.org/rfc/rfc9260#appendix-A | RFC 9260 appendix A}). */
export function crc32c(bytes: Uint8Array): number {
  let crc = ~0;
  for (const byte of bytes) {
    crc = (crc >>> 8) ^ CRC_TABLE[(crc ^ byte) & 255]!;
  }
  return ~crc >>> 0;
}

/** The name that the client requested from the proxy (SNI). */
function authorityOf(tlvs: readonly ProxyTlv[]): string | undefined {
  return textOf(tlvs, TYPE.authority);
}

/**
 * The TLS between client and proxy; `undefined` for a plain connection, or if
 * the proxy does not report it.
 */
function proxyTlsOf(tlvs: readonly ProxyTlv[]): ProxyTls | undefined {
  const value = tlvs.find(({ type }) => type === TYPE.tls)?.value;
  if (value === undefined || value.length < 5) return undefined;
  const client = value[0]!;
  if ((client & CLIENT.tls) === 0) return undefined;
  const inner = parseTlvs(value.subarray(5)) ?? [];
  return {
    protocol: textOf(inner, TLS_TYPE.protocol),
    cipher: textOf(inner, TLS_TYPE.cipher),
    commonName: textOf(inner, TLS_TYPE.commonName),
    // Zero means a valid certificate, and also that there was no certificate to
    // verify.
    verified: (client & CLIENT.certificate) !== 0 &&
      value.subarray(1, 5).every((byte) => byte === 0),
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
