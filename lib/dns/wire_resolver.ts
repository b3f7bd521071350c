/**
 * The DNS questions that this package sends itself, in two cases. First, the
 * platform's resolver refuses a label with an underscore inside
 * (`mx_1.example.com`), but such hosts accept mail. Second, the platform does
 * not say why an answer had no records: see {@link ./verdict.ts}. All other
 * questions go through the platform.
 *
 * A question goes out over UDP, and over TCP if the answer does not fit.
 * `node:dgram` carries the datagrams because those of Deno require a flag that
 * a library cannot set.
 *
 * Never trusts an answer: anything but the answer to the question is ignored,
 * and reading it terminates for all bytes. Never outlives its signal, and
 * leaves no socket behind.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc1035#section-4 | RFC 1035 section 4},
 * {@link https://www.rfc-editor.org/rfc/rfc7766 | RFC 7766}
 */

import { createSocket, type Socket } from "node:dgram";
import { canonicalIp } from "../protocol/ip.ts";
import type { DnsRecordType, MxRecord } from "./outcome.ts";
import type { DnsConfirmOptions, DnsResolver } from "./seams.ts";
import {
  type DnsQuestion,
  type DnsVerdict,
  encodeQuestion,
  readVerdict,
  skipName,
} from "./verdict.ts";

/** The bit of the header's third byte that marks a truncated answer. */
const TRUNCATED = 2;
/** Pointers in a name, at most: more of them form a loop. */
const MAX_POINTERS = 32;

/** `Deno.resolveDns`, and for names that it refuses a question over the wire. */
export const resolveAny: DnsResolver = (name, type, options) => {
  const { nameServer } = options;
  if (!isRefused(name, type) || nameServer === undefined) {
    return Deno.resolveDns(name, type as "A", options);
  }
  const { ipAddr: address, port = 53 } = nameServer;
  const signal = options.signal ?? new AbortController().signal;
  const question = { type, name: name.replace(/\.$/, "") };
  return resolveByWire(question, { server: { address, port }, signal });
};

/** Asks a name server over UDP why it had no records. Requires `allow-net`. */
export function confirmByDatagram(
  question: DnsQuestion,
  options: DnsConfirmOptions,
): Promise<DnsVerdict> {
  return askByDatagram(question, options, readVerdict);
}

/** An answer, and the bytes of its question. */
interface WireAnswer {
  readonly answer: Uint8Array;
  readonly asked: Uint8Array;
}

/** The record types for mail, with the reader of the data of each. */
const READERS = {
  A: readIpv4,
  AAAA: readIpv6,
  MX: readMx,
} as const satisfies Partial<Record<DnsRecordType, DataReader>>;

/** The position of a record's data in the answer. */
interface Place {
  readonly start: number;
  readonly end: number;
}

type DataReader = (
  answer: Uint8Array,
  place: Place,
) => string | MxRecord | undefined;

type MailType = keyof typeof READERS;

function isRefused(name: string, type: DnsRecordType): type is MailType {
  return name.includes("_") && type in READERS;
}

/**
 * The records, in the form of `Deno.resolveDns`.
 *
 * @throws {Deno.errors.NotFound} If the answer has no such record
 */
async function resolveByWire(
  question: DnsQuestion & { readonly type: MailType },
  options: DnsConfirmOptions,
): Promise<readonly (string | MxRecord)[]> {
  const copy = (answer: Uint8Array, asked: Uint8Array) =>
    readVerdict(answer, asked) && { answer: answer.slice(), asked };
  let wire: WireAnswer = await askByDatagram(question, options, copy);
  if ((wire.answer[2]! & TRUNCATED) !== 0) {
    const asked = encodeQuestion(question, { id: 0 });
    const answer = await askByStream(asked, options);
    if (readVerdict(answer, asked) === undefined) {
      throw new Error("The answer by TCP is not to the question");
    }
    wire = { answer, asked };
  }
  const records = readRecords(wire.answer, { ...wire, type: question.type });
  if (records.length > 0) return records;
  throw new Deno.errors.NotFound(`No ${question.type} record`);
}

/** Asks one question over TCP (RFC 7766). */
async function askByStream(
  asked: Uint8Array,
  options: DnsConfirmOptions,
): Promise<Uint8Array> {
  const { server, signal } = options;
  signal.throwIfAborted();
  const conn = await Deno.connect({
    hostname: server.address,
    port: server.port,
    signal,
  });
  const end = () => conn.close();
  signal.addEventListener("abort", end);
  try {
    const out = new Uint8Array([asked.length >> 8, asked.length, ...asked]);
    for (let at = 0; at < out.length;) at += await conn.write(out.subarray(at));
    const [high, low] = await readFully(conn, 2);
    return await readFully(conn, (high! << 8) | low!);
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

/** The records of the question's type in the answer section. */
function readRecords(
  answer: Uint8Array,
  question: { asked: Uint8Array; type: MailType },
): (string | MxRecord)[] {
  const { asked, type } = question;
  const number = asked[asked.length - 3]!;
  const found: (string | MxRecord)[] = [];
  let at = asked.length;
  for (let left = word(answer, 6); left > 0; left--) {
    at = skipName(answer, at);
    const start = at + 10;
    const end = start + word(answer, at + 8);
    if (start > answer.length || end > answer.length) break;
    if (word(answer, at) === number && word(answer, at + 2) === 1) {
      const record = READERS[type](answer, { start, end });
      if (record !== undefined) found.push(record);
    }
    at = end;
  }
  return found;
}

function readIpv4(
  answer: Uint8Array,
  { start, end }: Place,
): string | undefined {
  return end - start === 4 ? answer.subarray(start, end).join(".") : undefined;
}

function readIpv6(
  answer: Uint8Array,
  { start, end }: Place,
): string | undefined {
  if (end - start !== 16) return undefined;
  return [0, 2, 4, 6, 8, 10, 12, 14]
    .map((at) => word(answer, start + at).toString(16)).join(":");
}

function readMx(
  answer: Uint8Array,
  { start, end }: Place,
): MxRecord | undefined {
  const exchange = readName(answer, start + 2);
  return exchange === undefined || end - start < 3
    ? undefined
    : { preference: word(answer, start), exchange };
}

/** A name, its pointers followed; `undefined` if it does not end or is malformed. */
function readName(answer: Uint8Array, start: number): string | undefined {
  let name = "";
  let at = start;
  for (let pointers = 0; pointers <= MAX_POINTERS;) {
    const length = answer[at];
    if (length === undefined || name.length > 255) return undefined;
    if (length === 0) return name === "" ? "." : name;
    if (length >= 0xc0) {
      at = word(answer, at) & 0x3fff;
      pointers++;
      continue;
    }
    const label = answer.subarray(at + 1, at + 1 + length);
    // A dot inside a label would split it: no host name has one.
    if (length > 63 || label.length < length || label.includes(0x2e)) {
      return undefined;
    }
    name += `${String.fromCharCode(...label)}.`;
    at += length + 1;
  }
  return undefined;
}

function word(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}

/**
 * Asks one question over UDP.
 *
 * @param read Reads a datagram; `undefined` if it is not the answer, then the wait goes on
 */
function askByDatagram<T>(
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
    // Any host can send to the port: only datagrams of the asked server count.
    if (from.port !== server.port) return;
    if (canonicalIp(from.address) !== server.address) return;
    const answer = read(bytes, asked);
    if (answer !== undefined) resolve(answer);
  });
  socket.send(asked, server.port, server.address, (error: Error | null) => {
    if (error) reject(error);
  });
  return promise.finally(() => {
    signal.removeEventListener("abort", abort);
    socket.close();
  });
}
