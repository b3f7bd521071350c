/**
 * The sockets that a server listens on, each with what its sessions have in
 * common.
 */

import { type ListenOptions, parseListen } from "../net/listen_options.ts";
import { Listener } from "../net/listener.ts";
import type { SessionContext } from "../session/context.ts";
import { Certificate } from "../tls/certificate.ts";
import type { SmtpServerOptions } from "./options.ts";

/** A socket that listens, and what its sessions have in common. */
export interface OpenListener {
  /** The socket; another one after it was bound again. */
  listener: Listener;
  /** What was asked for. */
  readonly listen: ListenOptions;
  /** What its sessions have in common. */
  context: SessionContext;
  /** Ends when the socket is closed and the port free. */
  accepting?: Promise<void>;
}

/**
 * Binds one.
 *
 * @throws {Deno.errors.AddrInUse} If something listens there already
 */
export function openListener(
  listen: ListenOptions,
  options: SmtpServerOptions,
  context: SessionContext,
): OpenListener {
  const { host, port = 25 } = listen;
  const { certificate, clientCertificate, handshakeTimeoutMs } = options;
  // One certificate that nobody can exchange: the platform's own TLS, which
  // is about twice as fast.
  const native = context.implicitTls && certificate instanceof Certificate &&
    clientCertificate === undefined;
  const listener = Listener.open({
    host,
    port,
    tls: native
      ? {
        certificate: certificate.toPem(),
        key: certificate.keyPem(),
        der: certificate.der,
        handshakeTimeoutMs: handshakeTimeoutMs ?? 30_000,
      }
      : undefined,
  });
  return { listener, listen, context };
}

/**
 * Where to listen, as a list.
 *
 * @throws {SyntaxError} If a text cannot be read
 */
export function wantedListeners(
  listen: SmtpServerOptions["listen"] = ":25",
): readonly ListenOptions[] {
  const entries = isList(listen) ? listen : [listen];
  return entries.map((entry) =>
    typeof entry === "string" ? parseListen(entry) : entry
  );
}

function isList(
  listen: NonNullable<SmtpServerOptions["listen"]>,
): listen is readonly (string | ListenOptions)[] {
  return Array.isArray(listen);
}
