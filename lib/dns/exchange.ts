/**
 * Asks one question: of several name servers in turn, until one of them knows
 * the answer; and of one server: calls the resolver, checks its answer and
 * classifies its errors.
 *
 * Never accepts "not found" without a confirmation, if one is possible: see
 * {@link ./verdict.ts}. Never repeats a question to a server that answered with
 * a failure: only a timeout is worth a second attempt. Starts with the server
 * that answered last, so a dead server costs its time once and not for each
 * message.
 *
 * Sends a DNS question itself in two cases. First, the platform's resolver
 * refuses a label with an underscore inside (`mx_1.example.com`), but such hosts
 * accept mail. Second, the platform does not say why an answer had no records:
 * see {@link ./verdict.ts}. All other questions go through the platform.
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
import { errorMessage } from "../log.ts";
import { canonicalIp } from "../protocol/ip.ts";
import {
  formatNameServer,
  type NameServer,
  systemNameServers,
} from "./name_server.ts";
import {
  type DnsFailed,
  type DnsRecordType,
  failed,
  type MxRecord,
} from "./outcome.ts";
import { type AnyOutcome, readAnswer } from "./records.ts";
import type { DnsConfirm, DnsConfirmOptions, DnsResolver } from "./seams.ts";
import { Deadline } from "./single_flight.ts";
import {
  CLASS_IN,
  type DnsQuestion,
  type DnsVerdict,
  encodeQuestion,
  readVerdict,
  RECORD_HEAD,
  skipName,
  TRUNCATED,
} from "./verdict.ts";

/** The functions that send questions. */
export interface ExchangeTools {
  /** Asks for the records. */
  readonly resolver: DnsResolver;
  /** Finds out why there were no records; without it "not found" is final. */
  readonly confirm: DnsConfirm | undefined;
}

/** Options of {@linkcode FailOver}. */
export interface FailOverOptions extends ExchangeTools {
  /** The name servers, at least one. Default: the system's. */
  readonly servers: readonly NameServer[] | undefined;
  /** Number of times that a silent server is asked. */
  readonly attempts: number;
}

/** Options of {@linkcode FailOver.ask}. */
export interface FailOverAskOptions {
  /** Time limit for all servers and attempts together, in milliseconds. */
  readonly timeoutMs: number;
  /** Ends the work; the promise then rejects with the signal's reason. */
  readonly signal: AbortSignal;
}

/** Several name servers behind one method. */
export class FailOver {
  readonly #options: FailOverOptions;
  /** The server that answered last; it is asked first. */
  #favourite: string | undefined;

  constructor(options: FailOverOptions) {
    this.#options = options;
  }

  /**
   * Asks until a server knows the answer.
   *
   * @throws The signal's reason if the signal fired first
   */
  async ask(
    question: DnsQuestion,
    options: FailOverAskOptions,
  ): Promise<AnyOutcome> {
    const { timeoutMs, signal } = options;
    let servers = this.#inLine();
    // All servers fit into the time limit, or all attempts at a single one.
    const waitMs = timeoutMs / Math.max(servers.length, this.#options.attempts);
    let last: DnsFailed = failed("unreachable", "No name server is known");
    for (let attempt = 0; attempt < this.#options.attempts; attempt++) {
      const silent: NameServer[] = [];
      for (const server of servers) {
        const outcome = await this.#askOne(question, {
          server,
          waitMs,
          signal,
        });
        if (outcome.status !== "failed") return outcome;
        if (outcome.code === "timeout") silent.push(server);
        last = outcome;
      }
      servers = silent;
    }
    return last;
  }

  async #askOne(
    question: DnsQuestion,
    options: { server: NameServer; waitMs: number; signal: AbortSignal },
  ): Promise<AnyOutcome> {
    const { server, waitMs, signal } = options;
    const { resolver, confirm } = this.#options;
    using turn = new Deadline(waitMs, signal);
    try {
      const outcome = await exchange(question, {
        server,
        resolver,
        confirm,
        signal: turn.signal,
      });
      if (outcome.status !== "failed") {
        this.#favourite = formatNameServer(server);
      }
      return outcome;
    } catch (error) {
      if (turn.expired) return noAnswer(question, server);
      throw error;
    }
  }

  /** The servers in order, beginning with the one that answered last. */
  #inLine(): readonly NameServer[] {
    const servers = this.#options.servers ?? systemNameServers();
    const found = servers.findIndex((server) =>
      formatNameServer(server) === this.#favourite
    );
    const at = Math.max(found, 0);
    return [...servers.slice(at), ...servers.slice(0, at)];
  }
}

/**
 * Asks one name server once.
 *
 * @throws The signal's reason if the signal fired first
 * @throws {Deno.errors.NotCapable} If the permission to ask is missing
 */
async function exchange(
  question: DnsQuestion,
  options: DnsConfirmOptions & ExchangeTools,
): Promise<AnyOutcome> {
  const first = await resolve(question, options);
  if (first !== undefined) return first;
  if (options.confirm === undefined) return { status: "none", why: "unknown" };
  const second = await confirm(question, options);
  if (second !== undefined) return second;
  // First "not found", then records: a server that failed while it was still
  // fetching the records may have them now.
  return await resolve(question, options) ??
    failure("server-failure", question, {
      server: options.server,
      what: "contradicts itself on",
    });
}

/** The outcome of the resolver, `undefined` for "not found". */
async function resolve(
  question: DnsQuestion,
  options: DnsConfirmOptions & ExchangeTools,
): Promise<AnyOutcome | undefined> {
  const { resolver, server, signal } = options;
  try {
    // The final dot excludes the system's search list.
    const raw = await resolver(`${question.name}.`, question.type, {
      nameServer: { ipAddr: server.address, port: server.port },
      signal,
    });
    return readAnswer(question, raw);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    return explain(error, question, options);
  }
}

/** The outcome of the confirmation, `undefined` if it says that there are records. */
async function confirm(
  question: DnsQuestion,
  options: DnsConfirmOptions & ExchangeTools,
): Promise<AnyOutcome | undefined> {
  const { server, signal } = options;
  try {
    const verdict = await options.confirm?.(question, { server, signal });
    if (verdict === undefined || verdict.kind === "records") return undefined;
    if (verdict.kind !== "server-failure") {
      return { status: "none", why: verdict.kind };
    }
    return failure("server-failure", question, {
      server,
      what: `answers with ${verdict.code} to`,
    });
  } catch (error) {
    return explain(error, question, options);
  }
}

/** Turns an error of the name server into a failure, and throws all other errors. */
function explain(
  error: unknown,
  question: DnsQuestion,
  options: DnsConfirmOptions,
): DnsFailed {
  const { server, signal } = options;
  if (signal.aborted) throw signal.reason;
  if (error instanceof Deno.errors.NotCapable) throw error;
  if (error instanceof Deno.errors.TimedOut) {
    return noAnswer(question, server);
  }
  const what = "cannot be asked for";
  const { reason, ...rest } = failure("unreachable", question, {
    server,
    what,
  });
  return { ...rest, reason: `${reason}: ${errorMessage(error)}` };
}

/** The failure of a name server that does not answer. */
function noAnswer(question: DnsQuestion, server: NameServer): DnsFailed {
  return failure("timeout", question, { server, what: "does not answer to" });
}

function failure(
  code: DnsFailed["code"],
  question: DnsQuestion,
  options: { server: NameServer; what: string },
): DnsFailed {
  const { server, what } = options;
  const asked = `${question.type} "${question.name}"`;
  return failed(
    code,
    `Name server ${formatNameServer(server)} ${what} ${asked}`,
  );
}

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
    const start = at + RECORD_HEAD;
    const end = start + word(answer, start - 2);
    if (start > answer.length || end > answer.length) break;
    if (word(answer, at) === number && word(answer, at + 2) === CLASS_IN) {
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
