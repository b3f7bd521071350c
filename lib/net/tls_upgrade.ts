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
import {
  connect,
  type DetailedPeerCertificate,
  type SecureContext,
  TLSSocket,
} from "node:tls";
import { Certificate } from "../tls/certificate.ts";
import { CertificateSet, CertificateSource } from "../tls/set.ts";
import { canonicalHost, isAddress } from "../tls/host_name.ts";
import {
  type ClientCertificatePolicy,
  clientContext,
  secureContext,
  type TlsPolicy,
} from "../tls/context.ts";
import {
  errorText,
  Handshake,
  type TlsHandshakeOptions,
} from "./tls_handshake.ts";
import type { TlsInfo, Transport } from "./transport.ts";

/** Authorities beyond this many in a chain are left out. */
const MAX_CHAIN = 10;

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
 * wants it verified looks at `authorizationError` before the first byte.
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
  const name = canonicalHost(serverName);
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
