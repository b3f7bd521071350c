/** Headers of the PROXY protocol, as a proxy would write them. */

import { crc32c } from "../../lib/protocol/proxy_header.ts";
import { bytesOf, concat } from "./bytes.ts";

/** What a header of version 2 says; what is not given is a TCP connection over IPv4. */
export interface BlockInit {
  /** Version and command, as one byte. */
  readonly command?: number;
  /** Address family and transport, as one byte. */
  readonly protocol?: number;
  /** Addresses and vectors. */
  readonly bytes?: Uint8Array;
}

/** A header of version 2. */
export function proxyBlock(init: BlockInit): Uint8Array<ArrayBuffer> {
  const { command = 0x21, protocol = 0x11, bytes: rest = bytesOf("") } = init;
  return concat([
    bytesOf("\r\n\r\n\0\r\nQUIT\n"),
    Uint8Array.of(command, protocol, rest.length >> 8, rest.length & 255),
    rest,
  ]);
}

/** A type-length-value vector. */
export function tlv(
  type: number,
  value: string | Uint8Array,
): Uint8Array<ArrayBuffer> {
  const bytes = typeof value === "string" ? bytesOf(value) : value;
  return concat([
    Uint8Array.of(type, bytes.length >> 8, bytes.length & 255),
    bytes,
  ]);
}

/** The header with its checksum in its last four bytes, which are zero before. */
export function withChecksum(
  header: Uint8Array<ArrayBuffer>,
): Uint8Array<ArrayBuffer> {
  const whole = header.slice();
  new DataView(whole.buffer).setUint32(whole.length - 4, crc32c(header));
  return whole;
}
