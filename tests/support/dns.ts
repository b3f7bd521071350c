/**
 * Name servers for tests: one on a UDP port of the loopback that answers every
 * question as the test says, and a resolver that answers from a table.
 */

import { DnsClient, type DnsClientOptions } from "../../lib/dns/client.ts";
import type {
  DnsMessage,
  DnsQuestion,
  DnsVerdict,
} from "../../lib/dns/dns_message.ts";
import {
  type DnsAskOptions,
  type DnsResolver,
  type DnsSeams,
  withSeams,
} from "../../lib/dns/seams.ts";
import { createSocket } from "node:dgram";

/** How a question is answered: a response code without records, an address, or not at all. */
export type WireAnswer =
  | { readonly rcode: number; readonly from?: "elsewhere" }
  | { readonly address: readonly [number, number, number, number] }
  | "silence"
  /** Makes the packet to send from the question. */
  | ((question: Uint8Array) => Uint8Array);

/** A name server that runs. */
export interface WireServer extends AsyncDisposable {
  /** Its address, as a client takes it. */
  readonly nameServer: string;
  /** The names that it was asked for, in order. */
  readonly asked: string[];
}

/** Starts a name server; `answer` gets the name of a question and how often it came before. */
export async function startWireServer(
  answer: (name: string, before: number) => WireAnswer,
): Promise<WireServer> {
  const socket = createSocket("udp4");
  const other = createSocket("udp4");
  const asked: string[] = [];
  socket.on("message", (question: Uint8Array, from) => {
    const { name, end } = readName(question);
    const before = asked.filter((one) => one === name).length;
    asked.push(name);
    const given = answer(name, before);
    if (given === "silence") return;
    if (typeof given === "function") {
      socket.send(given(question.slice(0, end)), from.port, from.address);
      return;
    }
    const elsewhere = "from" in given && given.from === "elsewhere";
    const bytes = makeAnswer(question.subarray(0, end), given);
    (elsewhere ? other : socket).send(bytes, from.port, from.address);
  });
  await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
  return {
    nameServer: `127.0.0.1:${socket.address().port}`,
    asked,
    async [Symbol.asyncDispose]() {
      await new Promise<void>((resolve) => other.close(() => resolve()));
      await new Promise<void>((resolve) => socket.close(() => resolve()));
    },
  };
}

function readName(question: Uint8Array): { name: string; end: number } {
  const labels: string[] = [];
  let at = 12;
  while (question[at]! > 0) {
    const next = at + 1 + question[at]!;
    labels.push(new TextDecoder().decode(question.subarray(at + 1, next)));
    at = next;
  }
  return { name: labels.join("."), end: at + 5 };
}

function makeAnswer(
  question: Uint8Array,
  given: Exclude<WireAnswer, string | ((question: Uint8Array) => Uint8Array)>,
): Uint8Array {
  const record = "address" in given
    ? [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, ...given.address]
    : [];
  const bytes = new Uint8Array([...question, ...record]);
  // An answer, recursion available; one question, no additional records.
  bytes[2] = 0x81;
  bytes[3] = 0x80 | ("rcode" in given ? given.rcode : 0);
  bytes.set([0, 1, 0, record.length > 0 ? 1 : 0, 0, 0, 0, 0], 4);
  return bytes;
}

/** Per question, as `"MX example.com"`: the records, an error to throw, or "silence". */
export type DnsTable = Readonly<
  Record<string, readonly unknown[] | Error | "silence">
>;

/** A resolver over a table, and the questions that it was asked. */
export interface TableResolver {
  /** The resolver; a question that the table lacks is "not found". */
  readonly resolver: DnsResolver;
  /** The questions in order, as `"MX example.com."`, with ` @IP:PORT` where `servers` is set. */
  readonly asked: string[];
}

/** Makes a resolver that answers from `table`; servers in `silent` never answer. */
export function tableResolver(
  table: DnsTable,
  options: { silent?: readonly string[]; broken?: readonly string[] } = {},
): TableResolver {
  const asked: string[] = [];
  const resolver: DnsResolver = async (name, type, { nameServer, signal }) => {
    const { ipAddr, port } = nameServer!;
    const server = `${ipAddr}:${port}`;
    asked.push(`${type} ${name} @${server}`);
    if (options.broken?.includes(server)) throw new Error("Broken pipe");
    const key = `${type} ${name.slice(0, -1)}`;
    const entry = options.silent?.includes(server) ? "silence" : table[key];
    if (entry === "silence") return await silence(signal!);
    await Promise.resolve();
    if (entry instanceof Error) throw entry;
    if (entry === undefined) throw new Deno.errors.NotFound("no records found");
    return entry;
  };
  return { resolver, asked };
}

/** Waits for the signal and no longer. */
export function silence(signal: AbortSignal): Promise<never> {
  const { promise, reject } = Promise.withResolvers<never>();
  if (signal.aborted) reject(signal.reason);
  signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  return promise;
}

/** Tells a client why there were no records. */
export type DnsConfirm = (
  question: DnsQuestion,
  options: DnsAskOptions,
) => Promise<DnsVerdict>;

/** A client with the seams among its options; `confirm` stands for an `ask` that finds no records. */
export function seamedClient(
  options: DnsClientOptions & DnsSeams & {
    readonly confirm?: DnsConfirm | undefined;
  },
): DnsClient {
  const { resolver, confirm, ask, now, ...rest } = options;
  const asks = confirm &&
    (async (question: DnsQuestion, how: DnsAskOptions) =>
      messageOf(await confirm(question, how), question));
  return new DnsClient(withSeams(rest, { resolver, ask: ask ?? asks, now }));
}

const CODES: Readonly<Record<string, number>> = { SERVFAIL: 2, REFUSED: 5 };

/** A message without records that means `verdict`. */
function messageOf(verdict: DnsVerdict, { name }: DnsQuestion): DnsMessage {
  const rcode = verdict.kind === "server-failure"
    ? CODES[verdict.code]!
    : verdict.kind === "no-such-name"
    ? 3
    : 0;
  return {
    ...{ rcode, authentic: false, truncated: false, referral: false },
    ...{ malformed: false, stray: false, circle: false, records: [], ttl: 0 },
    canonicalName: name,
  };
}

/** An answer of TXT records, each of one character string of up to 255 bytes. */
export function txtAnswer(texts: readonly string[]): WireAnswer {
  return (question) => {
    const records = texts.flatMap((text) => {
      const bytes = new TextEncoder().encode(text);
      const length = bytes.length + 1;
      return [
        ...[0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60],
        ...[length >> 8, length & 0xff, bytes.length, ...bytes],
      ];
    });
    const answer = new Uint8Array([...question, ...records]);
    // An answer, recursion available; one question, no additional records.
    answer[2] = 0x81;
    answer[3] = 0x80;
    answer.set([0, 1, 0, texts.length, 0, 0, 0, 0], 4);
    return answer;
  };
}
