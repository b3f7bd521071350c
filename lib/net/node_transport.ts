/**
 * A {@linkcode Transport} over a `node:net` socket, plain or TLS. Takes over the
 * socket: no other code may read from it or write to it.
 *
 * Never holds much more than `READ_AHEAD` unread bytes, and leaves no listener
 * that could keep a closed socket alive.
 */

import { Buffer } from "node:buffer";
import type { Socket } from "node:net";
import {
  platformError,
  type SocketAddress,
  type TlsInfo,
  type Transport,
  unmapped,
} from "./transport.ts";

/** Unread bytes at which the socket is paused. */
const READ_AHEAD = 65536;
/** Unsent bytes over TLS beyond which a writer must wait. */
const WRITE_AHEAD = 16384;
/** Time limit of the close_notify of a TLS connection, in milliseconds; then the socket is destroyed. */
const FAREWELL_MS = 1000;

const WRITTEN: Promise<void> = Promise.resolve();

/**
 * The stream below a TLS socket. The socket itself is no substitute: its write
 * callbacks come too early, and its `pause()` does not reach the stream below.
 */
export interface LayerBelow {
  /** Whether all written bytes have been sent. */
  readonly isDrained: boolean;
  /** A promise that resolves when all written bytes have been sent; `undefined` if they have. */
  drained(): Promise<void> | undefined;
  /** Stops reading. */
  hold(): void;
  /** Continues reading. */
  release(): void;
  /** Sets whether write callbacks to the socket may be delayed. */
  relax(isRelaxed: boolean): void;
  /** Calls a delayed write callback, because more is to be written; `isQueued`: whether that waits for the callback. */
  moreToWrite(isQueued: boolean): void;
}

/** Options of {@linkcode NodeTransport}. */
export interface NodeTransportOptions {
  /** The encryption in force, if any. */
  readonly tls?: TlsInfo | undefined;
  /** The other end. Default: the socket's. */
  readonly remote?: SocketAddress | undefined;
  /** This end. Default: the socket's. */
  readonly local?: SocketAddress | undefined;
  /** The layer below, for a socket on top of another stream; see {@linkcode LayerBelow}. */
  readonly below?: LayerBelow | undefined;
}

interface Waiting<T> {
  resolve(value: T): void;
  reject(error: Error): void;
}

/**
 * A connection on a `node:net` socket.
 *
 * @example Greet each client
 * ```ts ignore
 * import { createServer } from "node:net";
 *
 * createServer({ allowHalfOpen: true }, async (socket) => {
 *   const transport = new NodeTransport(socket);
 *   await transport.write(new TextEncoder().encode("220 mail.example\r\n"));
 *   transport.close();
 * }).listen(2525, "127.0.0.1");
 * ```
 */
export class NodeTransport implements Transport {
  /** The other end. */
  readonly remote: SocketAddress;
  /** This end. */
  readonly local: SocketAddress;
  /** The encryption in force, `undefined` on a plain connection. */
  readonly tls: TlsInfo | undefined;
  readonly #socket: Socket;
  readonly #below: LayerBelow | undefined;
  /** Unread chunks; the first one is unread from `#offset` on. */
  readonly #chunks: Uint8Array[] = [];
  #offset = 0;
  #held = 0;
  #paused = false;
  #ended = false;
  #closed = false;
  #error: Error | undefined;
  #reader: (Waiting<number | null> & { buffer: Uint8Array }) | undefined;
  #writer: Waiting<void> | undefined;
  /** Number of bytes written since the socket was last drained. */
  #ahead = 0;
  /** The last write that did not fit ahead. */
  #written: Promise<void> | undefined;
  readonly #onData = (chunk: Uint8Array) => this.#receive(chunk);
  readonly #onEnd = () => this.#end();

  /**
   * Takes over `socket`.
   *
   * @param socket The connected socket, with no data read yet
   */
  constructor(socket: Socket, options: NodeTransportOptions = {}) {
    this.#socket = socket;
    this.#below = options.below;
    this.tls = options.tls;
    this.remote = options.remote ??
      socketAddress(socket.remoteAddress, socket.remotePort);
    this.local = options.local ??
      socketAddress(socket.localAddress, socket.localPort);
    socket.setNoDelay(true);
    socket.on("error", (error) => this.#fail(error));
    socket.on("end", this.#onEnd);
    socket.on("close", () => this.#end());
    socket.on("data", this.#onData);
    // Bytes that the socket holds already come as an event.
    if (this.#below !== undefined && socket.readableLength === 0) {
      this.#shorten(this.#below);
    }
  }

  /**
   * Takes bytes directly from the TLS layer. The queue in between, which looks
   * for more after each chunk, costs a twentieth of a message's time. It is
   * always empty, because pauses stop the layer below, not this one.
   */
  #shorten(below: LayerBelow): void {
    const socket = this.#socket;
    const push = socket.push;
    socket.push = (chunk: Uint8Array | null, encoding?: BufferEncoding) => {
      if (chunk === null) return push.call(socket, chunk, encoding);
      this.#receive(chunk);
      return true;
    };
    below.relax(true);
  }

  /**
   * Whether {@linkcode NodeTransport.surrender} is possible: the socket is the
   * connection itself, and no unread bytes would be lost.
   */
  get isBare(): boolean {
    return this.#below === undefined && this.tls === undefined &&
      this.#held === 0;
  }

  /**
   * Hands over the socket once all written bytes have been sent: for TLS, which
   * is faster on the socket itself than on a stream around it. Bytes that arrive
   * after the call belong to the new owner. {@linkcode NodeTransport.close}
   * still closes the socket.
   */
  async surrender(): Promise<Socket> {
    this.#socket.off("data", this.#onData);
    this.#socket.off("end", this.#onEnd);
    this.#socket.pause();
    await this.#written?.catch(() => {});
    return this.#socket;
  }

  /**
   * Reads into `buffer`.
   *
   * @throws {Error} If the connection failed, or was closed on this side
   */
  read(buffer: Uint8Array): Promise<number | null> {
    if (this.#closed) return Promise.reject(closedError("read from"));
    if (this.#held > 0) return Promise.resolve(this.#take(buffer));
    if (this.#error !== undefined) return Promise.reject(this.#error);
    if (this.#ended) return Promise.resolve(null);
    if (this.#reader !== undefined) {
      return Promise.reject(new TypeError("Cannot read twice at once"));
    }
    return new Promise((resolve, reject) => {
      this.#reader = { resolve, reject, buffer };
    });
  }

  /**
   * Writes all of `bytes`.
   *
   * @throws {Error} If the connection failed, or was closed
   */
  write(bytes: Uint8Array): Promise<void> {
    if (this.#closed || this.#socket.destroyed || this.#error !== undefined) {
      return Promise.reject(this.#error ?? closedError("write to"));
    }
    if (this.#writer !== undefined) {
      return Promise.reject(new TypeError("Cannot write twice at once"));
    }
    if (bytes.length === 0) return WRITTEN;
    const isQueued = this.#socket.writableLength > 0;
    if (this.tls !== undefined && this.#fitsAhead(bytes.length, isQueued)) {
      // A copy, because the caller may now reuse its buffer.
      const copy = Buffer.allocUnsafe(bytes.length);
      copy.set(bytes);
      this.#socket.write(copy);
      this.#below?.moreToWrite(isQueued);
      return WRITTEN;
    }
    this.#below?.relax(false);
    return this.#written = new Promise((resolve, reject) => {
      this.#writer = { resolve, reject };
      this.#socket.write(bytes, (error) => this.#endWrite(error));
    });
  }

  /**
   * Whether a write resolves without waiting for the socket. That saves TLS two
   * turns of the event loop per reply. A peer that does not read still stops the
   * writer, and the next read or write reports a failure.
   */
  #fitsAhead(length: number, isQueued: boolean): boolean {
    const isIdle = !isQueued && this.#below?.isDrained !== false;
    this.#ahead = length + (isIdle ? 0 : this.#ahead);
    return this.#ahead <= WRITE_AHEAD;
  }

  /** Closes in both directions. With TLS sends close_notify first, for at most one second. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const busy = this.#writer !== undefined;
    this.#chunks.length = 0;
    this.#held = 0;
    this.#settle(closedError("use"));
    if (this.tls === undefined || busy || this.#socket.destroyed) {
      this.#socket.destroy();
      return;
    }
    // Without close_notify the peer cannot distinguish an end from a truncation attack.
    const cut = () => {
      clearTimeout(timer);
      this.#socket.destroy();
    };
    const timer = setTimeout(cut, FAREWELL_MS);
    this.#socket.once("close", cut);
    this.#below?.relax(false);
    this.#socket.end(() => {
      const drained = this.#below?.drained();
      if (drained === undefined) cut();
      else drained.then(cut);
    });
  }

  #receive(chunk: Uint8Array): void {
    if (this.#closed) return;
    const reader = this.#reader;
    if (reader !== undefined && chunk.length <= reader.buffer.length) {
      // No bytes are held while a reader waits.
      this.#reader = undefined;
      reader.buffer.set(chunk);
      reader.resolve(chunk.length);
      return;
    }
    this.#chunks.push(chunk);
    this.#held += chunk.length;
    if (reader !== undefined) {
      this.#reader = undefined;
      reader.resolve(this.#take(reader.buffer));
    }
    if (this.#held >= READ_AHEAD && !this.#paused) this.#pause();
  }

  /** Moves held bytes into `buffer`, as many as fit. */
  #take(buffer: Uint8Array): number {
    let count = 0;
    while (count < buffer.length && this.#chunks.length > 0) {
      const chunk = this.#chunks[0]!;
      const size = Math.min(
        chunk.length - this.#offset,
        buffer.length - count,
      );
      buffer.set(chunk.subarray(this.#offset, this.#offset + size), count);
      count += size;
      this.#offset += size;
      if (this.#offset === chunk.length) {
        this.#chunks.shift();
        this.#offset = 0;
      }
    }
    this.#held -= count;
    if (this.#paused && this.#held < READ_AHEAD) this.#resume();
    return count;
  }

  #pause(): void {
    this.#paused = true;
    if (this.#below === undefined) this.#socket.pause();
    else this.#below.hold();
  }

  #resume(): void {
    this.#paused = false;
    if (this.#below === undefined) this.#socket.resume();
    else this.#below.release();
  }

  #endWrite(error: Error | null | undefined): void {
    const writer = this.#writer;
    if (!this.#closed) this.#below?.relax(true);
    if (writer === undefined) return;
    if (error) {
      this.#writer = undefined;
      writer.reject(this.#error ?? platformError(error));
      return;
    }
    const drained = this.#below?.drained();
    if (drained === undefined) {
      this.#writer = undefined;
      writer.resolve();
      return;
    }
    drained.then(() => this.#drain(writer));
  }

  #drain(writer: Waiting<void>): void {
    if (this.#writer !== writer) return;
    this.#writer = undefined;
    writer.resolve();
  }

  #end(): void {
    this.#ended = true;
    this.#reader?.resolve(null);
    this.#reader = undefined;
    if (this.#socket.destroyed) this.#settle(closedError("write to"));
  }

  #fail(error: Error): void {
    this.#error ??= platformError(error);
    this.#settle(this.#error);
  }

  #settle(error: Error): void {
    this.#reader?.reject(error);
    this.#reader = undefined;
    this.#writer?.reject(error);
    this.#writer = undefined;
  }
}

function closedError(action: string): Error {
  return new Deno.errors.BadResource(
    `Cannot ${action} the connection: it is closed`,
  );
}

function socketAddress(
  address: string | undefined,
  port: number | undefined,
): SocketAddress {
  const plain = address === undefined ? "unix" : unmapped(address);
  return { address: plain, port: port ?? 0 };
}
