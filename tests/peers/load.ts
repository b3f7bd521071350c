/**
 * Load from Postfix's smtp-source, and what it costs the server: messages a
 * second, processor time a message, and the most memory held.
 */

import { run } from "../support/process.ts";

/** A kind of load. */
export interface Load {
  /** What it is, as Markdown. */
  readonly name: string;
  /** Flags of smtp-source. */
  readonly flags: readonly string[];
}

/** What a load did with a server. */
export interface Measure {
  /** Messages a second. */
  readonly rate: number;
  /** Microseconds of processor time a message. */
  readonly cost: number;
}

/** The kinds of load, in the order of the table. */
export const loads: readonly Load[] = [
  {
    name: "4 KiB, a session a message, 20 at once",
    flags: ["-s", "20", "-l", "4096"],
  },
  {
    name: "4 KiB, sessions reused, 20 at once",
    flags: ["-d", "-s", "20", "-l", "4096"],
  },
  {
    name: "1 MB, sessions reused, 4 at once",
    flags: ["-d", "-s", "4", "-l", "1000000"],
  },
  {
    name: "4 KiB, a session a message, 300 at once",
    flags: ["-s", "300", "-l", "4096"],
  },
];

/** Clock ticks a second in `/proc`, on every Linux that Deno runs on. */
const TICKS = 100;

/** Sends so many messages. */
export async function send(
  load: Load,
  target: { port: number; pid: number; count: number },
): Promise<Measure> {
  const { port, pid, count } = target;
  const ticks = await processorTicks(pid);
  const start = performance.now();
  await run("smtp-source", [
    ...[...load.flags, "-m", `${count}`, "-f", "a@example.com"],
    ...["-t", "b@example.com", `127.0.0.1:${port}`],
  ], { deadlineMs: 120_000 });
  const seconds = (performance.now() - start) / 1000;
  const spent = (await processorTicks(pid) - ticks) / TICKS;
  return { rate: count / seconds, cost: spent / count * 1e6 };
}

/** The number of messages that takes about `seconds`, found by sending some. */
export async function countFor(
  load: Load,
  target: { port: number; pid: number; seconds: number },
): Promise<number> {
  for (let count = 50;; count *= 4) {
    const { rate } = await send(load, { ...target, count });
    if (count / rate > target.seconds / 8) {
      return Math.max(300, Math.round(rate * target.seconds));
    }
  }
}

async function processorTicks(pid: number): Promise<number> {
  const text = await Deno.readTextFile(`/proc/${pid}/stat`);
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return Number(fields[11]) + Number(fields[12]);
}

/** The most memory that the process has held, in MiB. */
export async function peakMemory(pid: number): Promise<number> {
  const text = await Deno.readTextFile(`/proc/${pid}/status`);
  return Number(/^VmHWM:\s+(\d+)/m.exec(text)?.[1]) / 1024;
}
