/**
 * The costs of a full queue of 100,000 deferred messages: the time that a server
 * takes to start on it, its memory then, the time of `queue list`, and the memory
 * during and after the delivery of all messages. Linux only: it reads the memory
 * of another process.
 *
 * ```sh
 * deno task bench:queue
 * ```
 */

import { FileSpool } from "../lib/queue/mod.ts";
import { DiscardStore } from "../lib/store/mod.ts";
import { SmtpServer } from "../mod.ts";
import { cliArgs, CliServer } from "./support/cli.ts";
import { addition } from "./support/queue/fixtures.ts";

const COUNT = Number(Deno.args[0] ?? 100_000);
const AT_ONCE = 64;
const HOUR = 3_600_000;
const MEBIBYTE = 1024;
const TEXT = "Subject: Load\r\n\r\n" + `${"x".repeat(78)}\r\n`.repeat(25);

/** Puts messages into the spool that have been tried once, and are due in an hour. */
async function fill(folder: string): Promise<void> {
  await using spool = new FileSpool(folder);
  await spool.open();
  const now = Date.now();
  let number = 0;
  const one = async () => {
    while (number < COUNT) {
      const id = `m${number++}`;
      const { envelope, content } = addition(id, { text: TEXT });
      await spool.add({ envelope: { ...envelope, acceptedAt: now }, content });
      await spool.change(id, {
        kind: "result",
        results: [{
          index: 0,
          status: "pending",
          attempts: 1,
          nextTryAt: now + HOUR,
          answer: {
            at: now,
            text: "450 4.7.1 Try again later",
            isReply: true,
            status: "4.7.1",
            remoteMta: "mx.example.org",
          },
        }],
      });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, one));
}

/** Resident memory of a process in MiB, now and at most. */
async function memory(pid: number): Promise<{ now: number; most: number }> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  const read = (name: string) =>
    Math.round(
      Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)![1]) / MEBIBYTE,
    );
  return { now: read("VmRSS"), most: read("VmHWM") };
}

async function timed<T>(what: string, action: () => Promise<T>): Promise<T> {
  const start = performance.now();
  const result = await action();
  const seconds = (performance.now() - start) / 1000;
  console.log(`${what}: ${seconds.toFixed(1)} s`);
  return result;
}

async function queue(...args: string[]): Promise<void> {
  const child = new Deno.Command(Deno.execPath(), {
    args: cliArgs(["queue", ...args]),
    stdout: "null",
  });
  const { success } = await child.output();
  if (!success) throw new Error(`"queue ${args.join(" ")}" failed`);
}

async function pause(ms: number): Promise<void> {
  await new Promise((done) => setTimeout(done, ms));
}

const folder = await Deno.makeTempDir({ prefix: "smtp-load-" });
const spool = `${folder}/spool`;
let arrived = 0;
await using sink = new SmtpServer({
  listen: "127.0.0.1:0",
  hostname: "sink.example",
  store: new DiscardStore(),
  handlers: { onMessage: () => void arrived++ },
});
await sink.start();
try {
  await timed(`Spool of ${COUNT} deferred messages`, () => fill(spool));
  await using server = await timed("Start of a server", () =>
    CliServer.start([
      ...["--relay-from", "127.0.0.0/8", "--spool", spool, "--quiet"],
      ...["--smarthost", `127.0.0.1:${sink.addresses[0]!.port}/none`],
    ], { cwd: folder, deadlineMs: 600_000 }));
  await pause(2000);
  const started = await memory(server.pid);
  console.log(`Memory: ${started.now} MiB, at most ${started.most}`);
  await timed("queue list", () => queue("list", "--spool", spool));
  await timed("Delivery of all of them", async () => {
    await queue("retry", "all", "--spool", spool);
    while (arrived < COUNT) await pause(100);
  });
  const { most } = await memory(server.pid);
  await pause(5000);
  const { now } = await memory(server.pid);
  console.log(`Memory: ${now} MiB, at most ${most}`);
} finally {
  await Deno.remove(folder, { recursive: true });
}
