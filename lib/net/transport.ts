/**
 * The one view of a connection that sessions and clients have: bytes in, bytes
 * out, close; and the errors of it, the same classes whatever carries the bytes.
 * Whether that is a `Deno.Conn`, a `node:` stream, TLS or a pair in memory is
 * decided in this folder and nowhere else.
 */

/** An IP address and port, as `{ address: "192.0.2.1", port: 25 }`. */
export interface SocketAddress {
  /** The IP address, without brackets; `"unix"`, `"memory"` and the like for others. */
  readonly address: string;
  /** The port, 0 where there is none. */
  readonly port: number;
}

/** What is known of a connection's encryption. */
export interface TlsInfo {
  /** The protocol, as `"TLSv1.3"`. */
  readonly protocol: string;
  /** The cipher suite's IANA name, as `"TLS_AES_256_GCM_SHA384"`; empty where the platform does not tell. */
  readonly cipher: string;
  /** The server name that the client asked for (SNI), if it did. */
  readonly serverName?: string | undefined;
  /** This end's certificate in DER, where the platform tells. */
  readonly ownCertificate?: Uint8Array | undefined;
  /** The peer's certificate in DER, if it presented one. */
  readonly peerCertificate?: Uint8Array | undefined;
  /** Whether the peer's certificate was verified against the trusted roots. */
  readonly authorized: boolean;
}

/** A connection, as sessions and clients see it. */
export interface Transport {
  /** The other end. */
  readonly remote: SocketAddress;
  /** This end. */
  readonly local: SocketAddress;
  /** The encryption in force, `undefined` on a plain connection. */
  readonly tls: TlsInfo | undefined;
  /**
   * Reads into `buffer`; resolves with the number of bytes read, at least 1,
   * or `null` at the end of the stream. One read at a time.
   */
  read(buffer: Uint8Array): Promise<number | null>;
  /**
   * Writes all of `bytes`. The caller leaves them alone until it resolves. One
   * write at a time.
   */
  write(bytes: Uint8Array): Promise<void>;
  /**
   * Each write goes out at once from here on (TCP_NODELAY): until then, one may
   * wait until the peer has acknowledged the one before. Costs 5 us, and saves
   * nothing where each side waits for the other in turn.
   */
  hurry?(): void;
  /** Waits for the handshake, where the connection has one to come. */
  handshake?(): Promise<void>;
  /** Closes at once, in both directions. A read or write under way rejects. Idempotent. */
  close(): void;
}

/** Whether an error of the transport only says that the client is gone. */
export function isConnectionError(error: unknown): boolean {
  return error instanceof Deno.errors.ConnectionReset ||
    error instanceof Deno.errors.ConnectionAborted ||
    error instanceof Deno.errors.BrokenPipe ||
    error instanceof Deno.errors.BadResource ||
    error instanceof Deno.errors.Interrupted ||
    error instanceof Deno.errors.UnexpectedEof ||
    error instanceof Deno.errors.NotConnected ||
    error instanceof Deno.errors.TimedOut;
}

type ErrorClass = new (message: string, options: ErrorOptions) => Error;

/** The class that `Deno` has for an error code of `node:net`. */
const CLASSES: ReadonlyMap<unknown, ErrorClass> = new Map<unknown, ErrorClass>([
  ["EACCES", Deno.errors.PermissionDenied],
  ["EADDRINUSE", Deno.errors.AddrInUse],
  ["ECANCELED", Deno.errors.ConnectionAborted],
  ["ECONNABORTED", Deno.errors.ConnectionAborted],
  ["ECONNRESET", Deno.errors.ConnectionReset],
  ["ENOTCONN", Deno.errors.NotConnected],
  ["EPIPE", Deno.errors.BrokenPipe],
  ["ETIMEDOUT", Deno.errors.TimedOut],
]);

/** An error of `node:net` as `Deno` would throw it; itself where there is no class for it. */
export function platformError(error: Error): Error {
  const { code } = error as { code?: unknown };
  const ErrorClass = CLASSES.get(code);
  if (ErrorClass === undefined) return error;
  const message = code === "EADDRINUSE"
    ? "Address already in use"
    : error.message;
  return new ErrorClass(message, { cause: error });
}
