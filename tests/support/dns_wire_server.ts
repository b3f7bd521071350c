/** A name server on a UDP port of the loopback that answers every question with what the test says. */

import { createSocket } from "node:dgram";

/** How a question is answered: a response code without records, an address, or not at all. */
export type WireAnswer =
  | { readonly rcode: number; readonly from?: "elsewhere" }
  | { readonly address: readonly [number, number, number, number] }
  | "silence"
  /** The packet as it is to go out, made of the question. */
  | ((question: Uint8Array) => Uint8Array);

/** A name server that runs. */
export interface WireServer extends AsyncDisposable {
  /** Its address, as a client takes it. */
  readonly nameServer: string;
  /** The names that it was asked for, in order. */
  readonly asked: string[];
}

/** Starts a name server; `answer` says how each question is answered, by name and how often it came before. */
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
