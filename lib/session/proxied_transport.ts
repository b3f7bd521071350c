/**
 * A connection through a proxy: reads the PROXY header and then presents the
 * connection as the client's own. It does not decide which peers are proxies.
 *
 * {@link https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt | PROXY protocol}
 */

import type { SocketAddress, Transport } from "../net/transport.ts";
import {
  type ProxyHeader,
  ProxyHeaderReader,
  type SessionProxy,
} from "../protocol/proxy_header.ts";

/** Size of one read in bytes: enough for a header of version 1 and most of version 2. */
const READ_SIZE = 1024;

/** The client's connection, through a proxy. */
export class ProxiedTransport implements Transport {
  /** The client, if the header names it; else the proxy. */
  readonly remote: SocketAddress;
  /** The address to which the client connected, if the header names it; else this end's. */
  readonly local: SocketAddress;
  /** Always `undefined`: TLS between client and proxy ends at the proxy. */
  readonly tls: undefined = undefined;
  /** The proxy and its header. */
  readonly proxy: SessionProxy;
  readonly #inner: Transport;
  /** Bytes of the client that came with the header. */
  #rest: Uint8Array;

  /**
   * @param inner The connection from the proxy, its header read
   * @param found The header, and the bytes that were read after it
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
 * Reads the header of a proxy. Resolves with the client's connection, or with a
 * fault; then the caller must close `inner`.
 */
export async function readProxyHeader(
  inner: Transport,
): Promise<ProxiedTransport | "malformed" | "incomplete" | "silent"> {
  const reader = new ProxyHeaderReader();
  const buffer = new Uint8Array(READ_SIZE);
  for (;;) {
    const count = await inner.read(buffer);
    if (count === null) return reader.hasBegun ? "incomplete" : "silent";
    const received = buffer.subarray(0, count);
    const status = reader.read(received);
    if (status === "malformed") return status;
    if (reader.header === undefined) continue;
    const rest = received.subarray(reader.position);
    return new ProxiedTransport(inner, { header: reader.header, rest });
  }
}
