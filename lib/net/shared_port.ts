/**
 * A port that several threads listen on, each for itself: the kernel hands
 * every connection to one of them. Bound by the platform's own listener where
 * that is allowed to share, else by `node:net`. Never decides who shares.
 */

import { createServer, type Server } from "node:net";
import { platformError } from "./node_errors.ts";
import { NodeTransport } from "./node_transport.ts";
import type { SocketAddress, Transport } from "./transport.ts";

/** A socket that listens. */
export interface AcceptingSocket {
  /** The address and port that it listens on. */
  readonly address: SocketAddress;
  /** The next connection. Rejects once the socket is closed. */
  accept(): Promise<Transport>;
  /** Stops listening and frees the port. */
  close(): void;
}

/**
 * Whether the kernel spreads connections over the threads that listen on one
 * port. Others refuse the second one, or give all of them to the last.
 */
export function canSharePort(): boolean {
  return Deno.build.os === "linux" || Deno.build.os === "android";
}

/**
 * Whether `Deno.listen` may share a port: it needs `--unstable-net`, and
 * without that flag an attempt ends the process.
 */
export function platformShares(): boolean {
  return typeof Deno.listenDatagram === "function";
}

/**
 * Listens on a port that others may listen on, by `node:net`, which needs no
 * flag.
 *
 * @throws {Deno.errors.AddrInUse} If something listens there that does not share
 */
export async function shareByNode(
  host: string | undefined,
  port: number,
): Promise<AcceptingSocket> {
  const socket = new NodeSocket();
  await socket.listen(host, port);
  return socket;
}

/** A `node:net` server as a socket that is asked for connections. */
class NodeSocket implements AcceptingSocket {
  address: SocketAddress = { address: "", port: 0 };
  readonly #server: Server;
  readonly #arrived: Transport[] = [];
  #waiting: PromiseWithResolvers<Transport> | undefined;
  #failure: Error | undefined;

  constructor() {
    this.#server = createServer({ allowHalfOpen: true }, (socket) => {
      const transport = new NodeTransport(socket);
      if (this.#failure !== undefined) transport.close();
      else if (this.#waiting === undefined) this.#arrived.push(transport);
      else this.#take().resolve(transport);
    });
  }

  #take(): PromiseWithResolvers<Transport> {
    const waiting = this.#waiting!;
    this.#waiting = undefined;
    return waiting;
  }

  listen(host: string | undefined, port: number): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const server = this.#server;
    server.once("error", (error) => reject(platformError(error)));
    server.listen({ host, port, reusePort: true }, () => {
      const at = server.address() as { address: string; port: number };
      this.address = { address: at.address, port: at.port };
      server.on("error", (error) => this.#fail(platformError(error)));
      resolve();
    });
    return promise;
  }

  accept(): Promise<Transport> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const arrived = this.#arrived.shift();
    if (arrived !== undefined) return Promise.resolve(arrived);
    this.#waiting = Promise.withResolvers();
    return this.#waiting.promise;
  }

  #fail(error: Error): void {
    if (this.#waiting !== undefined) this.#take().reject(error);
  }

  close(): void {
    this.#failure = new Deno.errors.BadResource(
      "Cannot accept a connection: the listener is closed",
    );
    this.#fail(this.#failure);
    for (const transport of this.#arrived.splice(0)) transport.close();
    this.#server.close();
  }
}
