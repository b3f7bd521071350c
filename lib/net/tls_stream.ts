/**
 * The bridge from a {@linkcode Transport} to the `node:stream` that the
 * platform's TLS needs: ciphertext in, ciphertext out, nothing else.
 *
 * Owns the transport below and closes it in the end, whichever side ended
 * first. Reads only on demand, so a slow reader above slows the peer down. It is
 * a `Duplex` for its events, its end and its type, but its bytes bypass the
 * queues of a `Duplex`: these cost a third of a STARTTLS session's time, and
 * the TLS layer has its own queues.
 */

import { Duplex } from "node:stream";
import type { LayerBelow } from "./node_transport.ts";
import type { Transport } from "./transport.ts";

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
