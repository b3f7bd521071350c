/**
 * The view of a connection that sessions and clients have: bytes in, bytes out,
 * close. Its errors have the same classes whatever carries the bytes. Only this
 * folder knows whether that is a `Deno.Conn`, a `node:` stream, TLS or a pair
 * in memory.
 */

/** An IP address and port, as `{ address: "192.0.2.1", port: 25 }`. */
export interface SocketAddress {
  /** The IP address, without brackets; `"unix"`, `"memory"` and the like for other transports. */
  readonly address: string;
  /** The port; 0 for a transport without ports. */
  readonly port: number;
}

/** The text of an address of the platform: a dual-stack socket reports IPv4 peers with IPv4-mapped IPv6 addresses. */
export function unmapped(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, "");
}

/**
 * Properties of a connection's encryption.
 *
 * @example Only clients with a verified certificate
 * ```ts
 * import type { SmtpHandlers, TlsInfo } from "@smtp/server";
 *
 * const isVerified = (tls: TlsInfo | undefined) => tls?.authorized === true;
 * const handlers: SmtpHandlers = {
 *   onMailFrom: (session) => isVerified(session.tls),
 * };
 * console.assert(handlers.onMailFrom !== undefined);
 * ```
 */
export interface TlsInfo {
  /** The protocol, as `"TLSv1.3"`. */
  readonly protocol: string;
  /** The cipher suite's IANA name, as `"TLS_AES_256_GCM_SHA384"`; empty if the platform does not report it. */
  readonly cipher: string;
  /** The server name that the client asked for (SNI), if any. */
  readonly serverName?: string | undefined;
  /** This end's certificate in DER, if the platform reports it. */
  readonly ownCertificate?: Uint8Array | undefined;
  /** The peer's certificate in DER, if it presented one. */
  readonly peerCertificate?: Uint8Array | undefined;
  /** Whether the peer's certificate was verified against the trusted roots. */
  readonly authorized: boolean;
}

/**
 * A connection, as sessions and clients see it.
 *
 * @example Serve a connection that came through no listener
 * ```ts
 * import {
 *   type ServeOptions,
 *   SmtpServer,
 *   type SocketAddress,
 *   type Transport,
 * } from "@smtp/server";
 * import { DiscardStore } from "@smtp/server/store";
 *
 * const end = ({ hostname, port }: Deno.NetAddr): SocketAddress => ({
 *   address: hostname,
 *   port,
 * });
 * const transport = (connection: Deno.TcpConn): Transport => ({
 *   remote: end(connection.remoteAddr),
 *   local: end(connection.localAddr),
 *   tls: undefined,
 *   read: (buffer) => connection.read(buffer),
 *   async write(bytes) {
 *     for (let at = 0; at < bytes.length;) {
 *       at += await connection.write(bytes.subarray(at));
 *     }
 *   },
 *   close: () => connection.close(),
 * });
 *
 * await using server = new SmtpServer({ listen: [], store: new DiscardStore() });
 * await server.start();
 * using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * const { port } = listener.addr as Deno.NetAddr;
 * using client = await Deno.connect({ port });
 * const options: ServeOptions = { kind: "lmtp" };
 * const session = server.serve(transport(await listener.accept()), options);
 * await client.write(new TextEncoder().encode("QUIT\r\n"));
 * await session;
 * ```
 */
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
   * Writes all of `bytes`. The caller must not change them until the promise
   * resolves. One write at a time.
   */
  write(bytes: Uint8Array): Promise<void>;
  /**
   * Sends each later write at once (TCP_NODELAY). Before this call a write may
   * wait until the peer has acknowledged the previous one. Costs 5 us, and saves
   * nothing as long as the two sides take turns.
   */
  hurry?(): void;
  /** Waits for the TLS handshake, if the connection has one pending. */
  handshake?(): Promise<void>;
  /** Closes at once, in both directions. A read or write under way rejects. Idempotent. */
  close(): void;
}

/** Whether an error of the transport only means that the client has disconnected. */
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

/** The classes of `Deno` for error codes of `node:net`. */
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

/** An error of `node:net` in the class that `Deno` would throw; the error itself if there is no such class. */
export function platformError(error: Error): Error {
  const { code } = error as { code?: unknown };
  const ErrorClass = CLASSES.get(code);
  if (ErrorClass === undefined) return error;
  const message = code === "EADDRINUSE"
    ? "Address already in use"
    : error.message;
  return new ErrorClass(message, { cause: error });
}
