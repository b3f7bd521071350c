/**
 * Load on a relay: smtp-source on one side, smtp-sink on the other, and between
 * them a server that keeps each message in a queue on disk, synced, before it
 * says 250. The time ends when the sink has counted the last one.
 */

import { type BackgroundProcess, run } from "../support/process.ts";
import { freePort, startSink } from "../support/interop/relay_peers.ts";

const HOST = "127.0.0.1";
const DEADLINE_MS = 120_000;

/** Where the messages go, counted. */
export class CountingSink implements AsyncDisposable {
  /** Its port on 127.0.0.1. */
  readonly port: number;
  readonly #process: BackgroundProcess;
  #before = 0;

  /** Made by {@linkcode CountingSink.start}. */
  constructor(process: BackgroundProcess, port: number) {
    this.#process = process;
    this.port = port;
  }

  /** Starts one. */
  static async start(): Promise<CountingSink> {
    const port = freePort([HOST]);
    const process = await startSink({ address: HOST, port }, ["-c"]);
    return new CountingSink(process, port);
  }

  /** Waits until so many more messages have come. */
  async count(messages: number): Promise<void> {
    const wanted = this.#before + messages;
    await this.#process.waitFor((stdout) => {
      const [, last] = /.*mesg=(\d+)/s.exec(stdout.slice(-200)) ?? [];
      return Number(last) >= wanted ? true : undefined;
    }, { deadlineMs: DEADLINE_MS });
    this.#before = wanted;
  }

  /** Ends it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process.stop();
  }
}

/** Sends so many messages of 4 KiB, 20 at once, through a relay; messages a second, end to end. */
export async function relay(
  sink: CountingSink,
  target: { port: number; count: number },
): Promise<number> {
  const { port, count } = target;
  const start = performance.now();
  await run("smtp-source", [
    ...["-s", "20", "-l", "4096", "-m", `${count}`, "-f", "a@example.com"],
    ...["-t", "b@example.org", `${HOST}:${port}`],
  ], { deadlineMs: DEADLINE_MS });
  await sink.count(count);
  return count / ((performance.now() - start) / 1000);
}
