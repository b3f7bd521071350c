/**
 * Fuzz of the receiving machine. Each dialogue is run byte by byte beside the
 * oracle, whole, and in random pieces, with bytes injected behind STARTTLS:
 * replies, questions and messages are the same each time, and the messages are
 * those that the oracle finds in the bytes.
 */

import type { BareNewlinePolicy } from "../../lib/protocol/data_decoder.ts";
import type { ProfileInit } from "../support/dialogue.ts";
import { pieces } from "../support/random.ts";
import { type FuzzTarget, mutate, type Random } from "./fuzz.ts";
import { dialogue, profile } from "./server_dialogues.ts";
import { decodeData, readBdat } from "./server_oracle.ts";
import { checkReplies, ServerRun } from "./server_run.ts";
import { bytesOf, concat } from "../support/bytes.ts";

/** Valid dialogues and their mutants, and bytes at random. */
export const serverTarget: FuzzTarget = {
  name: "server",
  check(random) {
    const init = profile(random);
    const decisions = random(2 ** 31);
    const input = random(8) === 0
      ? noise(random)
      : dialogue(random, init.kind ?? "smtp");
    const bytes = bytesOf(input);
    const stepped = new ServerRun(init, decisions);
    const handshakes = followed(stepped, input, init);
    checkReplies(stepped.output);
    for (const longest of [Infinity, 2 + random(60)]) {
      const run = new ServerRun(init, decisions);
      let start = 0;
      for (const end of [...handshakes, input.length]) {
        const part = bytes.subarray(start, end);
        const cut = pieces(part, { seed: random(2 ** 31), longest });
        const injected = end < input.length ? noise(random) : "";
        for (const [index, piece] of cut.entries()) {
          const isLast = index === cut.length - 1;
          run.feed(isLast ? concat([piece, bytesOf(injected)]) : piece);
        }
        start = end;
      }
      checkSame(run, stepped);
    }
  },
};

function noise(random: Random): string {
  let text = "";
  for (let left = random(300); left > 0; left--) {
    text += String.fromCharCode(random(random(4) === 0 ? 32 : 256));
  }
  return mutate(random, text);
}

function checkSame(run: ServerRun, other: ServerRun): void {
  const seen = (run: ServerRun) =>
    JSON.stringify([run.output, run.events, run.bodies, run.closed]);
  if (seen(run) === seen(other)) return;
  throw new Error(
    `What is seen hangs on the packets: ${seen(run)}, not ${seen(other)}`,
  );
}

/**
 * Runs byte by byte, and keeps count of where commands and contents begin.
 * Returns where TLS began.
 */
function followed(
  run: ServerRun,
  input: string,
  init: ProfileInit,
): readonly number[] {
  const { bareNewlines = "reject" } = init;
  /** Where the line under way begins, or the content behind 354. */
  let start = 0;
  let wanted = "";
  let isBinary = false;
  const handshakes: number[] = [];
  for (let at = 0; at < input.length && !run.closed; at++) {
    const { reading, phase, envelope } = run.machine.state;
    const chunks = () =>
      checkBody(
        run.bodies.at(-1)!,
        chunked(wanted, isBinary ? "keep" : bareNewlines),
      );
    const known = run.bodies.length;
    run.feed(bytesOf(input[at]!));
    const end = at + 1;
    const last = run.bodies.length > known ? run.bodies.at(-1) : undefined;
    if (reading === "data") {
      checkDataStep(input.slice(start, end), {
        bareNewlines,
        isOver: run.closed || run.machine.state.reading !== "data",
        body: last,
      });
      if (run.machine.state.reading !== "data") start = end;
      continue;
    }
    if (reading === "bdat") {
      if (last !== undefined) chunks();
      if (run.machine.state.reading !== "bdat") start = end;
      continue;
    }
    if (input.slice(end - 2, end) !== "\r\n" || end - 2 < start) continue;
    const line = input.slice(start, end - 2);
    start = end;
    const chunk = reading === "command" ? readBdat(line) : undefined;
    if (chunk === "unreadable" && !run.closed) {
      throw new Error(`Goes on after ${JSON.stringify(line)}`);
    }
    if (phase === "rcpt") wanted = "";
    if (
      typeof chunk === "number" && (phase === "rcpt" || phase === "bdat")
    ) {
      wanted += input.slice(end, end + chunk);
      isBinary = envelope?.parameters.body === "BINARYMIME";
    }
    if (last !== undefined) chunks();
    if (run.handshakes > handshakes.length) handshakes.push(end);
  }
  return handshakes;
}

function checkDataStep(
  sent: string,
  step: {
    readonly bareNewlines: BareNewlinePolicy;
    readonly isOver: boolean;
    readonly body: string | undefined;
  },
): void {
  const { length, body } = decodeData(sent, step.bareNewlines);
  if (step.isOver !== (length === sent.length)) {
    throw new Error(`Data ends elsewhere: ${JSON.stringify(sent)}`);
  }
  if (step.body === undefined) return;
  if (body === undefined) {
    throw new Error(`Kept what is to be refused: ${JSON.stringify(sent)}`);
  }
  checkBody(step.body, body);
}

/** What is kept of the content of chunks. */
function chunked(sent: string, policy: BareNewlinePolicy): string {
  if (policy === "keep") return sent;
  const lines = sent.split("\r\n");
  if (policy === "normalize") {
    return lines.map((line) =>
      line.replaceAll("\r", " ").replaceAll("\n", "\r\n")
    )
      .join("\r\n");
  }
  if (lines.some((line) => /[\r\n]/.test(line))) {
    throw new Error(`Kept what is to be refused: ${JSON.stringify(sent)}`);
  }
  return sent;
}

function checkBody(got: string, want: string): void {
  if (got === want) return;
  throw new Error(
    `Kept ${JSON.stringify(got)}, wanted ${JSON.stringify(want)}`,
  );
}
