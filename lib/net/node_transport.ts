/**
 * A {@linkcode Transport} over a `node:net` socket, plain or TLS. Takes the
 * socket over: nobody else may listen for its data or write to it.
 *
 * Never holds more than one high-water mark of bytes that nobody asked for,
 * and leaves no listener that could keep a closed socket alive.
 */

import { Buffer } from "node:buffer";
import type { Socket } from "node:net";
import {
  platformError,
  type SocketAddress,
  type TlsInfo,
  type Transport,
} from "./transport.ts";

/** Bytes read ahead before the socket is told to wait. */
const READ_AHEAD = 65536;
/** Bytes of replies that may be on their way over TLS before a writer has to wait. */
const WRITE_AHEAD = 16384;
/** How long the farewell of a TLS connection may take before the socket is cut off, in milliseconds. */
const FAREWELL_MS = 1000;

const WRITTEN: Promise<void> = Promise.resolve();

/**
 * What a socket on top of another stream cannot be asked for: its write
 * callbacks come too early, and its pause does not reach the stream below.
 */
export interface LayerBelow {
  /** Whether all that was written has left. */
  readonly isDrained: boolean;
  /** A promise for the moment when all that was written has left; `undefined` if it has. */
  drained(): Promise<void> | undefined;
  /** Stops reading. */
  hold(): void;
  /** Goes on reading. */
  release(): void;
  /** Whether the socket may learn late that something has left. */
  relax(isRelaxed: boolean): void;
  /** Has the socket learn it, as there is more to write; `isQueued`: which waits for that. */
  moreToWrite(isQueued: boolean): void;
}

/** Options of {@linkcode NodeTransport}. */
export interface NodeTransportOptions {
  /** The encryption in force, where the socket has one. */
  readonly tls?: TlsInfo | undefined;
  /** The other end; asked of the socket when not given. */
  readonly remote?: SocketAddress | undefined;
  /** This end; asked of the socket when not given. */
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
 * @example Greet whoever connects
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
  /** What came in and was not asked for yet, from `#offset` of the first one on. */
  readonly #chunks: Uint8Array[] = [];
  #offset = 0;
  #held = 0;
  #paused = false;
  #ended = false;
  #closed = false;
  #error: Error | undefined;
  #reader: (Waiting<number | null> & { buffer: Uint8Array }) | undefined;
  #writer: Waiting<void> | undefined;
  /** What was written since all before it had left. */
  #ahead = 0;
  /** The last write, for who has to wait for it. */
  #written: Promise<void> | undefined;
  readonly #onData = (chunk: Uint8Array) => this.#receive(chunk);
  readonly #onEnd = () => this.#end();

  /**
   * Takes `socket` over.
   *
   * @param socket The socket, connected, its data untouched so far
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
    // What is there already comes as an event.
    if (this.#below !== undefined && socket.readableLength === 0) {
      this.#shorten(this.#below);
    }
  }

  /**
   * Takes bytes from the TLS layer as it has them. The queue in between, which
   * looks for more after each, costs a twentieth of a message's time; nothing is
   * ever in it, because the layer below is paused, not this one.
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
   * Whether {@linkcode NodeTransport.surrender} makes sense: the socket is the
   * connection itself, and no bytes are held that the new owner would miss.
   */
  get isBare(): boolean {
    return this.#below === undefined && this.tls === undefined &&
      this.#held === 0;
  }

  /**
   * Hands the socket over, when all that was written has left: for TLS, which
   * is quicker on the socket itself than on a stream around it. What comes in
   * from the call on is the new owner's. {@linkcode NodeTransport.close} still
   * ends it.
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
      // A copy, because the caller may use its bytes again from now on.
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
   * Whether a write need not be waited for. That saves TLS two turns of the
   * event loop a reply; a peer that does not read still stops the writer, and
   * a failure shows at the next read or write.
   */
  #fitsAhead(length: number, isQueued: boolean): boolean {
    const isIdle = !isQueued && this.#below?.isDrained !== false;
    this.#ahead = length + (isIdle ? 0 : this.#ahead);
    return this.#ahead <= WRITE_AHEAD;
  }

  /** Closes in both directions. With TLS the peer is told so first, within a second. Idempotent. */
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
    // Without close_notify the peer cannot tell an end from an attack.
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
      // Nothing is held while somebody waits.
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

  /** Moves as much as fits of what is held into `buffer`. */
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
  // A dual-stack socket shows IPv4 peers as IPv4-mapped IPv6 addresses.
  const plain = address?.replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, "");
  return { address: plain ?? "unix", port: port ?? 0 };
}
