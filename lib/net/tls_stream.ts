/**
 * TLS of the platform over a {@linkcode Transport}: the `node:stream` below it,
 * ciphertext in, ciphertext out, and one handshake with its time limit, its
 * failure and the resulting transport. Knows no certificate and neither side's
 * rules.
 *
 * Owns the transport below and closes it in the end, whichever side ended
 * first. Reads only on demand, so a slow reader above slows the peer down. The
 * stream is a `Duplex` for its events, its end and its type, but its bytes bypass
 * the queues of a `Duplex`: these cost a third of a STARTTLS session's time, and
 * the TLS layer has its own queues.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc8446 | RFC 8446}
 */

import type { Socket } from "node:net";
import { nextTick } from "node:process";
import { Duplex } from "node:stream";
import { TLSSocket } from "node:tls";
import { errorMessage } from "../log.ts";
import type { TlsVersion } from "../tls/context.ts";
import { type LayerBelow, NodeTransport } from "./node_transport.ts";
import type { TlsInfo, Transport } from "./transport.ts";

/** Size of the read buffer of an idle connection; large enough for commands. */
const SMALL_READ = 8192;
/** Size of the read buffer during a body; large enough for several TLS records. */
const LARGE_READ = 65536;

type WriteCallback = (error?: Error | null) => void;

/** A chunk that waits for earlier chunks. */
interface Outgoing {
  readonly chunk: Uint8Array;
  readonly callback: WriteCallback | undefined;
}

/** Carries a transport's bytes as a `node:stream`. */
export class TransportStream extends Duplex implements LayerBelow {
  /**
   * Whether destroying the stream closes the transport below. `false` during a
   * handshake: if it fails, the platform destroys the stream first and then
   * writes the alert that tells the peer the reason.
   */
  closesBelow = true;
  /**
   * Number of bytes that may still come in during a handshake: the platform
   * buffers bytes that it cannot use yet without a limit.
   */
  room: number = Infinity;
  readonly #inner: Transport;
  readonly #onEnd: (error?: Error) => void;
  #buffer = new Uint8Array(SMALL_READ);
  /** Whether the layer above accepts data; set by `pause()` and `resume()`. */
  #flowing = false;
  #held = false;
  #reading = false;
  #ended = false;
  /** The chunk that came in after `pause()`. */
  #kept: Uint8Array | undefined;
  #writing = false;
  #hasWritten = false;
  #wantsDrain = false;
  readonly #queue: Outgoing[] = [];
  /** The callback of the chunk under way. */
  #callback: WriteCallback | undefined;
  /** Whether callbacks may be delayed until the layer above has more to write. */
  #isRelaxed = false;
  /** The delayed callback. */
  #waiting: WriteCallback | undefined;
  /** The callback that was delayed at the previous read. */
  #waited: WriteCallback | undefined;
  /** Whether the next callback must not be delayed. */
  #isUrgent = false;
  #idle: (() => void)[] = [];
  // No promise catches the exceptions of the TLS layer: they end this connection here.
  readonly #onRead = (count: number | null) => {
    try {
      this.#deliver(count);
    } catch (error) {
      this.destroy(error as Error);
    }
  };
  readonly #onSent = () => {
    try {
      this.#sent();
    } catch (error) {
      this.destroy(error as Error);
    }
  };
  readonly #onFailure = (error: Error) => void this.destroy(error);

  /**
   * Takes over `inner`.
   *
   * @param inner The transport below
   * @param onEnd Called at the end of the transport below, or with an error if more bytes than `room` came in
   */
  constructor(inner: Transport, onEnd: (error?: Error) => void) {
    super({ allowHalfOpen: true });
    this.#inner = inner;
    this.#onEnd = onEnd;
  }

  /** Whether the transport below has accepted all written bytes. */
  get isDrained(): boolean {
    return !this.#writing || this.destroyed;
  }

  get hasWritten(): boolean {
    return this.#hasWritten;
  }

  /** A promise that resolves when the transport below has accepted all written bytes; `undefined` if it has. */
  drained(): Promise<void> | undefined {
    if (this.isDrained) return undefined;
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  /** Starts no more reads; does not affect the read under way. */
  hold(): void {
    this.#held = true;
  }

  /** Continues reading. */
  release(): void {
    this.#held = false;
    this.#read();
  }

  /**
   * Sets whether write callbacks to the layer above may be delayed. On a
   * callback, that layer looks for more to write: three calls into the platform,
   * a seventh of a message's time, for nothing if a command follows each reply.
   * A delayed callback comes when there is more to write
   * ({@linkcode TransportStream.moreToWrite}), or after the second read.
   */
  relax(isRelaxed: boolean): void {
    this.#isRelaxed = isRelaxed;
    if (!isRelaxed) this.moreToWrite(true);
  }

  /**
   * Calls the delayed callback, because the layer above has more to write.
   *
   * @param isQueued Whether that waits above for the callback
   */
  moreToWrite(isQueued: boolean): void {
    const waiting = this.#waiting;
    if (waiting === undefined) {
      this.#isUrgent ||= isQueued || this.#writing;
      return;
    }
    this.#waiting = undefined;
    waiting();
  }

  /**
   * Makes the TLS layer above send its pending output. It looks for output only
   * when bytes come in, so without this a later answer would stay in it.
   */
  nudge(): void {
    if (!this.destroyed) this.#pass(new Uint8Array(0));
  }

  // Incoming.

  /** Starts `data` events. */
  override resume(): this {
    this.#flowing = true;
    // The caller may not be ready for data before this method has returned.
    if (this.#kept === undefined) this.#read();
    else queueMicrotask(() => this.#deliverKept());
    return this;
  }

  /** Stops `data` events until `resume()`. */
  override pause(): this {
    this.#flowing = false;
    return this;
  }

  /** Does nothing: `resume()` reads. */
  override _read(): void {}

  #read(): void {
    if (!this.#flowing || this.#held || this.#reading || this.#ended) return;
    if (this.destroyed || this.#kept !== undefined) return;
    this.#reading = true;
    this.#inner.read(this.#buffer).then(this.#onRead, this.#onFailure);
  }

  #deliver(count: number | null): void {
    this.#reading = false;
    if (this.destroyed) return;
    if (count === null) {
      this.#ended = true;
      this.relax(false);
      this.emit("end");
      this.#onEnd();
    } else if (count > this.room) {
      this.#ended = true;
      this.#onEnd(
        new Deno.errors.ConnectionAborted(
          "Cannot complete the TLS handshake: the other side sends without end",
        ),
      );
    } else if (this.#flowing) {
      this.room -= count;
      this.#pass(this.#buffer.subarray(0, count));
      const waiting = this.#waiting;
      if (waiting !== undefined && waiting === this.#waited) {
        this.moreToWrite(false);
      }
      this.#waited = waiting;
      this.#resize(count);
      this.#read();
    } else {
      this.#kept = this.#buffer.slice(0, count);
    }
  }

  /**
   * Passes bytes to the TLS layer, which copies them before it returns. If it
   * did not, records would fail to decrypt: no byte can be mistaken for another.
   */
  #pass(bytes: Uint8Array): void {
    try {
      this.emit("data", bytes);
    } catch (error) {
      this.destroy(error as Error);
    }
  }

  #deliverKept(): void {
    if (!this.#flowing || this.#kept === undefined || this.destroyed) return;
    const kept = this.#kept;
    this.#kept = undefined;
    this.#pass(kept);
    this.#read();
  }

  /** Doubles the buffer after a read that filled it; shrinks it after a small read. */
  #resize(count: number): void {
    const { length } = this.#buffer;
    if (count === length && length < LARGE_READ) {
      this.#buffer = new Uint8Array(length * 2);
    } else if (count < SMALL_READ / 4 && length > SMALL_READ) {
      this.#buffer = new Uint8Array(SMALL_READ);
    }
  }

  // Outgoing.

  /** Writes a chunk after the earlier ones; calls back when the transport below has accepted it. */
  override write(
    chunk: Uint8Array,
    encoding?: string | WriteCallback,
    callback?: WriteCallback,
  ): boolean {
    const done = typeof encoding === "function" ? encoding : callback;
    if (!this.#writing) {
      this.#send(chunk, done);
      return true;
    }
    this.#queue.push({ chunk, callback: done });
    this.#wantsDrain = true;
    return false;
  }

  #send(chunk: Uint8Array, callback: WriteCallback | undefined): void {
    this.#writing = true;
    this.#hasWritten = true;
    this.#callback = callback;
    try {
      this.#inner.write(chunk).then(this.#onSent, this.#onFailure);
    } catch (error) {
      this.destroy(error as Error);
    }
  }

  #sent(): void {
    const callback = this.#callback;
    const next = this.#queue.shift();
    if (next === undefined) this.#writing = false;
    else this.#send(next.chunk, next.callback);
    if (this.#isRelaxed && !this.#isUrgent && !this.#writing) {
      this.#waiting = callback;
    } else {
      this.#isUrgent = false;
      callback?.();
    }
    if (this.#writing) return;
    if (this.#wantsDrain) {
      this.#wantsDrain = false;
      this.emit("drain");
    }
    this.#wake();
  }

  #wake(): void {
    if (this.#idle.length === 0) return;
    const idle = this.#idle;
    this.#idle = [];
    for (const resolve of idle) resolve();
  }

  /** Ends when the transport below has accepted all written bytes. */
  override _final(callback: WriteCallback): void {
    const drained = this.drained();
    if (drained === undefined) callback();
    else drained.then(() => callback());
  }

  /** Closes the transport below, if `closesBelow` is set. */
  override _destroy(error: Error | null, callback: WriteCallback): void {
    if (this.closesBelow) this.#inner.close();
    this.#queue.length = 0;
    this.#waiting = undefined;
    this.#wake();
    callback(error);
  }
}

/**
 * A record with the fatal alert handshake_failure
 * ({@link https://www.rfc-editor.org/rfc/rfc8446#section-6 | RFC 8446 section 6}).
 */
const HANDSHAKE_FAILURE = Uint8Array.of(0x15, 3, 3, 0, 2, 2, 40);

/** Bytes that a peer may send before the handshake is complete: 256 KiB. A chain of certificates has a few KiB. */
const MAX_HANDSHAKE = 262_144;

/** Options that both sides of a handshake share. */
export interface TlsHandshakeOptions {
  /** Time limit of the handshake, in milliseconds. */
  handshakeTimeoutMs: number;
  /**
   * The oldest version accepted.
   *
   * @default {"TLSv1.2"}
   */
  minVersion?: TlsVersion | undefined;
  /** Ends the handshake; the promise then rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
}

/** One handshake, from its start to its result or failure. */
export class Handshake {
  readonly #inner: Transport;
  readonly #options: TlsHandshakeOptions;
  readonly #stream: TransportStream | Socket;
  #fail: (error: unknown) => void = () => {};

  /** @param socket The socket that `inner` has surrendered, if any */
  constructor(
    inner: Transport,
    options: TlsHandshakeOptions,
    socket?: Socket,
  ) {
    this.#inner = inner;
    this.#options = options;
    const onEnd = (error = closedByPeer()) => this.#fail(error);
    this.#stream = socket ?? new TransportStream(inner, onEnd);
    if (this.#stream instanceof TransportStream) {
      // Danger: bytes that the TLS layer gets before it has started end the process.
      this.#stream.hold();
      this.#stream.room = MAX_HANDSHAKE;
    }
    socket?.once("end", () => onEnd());
    // An error event without a listener would end the process.
    this.#stream.on("error", () => {});
  }

  /** Makes a handshake on the transport's own socket, if it has one: half the turns of the event loop. */
  static async over(
    inner: Transport,
    options: TlsHandshakeOptions,
  ): Promise<Handshake> {
    return inner instanceof NodeTransport && inner.isBare
      ? new Handshake(inner, options, await inner.surrender())
      : new Handshake(inner, options);
  }

  /** See {@linkcode TransportStream.nudge}. */
  nudge(): void {
    if (this.#stream instanceof TransportStream) this.#stream.nudge();
  }

  /** Starts the handshake, waits for it, and makes its result in the same turn of the event loop. */
  async run<T>(
    event: "secure" | "secureConnect",
    start: (stream: TransportStream | Socket) => TLSSocket,
    finish: (socket: TLSSocket) => T,
  ): Promise<T> {
    const { signal, handshakeTimeoutMs } = this.#options;
    let socket: TLSSocket | undefined;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let refused = false;
    const onAbort = () => this.#fail(signal?.reason);
    try {
      signal?.throwIfAborted();
      this.#holdBelow(true);
      socket = start(this.#stream);
      guardStart(socket);
      this.#releaseAfterStart();
      const begun = socket;
      return await new Promise<T>((resolve, reject) => {
        this.#fail = reject;
        timer = setTimeout(
          () => reject(timedOut(handshakeTimeoutMs)),
          handshakeTimeoutMs,
        );
        signal?.addEventListener("abort", onAbort);
        begun.on("error", (error) => {
          refused = true;
          reject(aborted(errorMessage(error), error));
        });
        begun.on("close", () => reject(aborted("the connection was closed")));
        // Nothing reads yet, so the end of the socket's stream causes no event.
        begun.push = (chunk: Uint8Array | null, encoding?: BufferEncoding) => {
          if (chunk === null) this.#fail(closedByPeer());
          return TLSSocket.prototype.push.call(begun, chunk, encoding);
        };
        // Bytes may follow the handshake at once, so `finish` runs without a delay.
        begun.once(event, () => {
          try {
            delete (begun as Partial<TLSSocket>).push;
            resolve(finish(begun));
            this.#holdBelow(false);
            this.#openWide();
          } catch (error) {
            reject(error);
          }
        });
      });
    } catch (error) {
      // The platform never frees a TLS socket that is destroyed in the turn of
      // its creation, for example because the peer has disconnected. It has not
      // sent its alert yet either.
      await new Promise((resolve) => setTimeout(resolve, 0));
      if (refused) this.#alert();
      socket?.destroy();
      this.#stream.destroy();
      this.#inner.close();
      throw error;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
      this.#fail = () => {};
    }
  }

  /**
   * Admits bytes once the TLS layer has started. The server's side starts on a
   * separate tick, which is queued before this one.
   */
  #releaseAfterStart(): void {
    const stream = this.#stream;
    if (stream instanceof TransportStream) nextTick(() => stream.release());
  }

  /**
   * Sends an alert that the handshake has failed, if the platform has sent
   * nothing: it sends none if it was choosing a certificate by server name.
   */
  #alert(): void {
    const stream = this.#stream;
    if (!(stream instanceof TransportStream) || stream.hasWritten) return;
    this.#inner.write(HANDSHAKE_FAILURE).catch(() => {});
  }

  /** Sets whether the transport below stays open when the platform destroys its stream. */
  #holdBelow(isHeld: boolean): void {
    const stream = this.#stream;
    if (stream instanceof TransportStream) stream.closesBelow = !isHeld;
  }

  /** Removes the limit on incoming bytes: the handshake is complete. */
  #openWide(): void {
    const stream = this.#stream;
    if (stream instanceof TransportStream) stream.room = Infinity;
  }

  /** The transport on top of the handshake's socket. */
  transport(socket: TLSSocket, tls: TlsInfo): Transport {
    return new NodeTransport(socket, {
      tls,
      remote: this.#inner.remote,
      local: this.#inner.local,
      below: this.#stream instanceof TransportStream ? this.#stream : undefined,
    });
  }
}

/**
 * Makes an exception at the start of the TLS layer end only this connection.
 * The platform starts that layer outside of all promises, so the exception
 * would end the process. It happens if a failure inside the start removes
 * objects that the start still uses.
 */
function guardStart(socket: TLSSocket): void {
  const guarded = socket as { _start?: () => void };
  const start = guarded._start;
  if (start === undefined) return;
  guarded._start = () => {
    try {
      start.call(socket);
    } catch (error) {
      socket.destroy(error as Error);
    }
  };
}

function aborted(reason: string, cause?: unknown): Error {
  return new Deno.errors.ConnectionAborted(
    `Cannot complete the TLS handshake: ${reason}`,
    { cause },
  );
}

function closedByPeer(): Error {
  return aborted("the peer closed the connection");
}

function timedOut(limit: number): Error {
  return new Deno.errors.TimedOut(
    `Cannot complete the TLS handshake: not done within ${limit} ms`,
  );
}
