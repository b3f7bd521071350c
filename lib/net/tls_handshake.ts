/**
 * One TLS handshake on an open connection: its time limit, its failure, and the
 * resulting transport. Knows no certificate and neither side's rules.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc8446 | RFC 8446}
 */

import type { Socket } from "node:net";
import { nextTick } from "node:process";
import { TLSSocket } from "node:tls";
import type { TlsVersion } from "../tls/context.ts";
import { NodeTransport } from "./node_transport.ts";
import { TransportStream } from "./tls_stream.ts";
import type { TlsInfo, Transport } from "./transport.ts";

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
          reject(aborted(errorText(error), error));
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

/** The message of an error. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
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
