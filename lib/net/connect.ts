/**
 * Outgoing TCP connections as a {@linkcode Transport}. Owns the time limit of
 * connecting; `tls_upgrade.ts` adds TLS.
 *
 * Connects to the given address. Makes no DNS queries of its own; the platform
 * resolves a host name.
 */

import { DenoTransport } from "./deno_transport.ts";
import type { Transport } from "./transport.ts";

/** Options of {@linkcode connectTcp}. */
export interface ConnectTcpOptions {
  /** An IP address without brackets, or a host name. */
  readonly host: string;
  /** The port. */
  readonly port: number;
  /** Time limit of connecting, in milliseconds. */
  readonly timeoutMs: number;
  /** Ends the attempt; the promise then rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
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
export async function connectTcp(
  options: ConnectTcpOptions,
): Promise<Transport> {
  const { host, port, timeoutMs, signal } = options;
  signal?.throwIfAborted();
  const controller = new AbortController();
  // Deno 2.9 checks the signal again after it has connected, and then drops the
  // open connection without closing it.
  controller.signal.throwIfAborted = () => {};
  const timer = setTimeout(() => controller.abort(), timeoutMs);
  const onAbort = () => controller.abort();
  signal?.addEventListener("abort", onAbort);
  try {
    const conn = await Deno.connect({
      hostname: host,
      port,
      signal: controller.signal,
    });
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
    `Cannot connect to "${host}" port ${port}: not done within ${timeoutMs} ms`,
  );
}
