/**
 * The datagram behind {@link ./verdict.ts}: sends one question to one name
 * server and waits for its answer. `node:dgram` carries it because Deno's own
 * datagrams need a flag that a library cannot set.
 *
 * Never outlives its signal, and leaves no socket behind.
 */

import { createSocket, type Socket } from "node:dgram";
import { canonicalIp } from "../protocol/ip.ts";
import type { NameServer } from "./name_server.ts";
import {
  type DnsQuestion,
  type DnsVerdict,
  encodeQuestion,
  readVerdict,
} from "./verdict.ts";

/** What {@linkcode DnsConfirm} is told beside the question. */
export interface DnsConfirmOptions {
  /** The name server to ask. */
  readonly server: NameServer;
  /** Ends the wait; the promise then rejects with the signal's reason. */
  readonly signal: AbortSignal;
}

/** Finds out why a name server had no records. Rejects if it cannot be asked. */
export type DnsConfirm = (
  question: DnsQuestion,
  options: DnsConfirmOptions,
) => Promise<DnsVerdict>;

/** Asks a name server over UDP why it had no records. Requires `allow-net`. */
export function confirmByDatagram(
  question: DnsQuestion,
  options: DnsConfirmOptions,
): Promise<DnsVerdict> {
  return askByDatagram(question, options, readVerdict);
}

/**
 * Asks a name server over UDP. Requires `allow-net`.
 *
 * @param question The question
 * @param options The name server, and what ends the wait
 * @param read Reads an answer; `undefined` for what is none, which is passed over
 */
export function askByDatagram<T>(
  question: DnsQuestion,
  options: DnsConfirmOptions,
  read: (answer: Uint8Array, asked: Uint8Array) => T | undefined,
): Promise<T> {
  const { server, signal } = options;
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  if (signal.aborted) return Promise.reject(signal.reason);
  const [id] = crypto.getRandomValues(new Uint16Array(1));
  const asked = encodeQuestion(question, { id: id! });
  const family = server.address.includes(":") ? "udp6" : "udp4";
  const socket: Socket = createSocket(family);
  const abort = () => reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  socket.on("error", reject);
  socket.on("message", (bytes: Uint8Array, from) => {
    // Anybody can send to the port: only the server that was asked counts.
    if (from.port !== server.port) return;
    if (canonicalIp(from.address) !== server.address) return;
    const got = read(bytes, asked);
    if (got !== undefined) resolve(got);
  });
  socket.send(asked, server.port, server.address, (error: Error | null) => {
    if (error) reject(error);
  });
  return promise.finally(() => {
    signal.removeEventListener("abort", abort);
    socket.close();
  });
}
