/**
 * A pair of transports in memory: each reads the bytes that the other writes.
 * For tests, those of this package and those of its users.
 */

import type { SocketAddress, TlsInfo, Transport } from "./transport.ts";

/** One direction: unread chunks, and a reader that waits for them. */
class Pipe {
  readonly #chunks: Uint8Array[] = [];
  #ended = false;
  #wake: (() => void) | undefined;

  push(bytes: Uint8Array): void {
    if (bytes.length > 0) this.#chunks.push(bytes.slice());
    this.#wake?.();
  }

  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  async pull(buffer: Uint8Array): Promise<number | null> {
    while (this.#chunks.length === 0) {
      if (this.#ended) return null;
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await promise;
    }
    const chunk = this.#chunks[0]!;
    const count = Math.min(chunk.length, buffer.length);
    buffer.set(chunk.subarray(0, count));
    if (count === chunk.length) this.#chunks.shift();
    else this.#chunks[0] = chunk.subarray(count);
    return count;
  }
}

/** Addresses and encryption that an end of a pair reports. */
interface Ends {
  readonly remote: SocketAddress;
  readonly local: SocketAddress;
  readonly tls: TlsInfo | undefined;
}

/** The constructor of {@linkcode MemoryTransport}, for this file alone. */
let newEnd: (inward: Pipe, outward: Pipe, ends: Ends) => MemoryTransport;

/**
 * One end of a pair in memory. Made by {@linkcode memoryPair}.
 *
 * @example One end writes, the other reads
 * ```ts
 * import { memoryPair, type MemoryTransport } from "@smtp/server/testing";
 *
 * const [server, client]: [MemoryTransport, MemoryTransport] = memoryPair();
 * await client.write(new TextEncoder().encode("QUIT\r\n"));
 * const count = await server.read(new Uint8Array(100));
 * console.assert(count === 6);
 * ```
 */
export class MemoryTransport implements Transport {
  /** The other end. */
  readonly remote: SocketAddress;
  /** This end. */
  readonly local: SocketAddress;
  /** The encryption that the pair reports. */
  readonly tls: TlsInfo | undefined;
  readonly #inward: Pipe;
  readonly #outward: Pipe;
  #closed = false;

  private constructor(inward: Pipe, outward: Pipe, ends: Ends) {
    this.#inward = inward;
    this.#outward = outward;
    this.remote = ends.remote;
    this.local = ends.local;
    this.tls = ends.tls;
  }

  static {
    newEnd = (inward, outward, ends) =>
      new MemoryTransport(inward, outward, ends);
  }

  /** See {@linkcode Transport.read}. */
  async read(buffer: Uint8Array): Promise<number | null> {
    const count = await this.#inward.pull(buffer);
    if (this.#closed) throw new Deno.errors.BadResource("Transport is closed");
    return count;
  }

  /** See {@linkcode Transport.write}. */
  write(bytes: Uint8Array): Promise<void> {
    if (this.#closed) {
      return Promise.reject(new Deno.errors.BadResource("Transport is closed"));
    }
    this.#outward.push(bytes);
    return Promise.resolve();
  }

  /** See {@linkcode Transport.close}. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#outward.end();
    this.#inward.end();
  }
}

/**
 * Makes a pair of transports, the server's end first.
 *
 * @param ends The addresses and the encryption that the pair reports
 *
 * @example The end of a connection
 * ```ts
 * import { memoryPair } from "@smtp/server/testing";
 *
 * const [server, client] = memoryPair();
 * client.close();
 * console.assert(await server.read(new Uint8Array(1)) === null);
 * ```
 */
export function memoryPair(
  ends: {
    readonly client?: SocketAddress;
    readonly server?: SocketAddress;
    readonly tls?: TlsInfo;
  } = {},
): [server: MemoryTransport, client: MemoryTransport] {
  const client = ends.client ?? { address: "192.0.2.1", port: 40000 };
  const server = ends.server ?? { address: "192.0.2.2", port: 25 };
  const up = new Pipe();
  const down = new Pipe();
  const { tls } = ends;
  return [
    newEnd(up, down, { remote: client, local: server, tls }),
    newEnd(down, up, { remote: server, local: client, tls }),
  ];
}
