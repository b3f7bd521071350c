/**
 * How long honest clients wait for each reply under the load. A thread that does
 * nothing else asks (`prober.ts`). Time in which the machine had no
 * processor for the server does not count: other load is not the server's fault.
 */

import type { Ledger } from "./ledger.ts";
import type { Order, Probed } from "./prober.ts";
import type { ServerProcess } from "./server_process.ts";

/** Steps of a histogram to twice the time. */
const STEPS = 5;
/** Waits for one reply. */
class Histogram {
  readonly #counts: number[] = [];
  count = 0;
  worstMs = 0;
  /** The longest wait, with the time that does not count. */
  worstOfAllMs = 0;

  add({ waitedMs, idleMs }: { waitedMs: number; idleMs: number }): void {
    const ms = Math.max(0, waitedMs - idleMs);
    this.count++;
    this.worstOfAllMs = Math.max(this.worstOfAllMs, waitedMs);
    this.worstMs = Math.max(this.worstMs, ms);
    const step = Math.max(0, Math.ceil(Math.log2(ms) * STEPS));
    this.#counts[step] = (this.#counts[step] ?? 0) + 1;
  }

  /** At most how long that share of the waits took, in ms. */
  share(share: number): number {
    let left = this.count * share;
    for (const [step, count] of this.#counts.entries()) {
      left -= count ?? 0;
      if (left <= 0) return 2 ** (step / STEPS);
    }
    return this.worstMs;
  }
}

/** Asks, and keeps count. */
export class Waits {
  readonly #worker: Worker;
  readonly #server: ServerProcess;
  readonly #ledger: Ledger;
  readonly #steps = new Map<string, Histogram>();
  #done: (() => void) | undefined;
  /** Why sessions broke off: the server was killed, for instance. */
  readonly #broken = new Map<string, number>();

  /**
   * @param server The server
   * @param ledger Records each message
   */
  constructor(server: ServerProcess, ledger: Ledger) {
    this.#server = server;
    this.#ledger = ledger;
    this.#worker = new Worker(new URL("prober.ts", import.meta.url), {
      type: "module",
    });
    this.#worker.onmessage = ({ data }: MessageEvent<Probed | "done">) => {
      if (data === "done") this.#done?.();
      else this.#note(data);
    };
  }

  #note(data: Probed): void {
    if ("step" in data) {
      let histogram = this.#steps.get(data.step);
      if (histogram === undefined) {
        this.#steps.set(data.step, histogram = new Histogram());
      }
      histogram.add(data);
    } else if ("error" in data) {
      const { error } = data;
      this.#broken.set(error, (this.#broken.get(error) ?? 0) + 1);
      this.#ledger.abandon(data.id);
    } else if (data.isTaken) this.#ledger.acknowledge(data.id);
  }

  #order(isOn: boolean): void {
    const { port, pid } = this.#server;
    this.#worker.postMessage({ port, pid, isOn } satisfies Order);
  }

  /** Begins to ask. */
  begin(): void {
    this.#order(true);
  }

  /** Stops, after the message under way. */
  async end(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#done = resolve;
    this.#order(false);
    await promise;
  }

  /** Ends the thread. */
  close(): void {
    this.#worker.terminate();
  }

  /** The longest wait for any reply, in ms. */
  get worstMs(): number {
    return Math.max(
      0,
      ...[...this.#steps.values()].map((waits) => waits.worstMs),
    );
  }

  /** Replies that came. */
  get replies(): number {
    return [...this.#steps.values()].reduce(
      (sum, waits) => sum + waits.count,
      0,
    );
  }

  /** A line for each step. */
  table(): string[] {
    const lines = [...this.#steps].map(([step, waits]) =>
      `an honest client waits for ${step}: median ${
        waits.share(0.5).toFixed(0)
      }, ` +
      `99 % ${waits.share(0.99).toFixed(0)}, worst ${
        waits.worstMs.toFixed(0)
      } ms ` +
      `(${waits.worstOfAllMs.toFixed(0)} ms on this machine), ` +
      `${waits.count} replies`
    );
    for (const [why, times] of this.#broken) {
      lines.push(`${times} of its sessions broke off: ${why}`);
    }
    return lines;
  }
}
