/**
 * The speed of this server and others that accept and discard messages, each in
 * turn, under the same load on the same machine. Prints a table of ratios, as
 * absolute rates depend on the machine.
 *
 * ```sh
 * deno task bench:peers [--install] [--write] [--rounds=3] [--seconds=2]
 * ```
 *
 * `--install` gets the others first (npm, and Debian as root), `--write` puts
 * the table into RESULTS.md.
 */

import { median } from "../conformance/row.ts";
import { installPeers } from "./install.ts";
import { countFor, loads, type Measure, peakMemory, send } from "./load.ts";
import { markdownTable, writeBetweenMarks } from "./markdown.ts";
import { others, ours, type Peer, postfix, type RunningPeer } from "./peers.ts";
import { CountingSink, relay } from "./relay_load.ts";
import { TestFolder } from "../support/folder.ts";

/** The page with the tables. */
const RESULTS = "tests/peers/RESULTS.md";

/** Postfix stores each message, so its work differs from that of the sinks. */
const RIVALS = others.filter((peer) => peer !== postfix);
const MAX_SIZE = 64 << 20;

/** Stands for a load that a server did not finish. */
const FAILED: Measure = { rate: NaN, cost: NaN };

/** A server under load, and what was measured, a list a load. */
interface Contender {
  readonly peer: Peer;
  readonly running: RunningPeer;
  readonly measures: Measure[][];
}

function option(name: string, value: number): number {
  const prefix = `--${name}=`;
  const text = Deno.args.find((arg) => arg.startsWith(prefix));
  return text === undefined ? value : Number(text.slice(prefix.length));
}

/** Runs every load on every server in turn, round after round. */
async function race(contenders: readonly Contender[]): Promise<void> {
  const [rounds, seconds] = [option("rounds", 3), option("seconds", 2)];
  for (const load of loads) {
    const counts: number[] = [];
    for (const { running: { port, pid } } of contenders) {
      counts.push(await countFor(load, { port, pid, seconds }).catch(() => 0));
    }
    const results = contenders.map((): Measure[] => []);
    for (let round = 0; round < rounds; round++) {
      for (const [at, { running: { port, pid } }] of contenders.entries()) {
        const target = { port, pid, count: counts[at]! };
        results[at]!.push(await send(load, target).catch(() => FAILED));
      }
    }
    for (const [at, it] of contenders.entries()) it.measures.push(results[at]!);
  }
}

/** Ours against theirs, round by round; the median. */
function ratio(
  mine: readonly Measure[],
  theirs: readonly Measure[],
  of: keyof Measure,
): string {
  const ratios = mine.map((measure, round) => measure[of] / theirs[round]![of]);
  return ratios.includes(NaN) ? "failed" : median(ratios).toFixed(2);
}

async function table(contenders: readonly Contender[]): Promise<string> {
  const mine = contenders[0]!.measures;
  const rows = contenders.map(({ peer, measures }) => [
    `${peer.name} ${peer.version()}`,
    ...measures.map((measure, load) => ratio(measure, mine[load]!, "rate")),
  ]);
  for (const [at, { running }] of contenders.entries()) {
    rows[at]!.push(`${Math.round(await peakMemory(running.pid))} MiB`);
  }
  return markdownTable(
    ["server", ...loads.map(({ name }) => name), "memory at most"],
    rows,
  );
}

/** The same in absolute figures, for the person at the terminal. */
function figures(contenders: readonly Contender[]): string {
  return contenders.flatMap(({ peer, measures }) =>
    measures.map((measure, at) =>
      `${peer.name}, ${loads[at]!.name}: ` +
      `${Math.round(median(measure.map(({ rate }) => rate)))} messages/s, ` +
      `${
        Math.round(median(measure.map(({ cost }) => cost)))
      } us of processor each`
    )
  ).join("\n");
}

/** This server and Postfix as relays, in turn: theirs as shares of ours. */
async function relayTable(): Promise<string> {
  if (postfix.version() === undefined) return "";
  await using stack = new AsyncDisposableStack();
  const sink = stack.use(await CountingSink.start());
  const peers = [ours, postfix];
  const ports: number[] = [];
  for (const peer of peers) {
    const folder = stack.use(await TestFolder.create());
    const { path } = folder;
    const options = { folder: path, maxSize: MAX_SIZE, next: sink.port };
    ports.push(stack.use(await peer.start(options)).port);
  }
  const rates = peers.map((): number[] => []);
  for (let round = -1; round < option("rounds", 3); round++) {
    for (const [at, port] of ports.entries()) {
      const count = round < 0 ? 200 : 2000;
      const rate = await relay(sink, { port, count });
      if (round >= 0) rates[at]!.push(rate);
    }
  }
  return markdownTable(
    ["server", "4 KiB, relayed, a session a message, 20 at once"],
    peers.map((peer, at) => [
      `${peer.name} ${peer.version()}`,
      median(rates[at]!.map((rate, round) => rate / rates[0]![round]!)).toFixed(
        2,
      ),
    ]),
  );
}

/** All of them as sinks. */
async function sinkTable(): Promise<{ text: string; details: string }> {
  await using folders = new AsyncDisposableStack();
  const contenders: Contender[] = [];
  const absent: string[] = [];
  for (const peer of [ours, ...RIVALS]) {
    if (peer.version() === undefined) {
      absent.push(peer.name);
      continue;
    }
    const folder = folders.use(await TestFolder.create());
    const options = { folder: folder.path, maxSize: MAX_SIZE };
    const running = folders.use(await peer.start(options));
    contenders.push({ peer, running, measures: [] });
  }
  await race(contenders);
  const note = absent.length === 0
    ? ""
    : `\nNot run (not installed): ${absent.join(", ")}.\n`;
  const text = await table(contenders) + note;
  return { text, details: figures(contenders) };
}

async function main(): Promise<void> {
  if (Deno.args.includes("--install")) await installPeers();
  const { text, details } = await sinkTable();
  const relays = await relayTable();
  console.log(`${text}\n${relays}\n${details}`);
  if (!Deno.args.includes("--write")) return;
  await writeBetweenMarks(RESULTS, "bench", text);
  await writeBetweenMarks(RESULTS, "bench of relays", relays);
}

await main();
