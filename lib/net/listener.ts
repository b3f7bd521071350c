/**
 * One listening socket: binds, accepts, and goes on accepting whatever happens
 * to single connections; and whether several threads can listen on one port,
 * each for itself. Knows nothing of SMTP.
 *
 * It is a listener of `Deno` and not of `node:net`: the latter would share a
 * port without a flag, but accepts nothing more once descriptors ran out.
 */

import {
  DenoTlsTransport,
  DenoTransport,
  type HandshakeWatch,
  socketAddress,
} from "./deno_transport.ts";
import { formatHostPort } from "./listen_options.ts";
import type { SocketAddress, Transport } from "./transport.ts";

/** How long accepting rests after it failed, in ms: no descriptors are free, most likely. */
const REST_MS = 100;

/** TLS by the platform: one certificate, no choice by server name. */
export interface NativeTls {
  /** The certificate chain in PEM. */
  readonly certificate: string;
  /** Its key in PEM. */
  readonly key: string;
  /** The certificate itself in DER, for channel bindings. */
  readonly der: Uint8Array;
  /** How long a handshake may take, in ms. */
  readonly handshakeTimeoutMs: number;
  /** Told of each handshake. */
  readonly watch: HandshakeWatch;
}

/** A listening TCP socket. */
export class Listener {
  /** The address and port that it listens on. */
  readonly address: SocketAddress;
  /** Whether connections are encrypted when they are accepted. */
  readonly isTls: boolean;
  readonly #socket: PlatformSocket;
  #closed = false;
  #rest: (() => void) | undefined;

  /** Made by {@linkcode Listener.open}. */
  constructor(socket: PlatformSocket, options: { readonly isTls: boolean }) {
    this.#socket = socket;
    this.address = socket.address;
    this.isTls = options.isTls;
  }

  /**
   * Binds and listens. Requires `allow-net`.
   *
   * @throws {Deno.errors.AddrInUse} If something listens there already
   * @throws {Deno.errors.PermissionDenied} If the port needs more rights
   */
  static open(
    where: {
      readonly host?: string | undefined;
      readonly port: number;
      readonly tls?: NativeTls | undefined;
      /** Whether other threads listen on the same port, each for a part of the connections. */
      readonly share?: boolean | undefined;
    },
  ): Listener {
    const { host, port, tls, share = false } = where;
    prepareStacks();
    try {
      const socket = bind(host, { port, tls, share });
      return new Listener(new PlatformSocket(socket, tls), {
        isTls: tls !== undefined,
      });
    } catch (error) {
      throw withPlace(error, where);
    }
  }

  /**
   * Accepts until {@linkcode Listener.close}. What goes wrong with accepting is
   * told to `onError`, and accepting goes on.
   */
  async accept(
    onTransport: (transport: Transport) => void,
    onError: (error: unknown) => void,
  ): Promise<void> {
    while (!this.#closed) {
      try {
        onTransport(await this.#socket.accept());
      } catch (error) {
        if (this.#closed) return;
        // A client that is gone before it was accepted is no fault of ours.
        if (isClientGone(error)) continue;
        onError(error);
        await this.#pause();
      }
    }
  }

  /** Waits until accepting makes sense again, or the listener is closed. */
  #pause(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, REST_MS);
    this.#rest = () => {
      clearTimeout(timer);
      resolve();
    };
    return promise;
  }

  /** Stops listening and frees the port. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.close();
    this.#rest?.();
  }
}

/** The error, its message with the address that was to be listened on. */
function withPlace(
  error: unknown,
  { host, port }: { readonly host?: string | undefined; readonly port: number },
): unknown {
  const at = formatHostPort({ address: host ?? "*", port });
  if (error instanceof Error) {
    error.message = `Cannot listen on ${at}: ${error.message}`;
  }
  return error;
}

/** A listener of the platform, plain or with TLS. */
class PlatformSocket {
  readonly address: SocketAddress;
  readonly #listener: Deno.Listener<Deno.TcpConn | Deno.TlsConn>;
  readonly #tls: NativeTls | undefined;

  constructor(
    listener: Deno.Listener<Deno.TcpConn | Deno.TlsConn>,
    tls: NativeTls | undefined,
  ) {
    this.#listener = listener;
    this.#tls = tls;
    this.address = socketAddress(listener.addr);
  }

  async accept(): Promise<Transport> {
    const conn = await this.#listener.accept();
    return "handshake" in conn && this.#tls !== undefined
      ? new DenoTlsTransport(conn, {
        handshakeTimeoutMs: this.#tls.handshakeTimeoutMs,
        ownCertificate: this.#tls.der,
        watch: this.#tls.watch,
      })
      : new DenoTransport(conn, { isLeisurely: true });
  }

  close(): void {
    this.#listener.close();
  }
}

/**
 * Has the platform make a stack trace while it can. The first one of a thread
 * opens a file; where no descriptor is free for that, the process ends.
 */
function prepareStacks(): void {
  void new Error("Stack trace made in time").stack;
}

function isClientGone(error: unknown): boolean {
  return error instanceof Deno.errors.ConnectionReset ||
    error instanceof Deno.errors.ConnectionAborted ||
    error instanceof Deno.errors.NotConnected;
}

/** Binds `host`, or all addresses of both families where the machine has both. */
function bind(
  host: string | undefined,
  how: {
    readonly port: number;
    readonly tls: NativeTls | undefined;
    readonly share: boolean;
  },
): Deno.Listener<Deno.TcpConn | Deno.TlsConn> {
  const { port, tls } = how;
  // Without the unstable flag the option ends the process, whatever its value.
  const share = how.share ? { reusePort: true } : {};
  const listen = (hostname: string) =>
    tls === undefined
      ? Deno.listen({ hostname, port, ...share })
      : Deno.listenTls({
        hostname,
        port,
        cert: tls.certificate,
        key: tls.key,
        ...share,
      });
  if (host !== undefined) return listen(host);
  try {
    return listen("::");
  } catch (error) {
    if (
      error instanceof Deno.errors.AddrInUse ||
      error instanceof Deno.errors.PermissionDenied ||
      error instanceof Deno.errors.NotCapable
    ) {
      throw error;
    }
    return listen("0.0.0.0");
  }
}

/**
 * Checks that threads can share ports here: the kernel must hand each connection
 * to one of the listeners, and the platform must be allowed to share.
 *
 * @throws {Deno.errors.NotSupported} If the platform does not share ports, or may not without its flag
 */
export function checkThreads(threads: number): void {
  // Other kernels refuse the second listener, or give all connections to the last.
  if (Deno.build.os !== "linux" && Deno.build.os !== "android") {
    throw new Deno.errors.NotSupported(
      `Cannot serve with ${threads} threads on "${Deno.build.os}": want Linux, which spreads connections over the listeners of a port`,
    );
  }
  // Without the flag this function is missing, and sharing ends the process.
  if (typeof Deno.listenDatagram !== "function") {
    throw new Deno.errors.NotSupported(
      `Cannot serve with ${threads} threads without --unstable-net: want that flag behind "deno run", or "unstable": ["net"] in deno.json`,
    );
  }
}
