/**
 * A `Deno.Conn` as a {@linkcode Transport}: plain TCP of `Deno.listen` and
 * `Deno.connect`, and TLS of `Deno.listenTls`. Also opens outgoing connections,
 * and owns the time limit of connecting; `tls_upgrade.ts` adds TLS.
 *
 * Connects to the given address. Makes no DNS queries of its own; the platform
 * resolves a host name.
 */

import {
  type SocketAddress,
  type TlsInfo,
  type Transport,
  unmapped,
} from "./transport.ts";

const NOTHING = new Uint8Array(0) as Uint8Array;

/** Carries a session over a `Deno.Conn`. */
export class DenoTransport implements Transport {
  /** The other end. */
  readonly remote: SocketAddress;
  /** This end. */
  readonly local: SocketAddress;
  /** The encryption in force. */
  readonly tls: TlsInfo | undefined;
  readonly #conn: Deno.Conn;
  #closed = false;
  /** Bytes of the pending write. */
  #bytes = NOTHING;
  /** Made once: an async function for each write would cost 2 % of a message's time. */
  readonly #onWritten = (count: number): void | Promise<void> => {
    if (count < this.#bytes.length) return this.#writeRest(count);
  };

  /**
   * Wraps a connection.
   *
   * @param options `tls`: the encryption, if the connection has one;
   * `isLeisurely`: whether TCP_NODELAY stays off until {@linkcode Transport.hurry}
   */
  constructor(
    conn: Deno.Conn,
    options: {
      readonly tls?: TlsInfo;
      readonly isLeisurely?: boolean;
    } = {},
  ) {
    this.#conn = conn;
    this.tls = options.tls;
    this.remote = socketAddress(conn.remoteAddr);
    this.local = socketAddress(conn.localAddr);
    if (!options.isLeisurely) this.hurry();
  }

  /** See {@linkcode Transport.hurry}. */
  hurry(): void {
    // Replies are complete when they are written: delaying them only costs time.
    if ("setNoDelay" in this.#conn) {
      (this.#conn as Deno.TcpConn).setNoDelay(true);
    }
  }

  /** See {@linkcode Transport.read}. */
  read(buffer: Uint8Array): Promise<number | null> {
    return this.#conn.read(buffer);
  }

  /** See {@linkcode Transport.write}. */
  write(bytes: Uint8Array): Promise<void> {
    this.#bytes = bytes;
    return this.#conn.write(bytes).then(this.#onWritten);
  }

  async #writeRest(written: number): Promise<void> {
    const bytes = this.#bytes;
    while (written < bytes.length) {
      written += await this.#conn.write(bytes.subarray(written));
    }
  }

  /** See {@linkcode Transport.close}. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    try {
      this.#conn.close();
    } catch {
      // The peer has closed it already.
    }
  }
}

/** Observes handshakes of the platform's TLS, which cannot be aborted. */
export interface HandshakeWatch {
  /** Called when the handshake of a connection from this address begins. */
  begun(address: string): void;
  /** Called when the handshake of a connection from this address has ended. */
  ended(address: string): void;
  /** Called for a connection that is closed before that: its socket stays open until the client closes it. */
  stalled(): void;
}

/** Carries a session over a connection of `Deno.listenTls`. */
export class DenoTlsTransport extends DenoTransport {
  readonly #conn: Deno.TlsConn;
  readonly #timeoutMs: number;
  readonly #watch: HandshakeWatch | undefined;
  /** Whether the handshake may still keep the socket open. */
  #isUnderWay = true;

  /**
   * Wraps a connection whose handshake is pending.
   *
   * @param options Time limit of the handshake, in ms; this end's certificate in
   * DER; the observer of the handshake
   */
  constructor(
    conn: Deno.TlsConn,
    options: {
      readonly handshakeTimeoutMs: number;
      readonly ownCertificate?: Uint8Array | undefined;
      readonly watch?: HandshakeWatch | undefined;
    },
  ) {
    const { handshakeTimeoutMs, ownCertificate } = options;
    // The platform reports neither version nor cipher.
    super(conn, {
      tls: { protocol: "TLS", cipher: "", authorized: false, ownCertificate },
    });
    this.#conn = conn;
    this.#timeoutMs = handshakeTimeoutMs;
    this.#watch = options.watch;
    this.#watch?.begun(this.remote.address);
  }

  /**
   * See {@linkcode Transport.handshake}.
   *
   * @throws {Deno.errors.TimedOut} If the time limit is exceeded; the connection
   * is closed, but its socket stays open until the client closes it, too
   */
  async handshake(): Promise<void> {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.close();
    }, this.#timeoutMs);
    try {
      await this.#conn.handshake();
      this.#end();
    } catch (error) {
      if (!late) {
        this.#end();
        throw error;
      }
      throw new Deno.errors.TimedOut(
        `Cannot complete the TLS handshake: not done within ${this.#timeoutMs} ms`,
      );
    } finally {
      clearTimeout(timer);
    }
  }

  #end(): void {
    if (!this.#isUnderWay) return;
    this.#isUnderWay = false;
    this.#watch?.ended(this.remote.address);
  }

  /** See {@linkcode Transport.close}. */
  override close(): void {
    if (this.#isUnderWay) {
      this.#isUnderWay = false;
      this.#watch?.stalled();
    }
    super.close();
  }
}

/** The address of one end; an IPv4-mapped IPv6 address becomes IPv4. */
export function socketAddress(address: Deno.Addr): SocketAddress {
  if (!("port" in address)) return { address: address.transport, port: 0 };
  const { hostname, port } = address as Deno.NetAddr;
  return { address: unmapped(hostname), port };
}

/** The end and the time of a connection that is being opened. */
interface ConnectLimits {
  /** Time limit of connecting, in milliseconds. */
  readonly timeoutMs: number;
  /** Ends the attempt; the promise then rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** Options of {@linkcode connectTcp}. */
export interface ConnectTcpOptions extends ConnectLimits {
  /** An IP address without brackets, or a host name. */
  readonly host: string;
  /** The port. */
  readonly port: number;
}

/** Options of {@linkcode connectUnix}. */
export interface ConnectUnixOptions extends ConnectLimits {
  /** The path of the socket. */
  readonly path: string;
}

/** Opens a connection: the type of {@linkcode connectTcp} and its replacements. */
export type ConnectTransport = (
  options: ConnectTcpOptions,
) => Promise<Transport>;

/**
 * Connects. Requires `allow-net`.
 *
 * @throws {Deno.errors.TimedOut} If it takes longer than `timeoutMs`
 * @throws {Error} If the platform cannot connect, with its own error class
 */
export function connectTcp(options: ConnectTcpOptions): Promise<Transport> {
  const { host, port } = options;
  return connect(
    `"${host}" port ${port}`,
    options,
    (signal) => Deno.connect({ hostname: host, port, signal }),
  );
}

/**
 * Connects to a unix socket. Requires `allow-net=unix:PATH`, and `allow-read` and
 * `allow-write` for the path.
 *
 * @throws {Deno.errors.TimedOut} If it takes longer than `timeoutMs`
 * @throws {Error} If the platform cannot connect, with its own error class
 */
export function connectUnix(options: ConnectUnixOptions): Promise<Transport> {
  const { path } = options;
  return connect(
    `"${path}"`,
    options,
    () => Deno.connect({ transport: "unix", path }),
  );
}

/** Opens a connection within its limits. */
async function connect(
  place: string,
  { timeoutMs, signal }: ConnectLimits,
  open: (signal: AbortSignal) => Promise<Deno.Conn>,
): Promise<Transport> {
  signal?.throwIfAborted();
  const controller = new AbortController();
  // Deno 2.9 checks the signal again after it has connected, and then drops the
  // open connection without closing it.
  controller.signal.throwIfAborted = () => {};
  const timer = setTimeout(() => controller.abort(), timeoutMs);
  const onAbort = () => controller.abort();
  signal?.addEventListener("abort", onAbort);
  try {
    const conn = await open(controller.signal);
    if (!controller.signal.aborted) return new DenoTransport(conn);
    conn.close();
  } catch (error) {
    if (!controller.signal.aborted) throw error;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
  }
  signal?.throwIfAborted();
  throw new Deno.errors.TimedOut(
    `Cannot connect to ${place}: not done within ${timeoutMs} ms`,
  );
}
