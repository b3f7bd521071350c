/**
 * One listening socket: binds, accepts, and keeps accepting when a single
 * connection fails. Also checks whether several threads can listen on one port.
 * Knows nothing of SMTP.
 *
 * Uses a listener of `Deno`, not of `node:net`: the latter shares a port
 * without a flag, but accepts no more connections once file descriptors have
 * run out.
 */

import {
  DenoTlsTransport,
  DenoTransport,
  type HandshakeWatch,
  socketAddress,
} from "./deno_transport.ts";
import { formatHostPort, type ListenOptions } from "./listen_options.ts";
import { UnixSocketFile } from "./unix_socket.ts";
import type { SocketAddress, Transport } from "./transport.ts";

/** Pause after a failed accept, in ms; most likely no file descriptor is free. */
const REST_MS = 100;

/** Options of TLS by the platform: one certificate, no choice by server name. */
export interface NativeTls {
  /** The certificate chain in PEM. */
  readonly certificate: string;
  /** Its key in PEM. */
  readonly key: string;
  /** The certificate alone in DER, for channel bindings. */
  readonly der: Uint8Array;
  /** Time limit of a handshake, in ms. */
  readonly handshakeTimeoutMs: number;
  /** Called for each handshake. */
  readonly watch: HandshakeWatch;
}

/** A listening socket of TCP, or a unix socket. */
export class Listener {
  /** The address and port that it listens on; `"unix"` and 0 for a unix socket. */
  readonly address: SocketAddress & {
    /** The path of the unix socket. */
    readonly path?: string;
  };
  /** Whether accepted connections use TLS from the first byte. */
  readonly isTls: boolean;
  readonly #socket: PlatformSocket;
  #closed = false;
  #isAccepting = false;
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
   * @throws {Deno.errors.AddrInUse} If the address and port are in use
   * @throws {Deno.errors.PermissionDenied} If the process may not bind the port
   */
  static open(
    where: {
      readonly host?: string | undefined;
      readonly port: number;
      readonly tls?: NativeTls | undefined;
      /** Whether other threads listen on the same port and take a part of the connections. */
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
   * Listens on a unix socket; see {@linkcode UnixSocketFile.bind}. Requires
   * `allow-net` for `unix:PATH`, `allow-read` and `allow-write` for the path.
   *
   * @throws {Deno.errors.AddrInUse} If a server answers there
   * @throws {Deno.errors.AlreadyExists} If a file of another kind is there
   */
  static async openUnix(
    where: Pick<ListenOptions, "mode" | "owner" | "group"> & {
      readonly path: string;
    },
  ): Promise<Listener> {
    prepareStacks();
    try {
      const { file, listener } = await UnixSocketFile.bind(where);
      const socket = new PlatformSocket(listener, undefined, file);
      return new Listener(socket, { isTls: false });
    } catch (error) {
      throw withPlace(error, { ...where, port: 0 });
    }
  }

  /**
   * Accepts connections until {@linkcode Listener.close}. Reports a failed
   * accept to `onError` and keeps accepting.
   */
  async accept(
    onTransport: (transport: Transport) => void,
    onError: (error: unknown) => void,
  ): Promise<void> {
    this.#isAccepting = true;
    while (!this.#closed) {
      try {
        onTransport(await this.#socket.accept());
      } catch (error) {
        if (this.#closed) break;
        // The client disconnected before it was accepted: not an error.
        if (isClientGone(error)) continue;
        onError(error);
        await this.#pause();
      }
    }
    this.#socket.ended();
  }

  /** Waits for `REST_MS`, or until the listener is closed. */
  #pause(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, REST_MS);
    this.#rest = () => {
      clearTimeout(timer);
      resolve();
    };
    return promise;
  }

  /** Stops listening and frees the port, or removes the unix socket. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.close();
    if (!this.#isAccepting) this.#socket.ended();
    this.#rest?.();
  }
}

/** Adds the address and port to the error's message. */
function withPlace(
  error: unknown,
  { host, port, path }: {
    readonly host?: string | undefined;
    readonly port: number;
    readonly path?: string | undefined;
  },
): unknown {
  const at = formatHostPort({ address: host ?? "*", port, path });
  if (error instanceof Error) {
    error.message = `Cannot listen on ${at}: ${error.message}`;
  }
  return error;
}

/** A listener of the platform: plain, with TLS, or of a unix socket. */
class PlatformSocket {
  readonly address: Listener["address"];
  readonly #listener: Deno.Listener<
    Deno.TcpConn | Deno.TlsConn | Deno.UnixConn
  >;
  readonly #tls: NativeTls | undefined;
  readonly #file: UnixSocketFile | undefined;

  constructor(
    listener: Deno.Listener<Deno.TcpConn | Deno.TlsConn | Deno.UnixConn>,
    tls: NativeTls | undefined,
    file?: UnixSocketFile,
  ) {
    this.#listener = listener;
    this.#tls = tls;
    this.#file = file;
    this.address = {
      ...socketAddress(listener.addr),
      ...(file && { path: file.path }),
    };
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
    if (this.#file === undefined) return this.#listener.close();
    this.#file.release(this.#listener as Deno.UnixListener);
  }

  /** Completes {@linkcode PlatformSocket.close}, when no accept is under way any more. */
  ended(): void {
    this.#file?.restore();
  }
}

/**
 * Makes the platform produce a stack trace early. The first one of a thread
 * opens a file; if no descriptor is free then, the process ends.
 */
function prepareStacks(): void {
  void new Error("Stack trace made in time").stack;
}

function isClientGone(error: unknown): boolean {
  return error instanceof Deno.errors.ConnectionReset ||
    error instanceof Deno.errors.ConnectionAborted ||
    error instanceof Deno.errors.NotConnected;
}

/** Binds `host`, or all addresses of both families, or of IPv4 on a machine without IPv6. */
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
 * Checks that threads can share ports: the kernel must distribute connections
 * over the listeners, and the flag that permits sharing must be set.
 *
 * @throws {Deno.errors.NotSupported} If the kernel does not distribute connections, or the flag is missing
 */
export function checkThreads(threads: number): void {
  // Other kernels refuse the second listener, or give all connections to the last.
  if (Deno.build.os !== "linux" && Deno.build.os !== "android") {
    throw new Deno.errors.NotSupported(
      `Cannot serve with ${threads} threads on "${Deno.build.os}": want Linux, which spreads connections over the listeners of a port`,
    );
  }
  // Without the flag this function does not exist, and sharing ends the process.
  if (typeof Deno.listenDatagram !== "function") {
    throw new Deno.errors.NotSupported(
      `Cannot serve with ${threads} threads without --unstable-net: want that flag behind "deno run", or "unstable": ["net"] in deno.json`,
    );
  }
}
