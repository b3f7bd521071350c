/**
 * One TLS handshake on a connection that is open: its deadline, its failure, and
 * the transport that comes of it. Knows no certificate and neither side's rules.
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

/** Bytes that may come in before a handshake is complete: 256 KiB. Chains of certificates have a few. */
const MAX_HANDSHAKE = 262_144;

/** Options that both sides of a handshake have. */
export interface TlsHandshakeOptions {
  /** How long the handshake may take, in milliseconds. */
  handshakeTimeoutMs: number;
  /**
   * The oldest version accepted.
   *
   * @default {"TLSv1.2"}
   */
  minVersion?: TlsVersion | undefined;
  /** Ends the handshake; it rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
}

/** One handshake: what it waits for, and how it ends. */
export class Handshake {
  readonly #inner: Transport;
  readonly #options: TlsHandshakeOptions;
  readonly #stream: TransportStream | Socket;
  #fail: (error: unknown) => void = () => {};

  /** @param socket The socket that `inner` had, where it has handed it over */
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
    // An error on a stream that nobody listens to would end the process.
    this.#stream.on("error", () => {});
  }

  /** One on the transport's own socket where it has one: half the turns of the event loop. */
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

  /** Starts the handshake, waits for it, and makes the result of it in the same turn. */
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
        // Nothing reads yet, so the end of a socket's stream comes as no event.
        begun.push = (chunk: Uint8Array | null, encoding?: BufferEncoding) => {
          if (chunk === null) this.#fail(closedByPeer());
          return TLSSocket.prototype.push.call(begun, chunk, encoding);
        };
        // Bytes after the handshake may follow at once: nothing may come between.
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
      // The platform never lets go of a TLS socket that is destroyed in the
      // turn in which it was made, as where the peer is gone already; nor has
      // it told the peer yet what was wrong.
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
   * Lets bytes in once the TLS layer has started. On the server's side it does
   * that on a tick of its own, which is queued before this one.
   */
  #releaseAfterStart(): void {
    const stream = this.#stream;
    if (stream instanceof TransportStream) nextTick(() => stream.release());
  }

  /**
   * Says that the handshake has failed, if the platform has said nothing at all:
   * it does not where it looked for the client's server name first.
   */
  #alert(): void {
    const stream = this.#stream;
    if (!(stream instanceof TransportStream) || stream.hasWritten) return;
    this.#inner.write(HANDSHAKE_FAILURE).catch(() => {});
  }

  /** Whether the transport below stays open when the platform is done with it. */
  #holdBelow(isHeld: boolean): void {
    const stream = this.#stream;
    if (stream instanceof TransportStream) stream.closesBelow = !isHeld;
  }

  /** The handshake is over: any number of bytes may come. */
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
 * Has an exception at the start of the TLS layer end this connection only. The
 * platform starts it outside of every promise, so the exception would end the
 * process: a failure inside the start takes away what the start goes on with.
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

/** What an error says. */
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
