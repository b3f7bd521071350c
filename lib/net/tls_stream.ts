/**
 * The bridge from a {@linkcode Transport} to the `node:stream` that the
 * platform's TLS is built upon: ciphertext in, ciphertext out, nothing else.
 *
 * Owns the transport below from the moment it is made and closes it in the
 * end, whoever ended it. Reads only when asked to, so a slow reader above slows
 * the peer down. It is a `Duplex` for its events, its end and its type, but
 * carries bytes past the queues of one: they cost a third of a STARTTLS
 * session's time, and the TLS layer has queues of its own.
 */

import { Duplex } from "node:stream";
import type { LayerBelow } from "./node_transport.ts";
import type { Transport } from "./transport.ts";

/** Fits commands; what an idle connection costs. */
const SMALL_READ = 8192;
/** Fits several TLS records while a body comes in. */
const LARGE_READ = 65536;

type WriteCallback = (error?: Error | null) => void;

/** A chunk that waits for those before it. */
interface Outgoing {
  readonly chunk: Uint8Array;
  readonly callback: WriteCallback | undefined;
}

/** Carries a transport's bytes as a `node:stream`. */
export class TransportStream extends Duplex implements LayerBelow {
  /**
   * Whether the transport below is closed with this. Not so during a handshake:
   * of one that fails, the platform destroys this first and writes the alert
   * that tells the peer why thereafter.
   */
  closesBelow = true;
  /**
   * Bytes that may still come in, during a handshake: the platform keeps what it
   * cannot use yet, however much that is.
   */
  room: number = Infinity;
  readonly #inner: Transport;
  readonly #onEnd: (error?: Error) => void;
  #buffer = new Uint8Array(SMALL_READ);
  /** Whether the layer above takes data, as `pause()` and `resume()` say. */
  #flowing = false;
  #held = false;
  #reading = false;
  #ended = false;
  /** What came in after `pause()`. */
  #kept: Uint8Array | undefined;
  #writing = false;
  #hasWritten = false;
  #wantsDrain = false;
  readonly #queue: Outgoing[] = [];
  /** The callback of the chunk that is being written. */
  #callback: WriteCallback | undefined;
  /** Whether a callback waits until the layer above has more to write. */
  #isRelaxed = false;
  /** The callback that waits. */
  #waiting: WriteCallback | undefined;
  /** The one that waited at the read before. */
  #waited: WriteCallback | undefined;
  /** Whether the next callback must not wait. */
  #isUrgent = false;
  #idle: (() => void)[] = [];
  // No promise owns what the TLS layer throws: it ends this connection here.
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
   * Takes `inner` over.
   *
   * @param inner The transport below
   * @param onEnd Called once the transport below is at its end, or with the error where more came in than there was room
   */
  constructor(inner: Transport, onEnd: (error?: Error) => void) {
    super({ allowHalfOpen: true });
    this.#inner = inner;
    this.#onEnd = onEnd;
  }

  /** Whether all that was written has been taken below. */
  get isDrained(): boolean {
    return !this.#writing || this.destroyed;
  }

  /** Whether anything was ever written. */
  get hasWritten(): boolean {
    return this.#hasWritten;
  }

  /** A promise for the moment when all that was written has been taken below; `undefined` if it has. */
  drained(): Promise<void> | undefined {
    if (this.isDrained) return undefined;
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  /** Stops reading, but for the read under way. */
  hold(): void {
    this.#held = true;
  }

  /** Goes on reading. */
  release(): void {
    this.#held = false;
    this.#read();
  }

  /**
   * Whether the layer above may learn late that a chunk was taken. On learning
   * it, it looks for more: three calls into the platform that find nothing where
   * a command follows each reply, a seventh of a message's time. It learns when
   * it has more to write ({@linkcode TransportStream.moreToWrite}), or after the
   * second read from then.
   */
  relax(isRelaxed: boolean): void {
    this.#isRelaxed = isRelaxed;
    if (!isRelaxed) this.moreToWrite(true);
  }

  /**
   * Tells the layer above what it has not learned yet, as it has more to write.
   *
   * @param isQueued Whether that waits above for what was written before
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
   * Makes the TLS layer above send what it has. It looks for that only when
   * something comes in, so an answer that it got later would stay in it.
   */
  nudge(): void {
    if (!this.destroyed) this.#pass(new Uint8Array(0));
  }

  // Incoming.

  /** Lets `data` events come. */
  override resume(): this {
    this.#flowing = true;
    // Whoever resumes may not be ready for data before it has returned.
    if (this.#kept === undefined) this.#read();
    else queueMicrotask(() => this.#deliverKept());
    return this;
  }

  /** Lets no `data` events come, until they are wanted again. */
  override pause(): this {
    this.#flowing = false;
    return this;
  }

  /** Nothing to do: `resume()` reads. */
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
   * Hands bytes to the TLS layer, which copies them before it returns. If it
   * ever did not, records would not decrypt: no byte can be taken for another.
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

  /** A larger buffer for who fills it, a small one for who does not. */
  #resize(count: number): void {
    const { length } = this.#buffer;
    if (count === length && length < LARGE_READ) {
      this.#buffer = new Uint8Array(length * 2);
    } else if (count < SMALL_READ / 4 && length > SMALL_READ) {
      this.#buffer = new Uint8Array(SMALL_READ);
    }
  }

  // Outgoing.

  /** Writes a chunk after those before it; the callback comes when it has been taken below. */
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

  /** Ends when all that was written has left. */
  override _final(callback: WriteCallback): void {
    const drained = this.drained();
    if (drained === undefined) callback();
    else drained.then(() => callback());
  }

  /** Closes the transport below, if it may. */
  override _destroy(error: Error | null, callback: WriteCallback): void {
    if (this.closesBelow) this.#inner.close();
    this.#queue.length = 0;
    this.#waiting = undefined;
    this.#wake();
    callback(error);
  }
}
