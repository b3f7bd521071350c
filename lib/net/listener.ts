/**
 * One listening socket: binds, accepts, and goes on accepting whatever happens
 * to single connections. Knows nothing of SMTP.
 */

import { DenoTransport, socketAddress } from "./deno_transport.ts";
import { formatHostPort } from "./listen_options.ts";
import type { SocketAddress, Transport } from "./transport.ts";

/** How long accepting rests after it failed, in ms: no descriptors are free, most likely. */
const REST_MS = 100;

/** A listening TCP socket. */
export class Listener {
  /** The address and port that it listens on. */
  readonly address: SocketAddress;
  readonly #socket: Deno.TcpListener;
  #closed = false;
  #rest: (() => void) | undefined;

  /** Made by {@linkcode Listener.open}. */
  constructor(socket: Deno.TcpListener) {
    this.#socket = socket;
    this.address = socketAddress(socket.addr);
  }

  /**
   * Binds and listens. Requires `allow-net`.
   *
   * @throws {Deno.errors.AddrInUse} If something listens there already
   * @throws {Deno.errors.PermissionDenied} If the port needs more rights
   */
  static open(
    where: { readonly host?: string | undefined; readonly port: number },
  ): Listener {
    const { host, port } = where;
    try {
      return new Listener(bind(host, port));
    } catch (error) {
      const at = formatHostPort({ address: host ?? "*", port });
      if (error instanceof Error) {
        error.message = `Cannot listen on ${at}: ${error.message}`;
      }
      throw error;
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
        const conn = await this.#socket.accept();
        onTransport(new DenoTransport(conn));
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

function isClientGone(error: unknown): boolean {
  return error instanceof Deno.errors.ConnectionReset ||
    error instanceof Deno.errors.ConnectionAborted ||
    error instanceof Deno.errors.NotConnected;
}

/** Binds `host`, or all addresses of both families where the machine has both. */
function bind(host: string | undefined, port: number): Deno.TcpListener {
  if (host !== undefined) return Deno.listen({ hostname: host, port });
  try {
    return Deno.listen({ hostname: "::", port });
  } catch (error) {
    if (
      error instanceof Deno.errors.AddrInUse ||
      error instanceof Deno.errors.PermissionDenied ||
      error instanceof Deno.errors.NotCapable
    ) {
      throw error;
    }
    return Deno.listen({ hostname: "0.0.0.0", port });
  }
}
