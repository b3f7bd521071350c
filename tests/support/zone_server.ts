/**
 * A name server over UDP and TCP on a port of the loopback, which answers from a
 * table of records as a validating resolver would: with the AD bit where the
 * table says so.
 */

import { createSocket } from "node:dgram";
import { parseIp } from "../../lib/protocol/ip.ts";

/** The data of a record as in a zone file, or as bytes; with its TTL, else 60. */
export type ZoneRecord = string | {
  readonly ttl?: number;
  readonly data: string | Uint8Array;
};

/** The answer to one question. */
export interface ZoneAnswer {
  /**
   * The records: `"192.0.2.1"`, `"10 mx.example"`, `"3 1 1 abcd"`, `"mx.example"`,
   * the text of a TXT record (cut into strings of 255, each character a byte).
   * Without any, the name exists and has no such records.
   */
  readonly records?: readonly ZoneRecord[];
  /** The aliases that lead from the question's name to the records, in order. */
  readonly aliases?: readonly string[];
  /** Whether the AD bit is set. Default: false. */
  readonly secure?: boolean;
  /** The response code. Default: 0. */
  readonly rcode?: number;
  /** Whether the answer over UDP is cut off. Default: if it has over 1232 bytes. */
  readonly truncated?: boolean;
}

/**
 * The answers by question, as `"MX example.com"`, names in lower case. Records
 * alone stand for an answer that is not secure.
 */
export type Zone = Readonly<
  Record<string, ZoneAnswer | readonly ZoneRecord[] | "silence">
>;

/** A question as a {@linkcode ZoneServer} got it. */
export interface ZoneQuestion {
  /** As `"MX example.com"`. */
  readonly question: string;
  readonly over: "udp" | "tcp";
  readonly edns: boolean;
}

/** A name server that runs. */
export interface ZoneServer extends AsyncDisposable {
  /** Its address, as a client takes it; it is on the loopback, so its AD bit is believed. */
  readonly nameServer: string;
  /** The questions that it got, in order. */
  readonly asked: ZoneQuestion[];
}

/** What a server without EDNS does to a question that has it. */
export type EdnsFault = "silence" | "FORMERR" | "NOTIMP";

/**
 * Starts a name server on a free port. What `zone` does not have gets "no such
 * name", not secure.
 *
 * @param zone The answers; a test may change its object while the server runs
 */
export async function startZoneServer(
  zone: Zone,
  options: { readonly ednsFault?: EdnsFault } = {},
): Promise<ZoneServer> {
  const asked: ZoneQuestion[] = [];
  const answer = (bytes: Uint8Array, over: "udp" | "tcp") => {
    const { name, end } = readName(bytes);
    const number = word(bytes, end - 4);
    const type = TYPES.get(number) ?? `TYPE${number}`;
    const question = `${type} ${name}`;
    const edns = bytes[11]! > 0;
    asked.push({ question, over, edns });
    const fault = edns ? options.ednsFault : undefined;
    const given = fault === "silence" ? fault : zone[question] ?? { rcode: 3 };
    if (given === "silence") return undefined;
    const full: ZoneAnswer = fault !== undefined
      ? { rcode: fault === "FORMERR" ? 1 : 4 }
      : isRecords(given)
      ? { records: given }
      : given;
    return encodeAnswer(bytes.slice(0, end), full, { type, over });
  };
  const { socket, listener } = await bindBoth();
  socket.on("message", (bytes: Uint8Array, from) => {
    const out = answer(bytes, "udp");
    if (out !== undefined) socket.send(out, from.port, from.address);
  });
  const served = serveStreams(listener, (bytes) => answer(bytes, "tcp"));
  return {
    nameServer: `127.0.0.1:${listener.addr.port}`,
    asked,
    async [Symbol.asyncDispose]() {
      listener.close();
      await served;
      await new Promise<void>((resolve) => socket.close(() => resolve()));
    },
  };
}

function isRecords(
  given: ZoneAnswer | readonly ZoneRecord[],
): given is readonly ZoneRecord[] {
  return Array.isArray(given);
}

/** A UDP socket and a TCP listener with one port, which may be in use for the socket. */
async function bindBoth() {
  for (;;) {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const socket = createSocket("udp4");
    const { promise, resolve } = Promise.withResolvers<boolean>();
    socket.once("error", () => resolve(false));
    socket.bind(listener.addr.port, "127.0.0.1", () => resolve(true));
    if (await promise) return { socket, listener };
    listener.close();
  }
}

type Answerer = (bytes: Uint8Array) => Uint8Array | undefined;

async function serveStreams(
  listener: Deno.TcpListener,
  answer: Answerer,
): Promise<void> {
  const running: Promise<void>[] = [];
  for await (const conn of listener) running.push(serveStream(conn, answer));
  await Promise.all(running);
}

/** Answers the one question of a connection. */
async function serveStream(conn: Deno.Conn, answer: Answerer): Promise<void> {
  using _closed = conn;
  const chunk = new Uint8Array(1024);
  try {
    let bytes = new Uint8Array(0);
    while (bytes.length < 2 || bytes.length < 2 + word(bytes, 0)) {
      const count = await conn.read(chunk);
      if (count === null) return;
      bytes = new Uint8Array([...bytes, ...chunk.subarray(0, count)]);
    }
    const out = answer(bytes.slice(2));
    // A client that gets no answer closes the connection.
    if (out === undefined) return void await conn.read(chunk);
    const all = new Uint8Array([out.length >> 8, out.length, ...out]);
    // In two pieces: the length may arrive in parts.
    await conn.write(all.subarray(0, 1));
    for (let at = 1; at < all.length;) at += await conn.write(all.subarray(at));
  } catch {
    // The client has gone.
  }
}

const NUMBERS: Readonly<Record<string, number>> = {
  ...{ A: 1, NS: 2, CNAME: 5, PTR: 12, MX: 15, TXT: 16, AAAA: 28, TLSA: 52 },
};
const TYPES: ReadonlyMap<number, string> = new Map(
  Object.entries(NUMBERS).map(([name, number]) => [number, name]),
);

/** The name of a question in lower case, and the position after the question. */
function readName(bytes: Uint8Array): { name: string; end: number } {
  const labels: string[] = [];
  let at = 12;
  while (bytes[at]! > 0) {
    const next = at + 1 + bytes[at]!;
    labels.push(new TextDecoder().decode(bytes.subarray(at + 1, next)));
    at = next;
  }
  return { name: labels.join(".").toLowerCase(), end: at + 5 };
}

/**
 * Encodes an answer.
 *
 * @param question The bytes of a message up to the end of its question
 */
export function encodeAnswer(
  question: Uint8Array,
  given: ZoneAnswer,
  how: { readonly type: string; readonly over: "udp" | "tcp" },
): Uint8Array {
  const { records = [], aliases = [] } = given;
  let owner: readonly number[] = [0xc0, 12];
  const all: number[] = [];
  for (const alias of aliases) {
    const target = encodeName(alias);
    all.push(...encodeRecord(owner, 5, { ttl: 60, data: target }));
    owner = target;
  }
  for (const record of records) {
    const { ttl = 60, data } = typeof record === "string"
      ? { data: record }
      : record;
    const bytes = typeof data === "string" ? encodeData(how.type, data) : data;
    all.push(...encodeRecord(owner, NUMBERS[how.type]!, { ttl, data: bytes }));
  }
  const isLong = question.length + all.length > 1232;
  const isCut = how.over === "udp" && (given.truncated ?? isLong);
  const count = isCut ? 0 : aliases.length + records.length;
  const out = new Uint8Array([...question, ...(isCut ? [] : all)]);
  out[2] = 0x81 | (isCut ? 2 : 0);
  out[3] = 0x80 | (given.secure ? 0x20 : 0) | (given.rcode ?? 0);
  out.set([0, 1, ...two(count), 0, 0, 0, 0], 4);
  return out;
}

function encodeRecord(
  owner: readonly number[],
  type: number,
  { ttl, data }: { ttl: number; data: Iterable<number> },
): number[] {
  const bytes = [...data];
  return [
    ...[...owner, ...two(type), 0, 1],
    ...[...two(ttl >>> 16), ...two(ttl & 0xffff)],
    ...[...two(bytes.length), ...bytes],
  ];
}

function encodeName(name: string): number[] {
  const labels = name.split(".").filter((label) => label !== "");
  const encode = (label: string) => [label.length, ...bytesOf(label)];
  return [...labels.flatMap(encode), 0];
}

function encodeData(type: string, text: string): number[] {
  if (type === "A" || type === "AAAA") return [...parseIp(text)!];
  if (type === "TXT") {
    const strings = text.match(/[^]{1,255}/g) ?? [""];
    return strings.flatMap((part) => [part.length, ...bytesOf(part)]);
  }
  const [first = "", second = "", third = "", data = ""] = text.split(" ");
  if (type === "MX") return [...two(Number(first)), ...encodeName(second)];
  if (type !== "TLSA") return encodeName(text);
  return [...[first, second, third].map(Number), ...Uint8Array.fromHex(data)];
}

function bytesOf(text: string): number[] {
  return Array.from(text, (character) => character.charCodeAt(0));
}

function two(number: number): number[] {
  return [number >> 8, number & 0xff];
}

function word(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!;
}
