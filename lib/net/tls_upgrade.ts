/**
 * Puts TLS onto a connection that is open already: STARTTLS on both sides, and
 * TLS from the first byte where the platform's own listener is not enough.
 *
 * Takes the transport over: from the call on nobody else may use it, and it is
 * closed with the new one, or when the handshake fails. Whoever calls must have
 * stopped reading before, and must throw away what was read beyond STARTTLS
 * ({@link https://www.rfc-editor.org/rfc/rfc3207#section-4 | RFC 3207 section 4}).
 *
 * {@link https://www.rfc-editor.org/rfc/rfc8446 | RFC 8446}
 */

import { Buffer } from "node:buffer";
import type { Socket } from "node:net";
import {
  connect,
  type DetailedPeerCertificate,
  type SecureContext,
  TLSSocket,
} from "node:tls";
import { Certificate } from "../tls/certificate.ts";
import { CertificateSet, CertificateSource } from "../tls/certificate_set.ts";
import { isAddress, normalizeName } from "../tls/host_name.ts";
import {
  type ClientCertificatePolicy,
  clientContext,
  secureContext,
  type TlsPolicy,
  type TlsVersion,
} from "../tls/tls_context.ts";
import { NodeTransport } from "./node_transport.ts";
import { TransportStream } from "./tls_stream.ts";
import type { TlsInfo, Transport } from "./transport.ts";

/**
 * A record with the fatal alert handshake_failure
 * ({@link https://www.rfc-editor.org/rfc/rfc8446#section-6 | RFC 8446 section 6}).
 */
const HANDSHAKE_FAILURE = Uint8Array.of(0x15, 3, 3, 0, 2, 2, 40);

/** Authorities beyond this many in a chain are left out. */
const MAX_CHAIN = 10;

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

/** Options of {@linkcode upgradeServer}. */
export interface UpgradeServerOptions extends TlsHandshakeOptions {
  /** What to serve with; of a source, what is in it when the handshake begins. */
  certificates: Certificate | CertificateSet | CertificateSource;
  /** Whether the client is asked for a certificate; not asked when not given. */
  clientCertificate?: ClientCertificatePolicy | undefined;
}

/** Options of {@linkcode upgradeClient}. */
export interface UpgradeClientOptions extends TlsHandshakeOptions {
  /** The host name, or IP address, that the server's certificate must be for; a name is sent to the server (SNI). */
  serverName: string;
  /** The certificate to present where the server asks for one. */
  clientCertificate?: Certificate | undefined;
  /** The authorities that vouch for the server; the platform's own when not given. */
  trusted?: readonly Certificate[] | undefined;
}

/** What {@linkcode upgradeClient} resolves with. */
export interface UpgradedClient {
  /** The encrypted connection. */
  readonly transport: Transport;
  /** The server's certificate and chain, without keys. */
  readonly certificate: Certificate;
  /** Why the certificate is not to be trusted, in one line; `undefined` if it is. */
  readonly authorizationError: string | undefined;
}

/**
 * The server's side of a handshake on `inner`.
 *
 * @throws {Deno.errors.TimedOut} If the handshake takes too long
 * @throws {Deno.errors.ConnectionAborted} If it fails, or a required client certificate is missing or not trusted; `inner` is closed
 *
 * @example
 * ```ts ignore
 * const secured = await upgradeServer(transport, {
 *   certificates: certificate,
 *   handshakeTimeoutMs: 30_000,
 * });
 * console.log(secured.tls?.protocol, secured.tls?.cipher);
 * ```
 */
export async function upgradeServer(
  inner: Transport,
  options: UpgradeServerOptions,
): Promise<Transport> {
  const { clientCertificate, minVersion } = options;
  const mode = clientCertificate?.mode ?? "none";
  const policy: TlsPolicy = { minVersion, trusted: clientCertificate?.trusted };
  const certificates = snapshot(options.certificates);
  inner.hurry?.();
  const handshake = await Handshake.over(inner, options);
  const { fallback } = certificates;
  let used = fallback;
  return await handshake.run("secure", (stream) => {
    return new TLSSocket(stream, {
      isServer: true,
      requestCert: mode !== "none",
      // Verified below: a refusal inside the handshake could not be told from a broken one.
      rejectUnauthorized: false,
      ...(fallback && { secureContext: secureContext(fallback, policy) }),
      ...(certificates.dependsOnName &&
        {
          SNICallback: chooseContext(certificates, {
            policy,
            nudge: () => handshake.nudge(),
            onChosen: (certificate) => used = certificate,
          }),
        }),
    });
  }, (socket) => {
    const tls = {
      ...serverInfo(socket, mode !== "none"),
      ownCertificate: used?.der,
    };
    if (mode === "require" && !tls.authorized) {
      throw new Deno.errors.ConnectionAborted(
        tls.peerCertificate === undefined
          ? "Cannot complete the TLS handshake: the client presented no certificate"
          : "Cannot complete the TLS handshake: the client's certificate is not trusted",
      );
    }
    return handshake.transport(socket, tls);
  });
}

/**
 * The client's side of a handshake on `inner`. A certificate that is not to be
 * trusted does not fail it: opportunistic TLS goes on with it, and anyone who
 * wants it verified looks at `authorizationError` before the first octet.
 *
 * @throws {Deno.errors.TimedOut} If the handshake takes too long
 * @throws {Deno.errors.ConnectionAborted} If it fails; `inner` is closed
 *
 * @example
 * ```ts ignore
 * const { transport, authorizationError } = await upgradeClient(plain, {
 *   serverName: "mx.example",
 *   handshakeTimeoutMs: 30_000,
 * });
 * if (authorizationError !== undefined) transport.close();
 * ```
 */
export async function upgradeClient(
  inner: Transport,
  options: UpgradeClientOptions,
): Promise<UpgradedClient> {
  const { serverName, clientCertificate, minVersion, trusted } = options;
  const policy: TlsPolicy = { minVersion, trusted };
  const name = normalizeName(serverName);
  const handshake = new Handshake(inner, options);
  return await handshake.run("secureConnect", (stream) =>
    connect({
      socket: stream,
      rejectUnauthorized: false,
      secureContext: clientCertificate === undefined
        ? clientContext(policy)
        : secureContext(clientCertificate, policy),
      // The name is compared below, by the one set of rules that this module has.
      checkServerIdentity: () => undefined,
      ...(name !== undefined && !isAddress(name) && { servername: name }),
    }), (socket) => {
    const certificate = Certificate.fromDer(peerChain(socket));
    const platformError = socket.authorized
      ? undefined
      : `Certificate is not trusted: ${errorText(socket.authorizationError)}`;
    const errors = [ownProblem(certificate, serverName), platformError]
      .filter((text) => text !== undefined);
    const authorizationError = errors.length === 0
      ? undefined
      : errors.join("; ");
    const transport = handshake.transport(socket, {
      ...sharedInfo(socket),
      serverName: name,
      peerCertificate: certificate.der,
      authorized: authorizationError === undefined,
    });
    return { transport, certificate, authorizationError };
  });
}

/** One handshake: what it waits for, and how it ends. */
class Handshake {
  readonly #inner: Transport;
  readonly #options: TlsHandshakeOptions;
  readonly #stream: TransportStream | Socket;
  #fail: (error: unknown) => void = () => {};

  constructor(
    inner: Transport,
    options: TlsHandshakeOptions,
    socket?: Socket,
  ) {
    this.#inner = inner;
    this.#options = options;
    const onEnd = () => this.#fail(aborted("the peer closed the connection"));
    this.#stream = socket ?? new TransportStream(inner, onEnd);
    socket?.once("end", onEnd);
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
        // Octets after the handshake may follow at once: nothing may come between.
        begun.once(event, () => {
          try {
            resolve(finish(begun));
            this.#holdBelow(false);
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

function snapshot(
  certificates: Certificate | CertificateSet | CertificateSource,
): CertificateSet {
  if (certificates instanceof CertificateSet) return certificates;
  return certificates instanceof CertificateSource
    ? certificates.current
    : new CertificateSet([certificates]);
}

type SniCallback = (
  serverName: string,
  callback: (error: Error | null, context?: SecureContext) => void,
) => void;

function chooseContext(
  certificates: CertificateSet,
  options: {
    readonly policy: TlsPolicy;
    readonly nudge: () => void;
    readonly onChosen: (certificate: Certificate) => void;
  },
): SniCallback {
  return (serverName, callback) => {
    const fail = (error: unknown) =>
      callback(error instanceof Error ? error : new Error(String(error)));
    const answer = (certificate: Certificate | undefined) => {
      if (certificate === undefined) {
        throw new Error(`No certificate for the name "${serverName}"`);
      }
      options.onChosen(certificate);
      callback(null, secureContext(certificate, options.policy));
    };
    try {
      const found = certificates.select(serverName);
      if (!(found instanceof Promise)) return answer(found);
      found.then(answer).catch(fail).then(options.nudge);
    } catch (error) {
      fail(error);
    }
  };
}

function sharedInfo(socket: TLSSocket): Pick<TlsInfo, "protocol" | "cipher"> {
  return {
    protocol: socket.getProtocol() ?? "",
    cipher: socket.getCipher()?.standardName ?? "",
  };
}

function serverInfo(socket: TLSSocket, asked: boolean): TlsInfo {
  const peerCertificate = asked ? peerChain(socket)[0] : undefined;
  const { servername } = socket as { servername?: string | false | null };
  return {
    ...sharedInfo(socket),
    serverName: servername || undefined,
    peerCertificate,
    authorized: peerCertificate !== undefined && verified(socket) &&
      ownProblem(Certificate.fromDer(peerCertificate)) === undefined,
  };
}

/**
 * Whether the platform verified the client's certificate. On a server's
 * socket made by hand only the TLS layer below tells; where it does not, the
 * answer is no.
 */
function verified(socket: TLSSocket): boolean {
  const { ssl } = socket as { ssl?: { verifyError?(): unknown } };
  return typeof ssl?.verifyError === "function" && !ssl.verifyError();
}

/** The peer's certificate and those it sent along, in DER. */
function peerChain(socket: TLSSocket): Uint8Array[] {
  const chain: Uint8Array[] = [];
  let next: DetailedPeerCertificate | undefined = socket.getPeerCertificate(
    true,
  );
  while (next?.raw !== undefined && chain.length < MAX_CHAIN) {
    const raw = next.raw;
    if (chain.some((seen) => Buffer.compare(raw, seen) === 0)) break;
    chain.push(Uint8Array.from(raw));
    next = next.issuerCertificate;
  }
  return chain;
}

/**
 * What is wrong with the certificate itself, its dates or its names, in one
 * line. The platform's verdict has no word for a time that is over.
 */
function ownProblem(
  certificate: Certificate,
  host?: string,
): string | undefined {
  // Others of the chain may be over: authorities send old roots along.
  const [problem] = Certificate.fromDer(certificate.der).verify({ host });
  return problem?.message;
}

function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function aborted(reason: string, cause?: unknown): Error {
  return new Deno.errors.ConnectionAborted(
    `Cannot complete the TLS handshake: ${reason}`,
    { cause },
  );
}

function timedOut(limit: number): Error {
  return new Deno.errors.TimedOut(
    `Cannot complete the TLS handshake: not done within ${limit} ms`,
  );
}
