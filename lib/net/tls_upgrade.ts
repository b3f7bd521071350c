/**
 * Starts TLS on an open connection: STARTTLS on both sides, and implicit TLS
 * if the platform's own listener does not suffice.
 *
 * Takes over the transport: after the call only the new transport may use it.
 * It is closed with the new one, or when the handshake fails. The caller must
 * have stopped reading before, and must discard all bytes read after STARTTLS
 * ({@link https://www.rfc-editor.org/rfc/rfc3207#section-4 | RFC 3207 section 4}).
 *
 * {@link https://www.rfc-editor.org/rfc/rfc8446 | RFC 8446}
 */

import { Buffer } from "node:buffer";
import {
  connect,
  type DetailedPeerCertificate,
  type SecureContext,
  TLSSocket,
} from "node:tls";
import { errorMessage } from "../log.ts";
import { Certificate } from "../tls/certificate.ts";
import { CertificateSet, CertificateSource } from "../tls/set.ts";
import { canonicalHost, isAddress } from "../tls/host_name.ts";
import {
  type ClientCertificatePolicy,
  clientContext,
  secureContext,
  type TlsPolicy,
} from "../tls/context.ts";
import { Handshake, type TlsHandshakeOptions } from "./tls_stream.ts";
import type { TlsInfo, Transport } from "./transport.ts";

/** Certificates of a peer's chain that are used, at most. */
const MAX_CHAIN = 10;

/** Options of {@linkcode upgradeServer}. */
export interface UpgradeServerOptions extends TlsHandshakeOptions {
  /** The certificates to serve with; of a source, its content when the handshake begins. */
  certificates: Certificate | CertificateSet | CertificateSource;
  /** Whether to ask the client for a certificate. Default: no. */
  clientCertificate?: ClientCertificatePolicy | undefined;
}

/** Options of {@linkcode upgradeClient}. */
export interface UpgradeClientOptions extends TlsHandshakeOptions {
  /** The host name or IP address that the server's certificate must cover; a name is sent to the server (SNI). */
  serverName: string;
  /** The certificate to present if the server asks for one. */
  clientCertificate?: Certificate | undefined;
  /** The authorities that may sign the server's certificate. Default: the platform's. */
  trusted?: readonly Certificate[] | undefined;
}

/** The result of {@linkcode upgradeClient}. */
export interface UpgradedClient {
  /** The encrypted connection. */
  readonly transport: Transport;
  /** The server's certificate and chain, without keys. */
  readonly certificate: Certificate;
  /** The reason not to trust the certificate, in one line; `undefined` if it is trusted. */
  readonly authorizationError: string | undefined;
}

/**
 * Makes the server's side of a handshake on `inner`.
 *
 * @throws {Deno.errors.TimedOut} If the handshake exceeds its time limit
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
      // Verified below: a refusal inside the handshake would look like a broken handshake.
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
 * Makes the client's side of a handshake on `inner`. An untrusted certificate
 * does not fail the handshake: opportunistic TLS goes on with it. A caller that
 * requires a trusted one checks `authorizationError` before the first byte.
 *
 * @throws {Deno.errors.TimedOut} If the handshake exceeds its time limit
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
  const name = canonicalHost(serverName);
  const handshake = new Handshake(inner, options);
  return await handshake.run("secureConnect", (stream) =>
    connect({
      socket: stream,
      rejectUnauthorized: false,
      secureContext: clientCertificate === undefined
        ? clientContext(policy)
        : secureContext(clientCertificate, policy),
      // The name is compared below, by the rules of `nameCovers()`.
      checkServerIdentity: () => undefined,
      ...(name !== undefined && !isAddress(name) && { servername: name }),
    }), (socket) => {
    const certificate = Certificate.fromDer(peerChain(socket));
    const platformError = socket.authorized
      ? undefined
      : `Certificate is not trusted: ${
        errorMessage(socket.authorizationError)
      }`;
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
      found.then(answer).catch(fail).then(options.nudge)
        .catch(() => {});
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
 * Whether the platform verified the client's certificate. For a `TLSSocket`
 * made by its constructor only the TLS layer below knows; if it does not say,
 * the answer is no.
 */
function verified(socket: TLSSocket): boolean {
  const { ssl } = socket as { ssl?: { verifyError?(): unknown } };
  return typeof ssl?.verifyError === "function" && !ssl.verifyError();
}

/** The peer's certificate and the issuers that it sent, in DER. */
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
 * The first problem of the certificate's dates or names, in one line. The
 * platform's verdict does not report an expired certificate.
 */
function ownProblem(
  certificate: Certificate,
  host?: string,
): string | undefined {
  // Issuers are not checked: authorities send expired roots along.
  const [problem] = Certificate.fromDer(certificate.der).verify({ host });
  return problem?.message;
}
