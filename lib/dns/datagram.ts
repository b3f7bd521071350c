/**
 * Sends one question to one name server, and waits for the answer: over UDP, and
 * over TCP if the answer does not fit into a datagram. `node:dgram` carries the
 * datagrams because those of Deno require a flag that a library cannot set.
 *
 * Never trusts a datagram: only the answer of the asked server to this question
 * counts, and its number is random, as is the port that it must reach. Never
 * outlives its signal, and leaves no socket behind.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc1035#section-4.2 | RFC 1035 section 4.2},
 * {@link https://www.rfc-editor.org/rfc/rfc5452#section-9 | RFC 5452 section 9},
 * {@link https://www.rfc-editor.org/rfc/rfc7766 | RFC 7766}
 */

import { createSocket, type Socket } from "node:dgram";
import { canonicalIp } from "../protocol/ip.ts";
import {
  type DnsMessage,
  type DnsQuestion,
  encodeQuestion,
  readMessage,
} from "./dns_message.ts";
import type { DnsAsk, DnsAskOptions } from "./seams.ts";

/**
 * Asks one question. Requires `allow-net` for the name server, and `0.0.0.0:0` or
 * `[::]:0` to ask over UDP: without that all is asked over TCP.
 *
 * @throws The signal's reason if the signal fired first
 */
export const askServer: DnsAsk = async (question, options) => {
  if (!maySendDatagrams(options)) return await askByStream(question, options);
  const message = await askByDatagram(question, options);
  return message.truncated ? await askByStream(question, options) : message;
};

/**
 * Whether a port may be opened for the answer.
 *
 * Danger: where it may not, `node:dgram` throws outside of any call, which ends the
 * process. A program that may reach the name server only asks it over TCP.
 */
function maySendDatagrams({ server }: DnsAskOptions): boolean {
  const host = server.address.includes(":") ? "[::]:0" : "0.0.0.0:0";
  return Deno.permissions.querySync({ name: "net", host }).state === "granted";
}

function encode(
  question: DnsQuestion,
  { edns }: DnsAskOptions,
): Uint8Array {
  const [id] = crypto.getRandomValues(new Uint16Array(1));
  return encodeQuestion(question, { id: id!, edns });
}

/** Asks over UDP. */
function askByDatagram(
  question: DnsQuestion,
  options: DnsAskOptions,
): Promise<DnsMessage> {
  const { server, signal } = options;
  const { promise, resolve, reject } = Promise.withResolvers<DnsMessage>();
  if (signal.aborted) return Promise.reject(signal.reason);
  const asked = encode(question, options);
  const family = server.address.includes(":") ? "udp6" : "udp4";
  const socket: Socket = createSocket(family);
  const abort = () => reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  socket.on("error", reject);
  socket.on("message", (bytes: Uint8Array, from) => {
    // Any host can send to the port: only datagrams of the asked server count.
    if (from.port !== server.port) return;
    if (canonicalIp(from.address) !== server.address) return;
    const message = readMessage(bytes, asked);
    if (message !== undefined) resolve(message);
  });
  socket.send(asked, server.port, server.address, (error: Error | null) => {
    if (error) reject(error);
  });
  return promise.finally(() => {
    signal.removeEventListener("abort", abort);
    socket.close();
  });
}

/** Asks over TCP. */
async function askByStream(
  question: DnsQuestion,
  options: DnsAskOptions,
): Promise<DnsMessage> {
  const { server, signal } = options;
  signal.throwIfAborted();
  const asked = encode(question, options);
  const conn = await Deno.connect({
    hostname: server.address,
    port: server.port,
    signal,
  });
  const end = () => conn.close();
  signal.addEventListener("abort", end, { once: true });
  try {
    const out = new Uint8Array([asked.length >> 8, asked.length, ...asked]);
    for (let at = 0; at < out.length;) at += await conn.write(out.subarray(at));
    const [high, low] = await readFully(conn, 2);
    const answer = await readFully(conn, (high! << 8) | low!);
    const message = readMessage(answer, asked);
    if (message !== undefined) return message;
    throw new TypeError("The answer by TCP is not to the question");
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  } finally {
    signal.removeEventListener("abort", end);
    if (!signal.aborted) conn.close();
  }
}

async function readFully(conn: Deno.Conn, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length;) {
    const count = await conn.read(bytes.subarray(at));
    if (count === null) throw new Deno.errors.UnexpectedEof("Answer cut off");
    at += count;
  }
  return bytes;
}
