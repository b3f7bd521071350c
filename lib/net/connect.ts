/**
 * Outgoing TCP connections as a {@linkcode Transport}. Owns the bound on how
 * long connecting may take; TLS is put on top elsewhere.
 *
 * Connects to the address it is given and never asks for names itself, beyond
 * what the platform does for a host name.
 */

import { DenoTransport } from "./deno_transport.ts";
import type { Transport } from "./transport.ts";

/** Options of {@linkcode connectTcp}. */
export interface ConnectTcpOptions {
  /** An IP address without brackets, or a host name. */
  readonly host: string;
  /** The port. */
  readonly port: number;
  /** How long connecting may take, in milliseconds. */
  readonly timeoutMs: number;
  /** Ends the attempt; it rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** Opens a connection: the type of {@linkcode connectTcp}, for those who bring their own. */
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
  // Deno 2.9 looks at the signal once more when it has connected, and would
  // throw the open connection away without closing it.
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
