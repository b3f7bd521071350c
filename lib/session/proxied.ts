/**
 * Clients that come through another program. A proxy puts a PROXY header in front
 * of the connection: this file reads it, and presents the connection as the
 * client's own. `server/admission.ts` decides which peers are proxies. A content
 * filter names its client by XCLIENT: this file decides which clients may use it,
 * and makes the session that of the named client. From then on the named client's
 * address decides on another XCLIENT: a filter usually loses the right with the
 * command, and its clients cannot use it.
 *
 * {@link https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt | PROXY protocol},
 * {@link https://www.postfix.org/XCLIENT_README.html | Postfix XCLIENT Howto}
 */

import type { SocketAddress, Transport } from "../net/transport.ts";
import {
  type ProxyHeader,
  ProxyHeaderReader,
  type SessionProxy,
} from "../protocol/proxy_header.ts";
import type { ServerProtocol } from "../protocol/server/protocol.ts";
import type { XclientAttributes } from "../protocol/xclient.ts";
import type { SessionContext } from "./context.ts";
import { logImpersonation } from "./log.ts";
import type { SessionInit, SmtpSession } from "./session.ts";

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

/** The parts that XCLIENT changes. */
export interface Impersonated {
  /** The session reads its client from here. */
  readonly init: SessionInit;
  readonly session: SmtpSession;
  readonly protocol: ServerProtocol;
}

/** Whether the session's client may use XCLIENT. */
export function mayImpersonate(
  context: SessionContext,
  session: SmtpSession,
): boolean {
  return context.xclients !== undefined &&
    context.xclients.some((network) => network.contains(session.remoteAddress));
}

/** Makes the session that of the client in the attributes. */
export function impersonate(
  attributes: XclientAttributes,
  { init, session, protocol }: Impersonated,
  context: SessionContext,
): void {
  const { addr, port, destaddr, destport, login } = attributes;
  const before = session.remoteAddress;
  // Attributes of the connection stay, those of the conversation do not.
  const forgotten = { proto: undefined, helo: undefined, login: undefined };
  init.xclient = { ...session.xclient, ...forgotten, ...attributes };
  init.remote = changed(init.remote, { address: addr, port });
  init.local = changed(init.local, { address: destaddr, port: destport });
  session.username = login === "[UNAVAILABLE]" ? undefined : login;
  protocol.impersonationAllowed(mayImpersonate(context, session));
  logImpersonation(context, session, before);
}

/** The client's host name, if XCLIENT gave it. */
export function clientName({ xclient }: SmtpSession): string | undefined {
  // `[UNAVAILABLE]` and `[TEMPUNAVAIL]` stand for a missing name.
  return xclient?.name?.startsWith("[") ? undefined : xclient?.name;
}

/** The address after a command: the parts that the command does not name stay. */
function changed(
  known: SocketAddress,
  named: {
    readonly address: string | undefined;
    readonly port: number | "[UNAVAILABLE]" | undefined;
  },
): SocketAddress {
  const { address = known.address, port = known.port } = named;
  return {
    address: address === "[UNAVAILABLE]" ? "unknown" : address,
    port: port === "[UNAVAILABLE]" ? 0 : port,
  };
}
