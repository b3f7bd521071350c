/**
 * The bridge from a {@linkcode Transport} to the `node:stream` that the
 * platform's TLS is built upon: ciphertext in, ciphertext out, nothing else.
 *
 * Owns the transport below from the moment it is made and closes it in the
 * end, whoever ended it. Reads only when asked to, so a slow reader above slows
 * the peer down.
 */

import { Duplex } from "node:stream";
import type { LayerBelow } from "./node_transport.ts";
import type { Transport } from "./transport.ts";

/** Fits commands; what an idle connection costs. */
const SMALL_READ = 8192;
/** Fits several TLS records while a body comes in. */
const LARGE_READ = 65536;

/** Carries a transport's octets as a `node:stream`. */
export class TransportStream extends Duplex implements LayerBelow {
  readonly #inner: Transport;
  readonly #onEnd: () => void;
  #buffer = new Uint8Array(SMALL_READ);
  #pending = 0;
  #idle: (() => void) | undefined;
  #held = false;
  #wanted = false;

  /**
   * Takes `inner` over.
   *
   * @param inner The transport below
   * @param onEnd Called once the transport below is at its end
   */
  constructor(inner: Transport, onEnd: () => void) {
    super({ allowHalfOpen: true });
    this.#inner = inner;
    this.#onEnd = onEnd;
  }

  /** A promise for the moment when all that was written has been taken below; `undefined` if it has. */
  drained(): Promise<void> | undefined {
    if (this.#pending === 0 || this.destroyed) return undefined;
    return new Promise((resolve) => this.#idle = resolve);
  }

  /** Stops reading, but for the read under way. */
  hold(): void {
    this.#held = true;
  }

  /** Goes on reading. */
  release(): void {
    this.#held = false;
    if (!this.#wanted) return;
    this.#wanted = false;
    this._read();
  }

  /**
   * Makes the TLS layer above send what it has. It looks for that only when
   * something comes in, so an answer that it got later would stay in it.
   */
  nudge(): void {
    if (!this.destroyed) this.emit("data", new Uint8Array(0));
  }

  /** Reads once from the transport below. */
  override _read(): void {
    if (this.#held) {
      this.#wanted = true;
      return;
    }
    this.#inner.read(this.#buffer).then(
      (count) => this.#deliver(count),
      (error) => this.destroy(error),
    );
  }

  #deliver(count: number | null): void {
    if (this.destroyed) return;
    if (count === null) {
      this.push(null);
      this.#onEnd();
      return;
    }
    const buffer = this.#buffer;
    if (count * 2 < buffer.length) {
      // The stream may keep what it gets, so a buffer to be used again is copied from.
      if (count < SMALL_READ / 4 && buffer.length > SMALL_READ) {
        this.#buffer = new Uint8Array(SMALL_READ);
      }
      this.push(buffer.slice(0, count));
      return;
    }
    const size = count === buffer.length ? buffer.length * 2 : buffer.length;
    this.#buffer = new Uint8Array(Math.min(size, LARGE_READ));
    this.push(buffer.subarray(0, count));
  }

  /** Writes one chunk to the transport below. */
  override _write(
    chunk: Uint8Array,
    _encoding: string,
    callback: (error?: Error | null) => void,
  ): void {
    this.#pending++;
    this.#inner.write(chunk).then(
      () => this.#done(callback),
      (error) => this.#done(() => callback(error)),
    );
  }

  #done(callback: () => void): void {
    this.#pending--;
    callback();
    if (this.#pending === 0) {
      this.#idle?.();
      this.#idle = undefined;
    }
  }

  /** Closes the transport below. */
  override _destroy(
    error: Error | null,
    callback: (error?: Error | null) => void,
  ): void {
    this.#inner.close();
    this.#idle?.();
    callback(error);
  }
}
