/**
 * A connection that came by a proxy: the header in front of it is read here,
 * and from then on it looks like the client's own. Decides nothing: who is a
 * proxy is known before.
 *
 * {@link https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt | PROXY protocol}
 */

import type { SocketAddress, Transport } from "../net/transport.ts";
import {
  type ProxyHeader,
  ProxyHeaderReader,
  type SessionProxy,
} from "../protocol/proxy_header.ts";

/** Bytes read at once: a header of version 1, and most of version 2. */
const READ_SIZE = 1024;

/** The client's connection, by way of a proxy. */
export class ProxiedTransport implements Transport {
  /** The client, as far as the proxy tells; else the proxy. */
  readonly remote: SocketAddress;
  /** Where the client connected to, as far as the proxy tells; else this end. */
  readonly local: SocketAddress;
  /** Nothing: the proxy's own TLS with the client ends at the proxy. */
  readonly tls: undefined = undefined;
  /** What the proxy told. */
  readonly proxy: SessionProxy;
  readonly #inner: Transport;
  /** What came with the header and is the client's. */
  #rest: Uint8Array;

  /**
   * Takes `inner` over.
   *
   * @param inner The connection of the proxy, its header read
   * @param found The header, and the bytes that were read behind it
   */
  constructor(
    inner: Transport,
    found: { readonly header: ProxyHeader; readonly rest: Uint8Array },
  ) {
    const { header, rest } = found;
    const isIp = header.family === "inet" || header.family === "inet6";
    this.#inner = inner;
    this.#rest = rest;
    this.proxy = { ...header, ...inner.remote };
    this.remote = isIp && header.source || inner.remote;
    this.local = isIp && header.destination || inner.local;
  }

  /** See {@linkcode Transport.read}. */
  read(buffer: Uint8Array): Promise<number | null> {
    const count = Math.min(this.#rest.length, buffer.length);
    if (count === 0) return this.#inner.read(buffer);
    buffer.set(this.#rest.subarray(0, count));
    this.#rest = this.#rest.subarray(count);
    return Promise.resolve(count);
  }

  /** See {@linkcode Transport.write}. */
  write(bytes: Uint8Array): Promise<void> {
    return this.#inner.write(bytes);
  }

  /** See {@linkcode Transport.hurry}. */
  hurry(): void {
    this.#inner.hurry?.();
  }

  /** See {@linkcode Transport.close}. */
  close(): void {
    this.#inner.close();
  }
}

/**
 * Reads the header of a proxy. Resolves with the client's connection, or with
 * why there is none; then `inner` is for the caller to close.
 */
export async function readProxyHeader(
  inner: Transport,
): Promise<ProxiedTransport | "malformed" | "incomplete" | "silent"> {
  const reader = new ProxyHeaderReader();
  const buffer = new Uint8Array(READ_SIZE);
  for (;;) {
    const count = await inner.read(buffer);
    if (count === null) return reader.hasBegun ? "incomplete" : "silent";
    const octets = buffer.subarray(0, count);
    const status = reader.read(octets);
    if (status === "malformed") return status;
    if (reader.header === undefined) continue;
    const rest = octets.subarray(reader.position);
    return new ProxiedTransport(inner, { header: reader.header, rest });
  }
}
