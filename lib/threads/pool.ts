/**
 * The workers of a server: starts them on one set of ports, replaces those that
 * fail, gives them new settings and stops them together. A failed worker loses
 * its sessions; the other workers, the queue and the ports go on.
 */

import { errorMessage } from "../log.ts";
import { checkThreads } from "../net/listener.ts";
import { addressMemory } from "../session/address_table.ts";
import { sessionHandlersOf } from "../session/handlers.ts";
import { userMemory } from "../session/user_table.ts";
import {
  SessionCount,
  type SharedCounts,
  TicketLedger,
} from "../session/limits.ts";
import type { SmtpSession } from "../session/session.ts";
import type {
  MainServices,
  ThreadStart,
  WireAddress,
  WireOptions,
} from "./api.ts";
import { WorkerHandle } from "./worker_handle.ts";
import { encodeCertificates } from "./wire.ts";

/** Interval of the checks for a pulse, in ms. */
const CHECK_MS = 5000;
/** Checks without a pulse after which a worker is replaced. */
const MOST_MISSED = 6;
/** Delay before a worker that failed at its start is started again, in ms. */
const RETRY_MS = 1000;
/** Most time of a worker to stop, beyond the grace, in ms. */
const STOP_MS = 3000;

/** Settings hold values that JSON cannot express. */
const RICH = { isRich: true };

/** The workers of one server. */
export class ThreadPool {
  readonly #services: MainServices;
  readonly #counters: Counters;
  #addresses: readonly WireAddress[] = [];
  readonly #threads = new Map<number, WorkerHandle>();
  /** The tickets of each thread. */
  readonly #ledgers = new Map<number, TicketLedger>();
  readonly #saltKey = crypto.getRandomValues(new Uint8Array(32));
  /** The pulse of each thread at the last check, and the checks without a pulse since. */
  readonly #pulses: { seen: number; missed: number }[] = [];
  #started = 0;
  #stopping = false;
  #check: ReturnType<typeof setInterval> | undefined;
  readonly #retries = new Set<ReturnType<typeof setTimeout>>();
  #unsubscribe: (() => void) | undefined;

  /**
   * Starts nothing yet.
   *
   * @throws {Deno.errors.NotSupported} If the platform cannot share ports, or lacks the flag to do so
   */
  constructor(services: MainServices, counters: Counters) {
    checkThreads(counters.workers);
    this.#services = services;
    this.#counters = counters;
    this.#watchCertificates();
  }

  #watchCertificates(): void {
    this.#unsubscribe?.();
    this.#unsubscribe = this.#services.settings.certificates
      ?.onReplace(() => this.#publishCertificates());
  }

  /** The addresses of all workers. */
  get addresses(): readonly WireAddress[] {
    return this.#addresses;
  }

  /** The sessions that the workers have published. */
  get sessions(): readonly SmtpSession[] {
    return [...this.#threads.values()].flatMap(({ sessions }) => sessions);
  }

  /**
   * Starts the workers; resolves when all of them listen.
   *
   * @throws {Error} If one of them cannot listen; then all are ended
   */
  async start(): Promise<void> {
    const { workers } = this.#counters;
    try {
      // The first worker finds the free ports.
      this.#addresses = await this.#startOne(1);
      const others = Array.from({ length: workers - 1 }, (_, at) => at + 2);
      const started = await Promise.allSettled(
        others.map((thread) => this.#startOne(thread)),
      );
      for (const one of started) {
        if (one.status === "rejected") throw one.reason;
      }
    } catch (error) {
      this.#end();
      throw error;
    }
    this.#check = setInterval(() => this.#checkPulses(), CHECK_MS);
  }

  async #startOne(thread: number): Promise<readonly WireAddress[]> {
    const one = new WorkerHandle(thread, this.#services);
    this.#threads.set(thread, one);
    try {
      const addresses = await one.start(this.#startOf(thread));
      if (this.#stopping) one.end();
      this.#pulses[thread] = { seen: 0, missed: 0 };
      one.failed.then((reason) => this.#replace(one, reason));
      return addresses;
    } catch (error) {
      this.#forget(one);
      throw error;
    }
  }

  #startOf(thread: number): ThreadStart {
    const { listen, module, settings } = this.#services;
    const counters = this.#counters;
    const ledger = new TicketLedger();
    this.#ledgers.set(thread, ledger);
    const handlers = module === undefined ? settings.handlers : {};
    return {
      thread,
      // Ids must not be used again after a worker was replaced.
      prefix: `${(++this.#started).toString(36)}-`,
      listen: listen.map((one, index) => ({
        ...one,
        port: this.#addresses[index]?.port ?? one.port,
      })),
      options: settings.encode(),
      module,
      handlers: sessionHandlersOf(handlers),
      store: settings.store,
      saltKey: this.#saltKey,
      sessions: counters.sessions,
      pulses: counters.pulses,
      addresses: counters.memory,
      users: counters.users,
      tickets: ledger.slots,
      now: performance.now(),
    };
  }

  /** Replaces a failed worker. */
  #replace(failed: WorkerHandle, reason: string): void {
    const { thread } = failed;
    if (this.#threads.get(thread) !== failed) return;
    this.#forget(failed);
    if (this.#stopping) return;
    this.#services.log({
      level: "error",
      event: "error",
      message: `Thread ${thread} has failed and is replaced`,
      fields: { thread },
      error: reason,
    });
    this.#restart(thread);
  }

  #restart(thread: number): void {
    this.#startOne(thread).catch((error) => {
      if (this.#stopping) return;
      this.#services.log({
        level: "error",
        event: "error",
        message: `Thread ${thread} cannot be replaced for now`,
        fields: { thread },
        error: errorMessage(error),
      });
      const timer = setTimeout(() => {
        this.#retries.delete(timer);
        this.#restart(thread);
      }, RETRY_MS);
      this.#retries.add(timer);
    });
  }

  /** Ends a worker, and subtracts its counts. */
  #forget(one: WorkerHandle): void {
    if (this.#threads.get(one.thread) === one) this.#threads.delete(one.thread);
    one.end();
    const { thread } = one;
    Atomics.store(this.#counters.sessions, thread, 0);
    const ledger = this.#ledgers.get(thread);
    if (ledger !== undefined) this.#services.counts.leaveAll(ledger);
    this.#ledgers.delete(thread);
  }

  /** Replaces workers without a pulse for half a minute: a thread in an endless loop serves no client. */
  #checkPulses(): void {
    for (const [thread, one] of this.#threads) {
      const pulse = this.#pulses[thread];
      if (pulse === undefined) continue;
      const seen = Atomics.load(this.#counters.pulses, thread);
      pulse.missed = seen === pulse.seen ? pulse.missed + 1 : 0;
      pulse.seen = seen;
      if (pulse.missed >= MOST_MISSED) {
        this.#replace(one, "It has not answered for half a minute");
      }
    }
  }

  #publishCertificates(): void {
    const source = this.#services.settings.certificates;
    if (source === undefined) return;
    const wire = encodeCertificates(source, false);
    for (const { channel } of this.#threads.values()) {
      channel.notify("certificates", wire);
    }
  }

  /**
   * Applies new settings on all workers.
   *
   * @param options The new settings
   * @param before The old settings, which are restored if a worker refuses
   * @throws {TypeError} If they do not fit the listeners; then nothing is changed
   */
  async reload(options: WireOptions, before: WireOptions): Promise<void> {
    const changed: WorkerHandle[] = [];
    try {
      // One after the other: settings that the first worker refuses do not reach the others.
      for (const one of [...this.#threads.values()]) {
        if (await this.#reloadOne(one, options)) changed.push(one);
      }
      this.#watchCertificates();
    } catch (error) {
      for (const { channel } of changed) {
        await channel.call("reload", before, RICH).catch(() => {});
      }
      throw error;
    }
  }

  /** Whether the worker took the settings; `false` if it has ended: its replacement starts with them. */
  async #reloadOne(one: WorkerHandle, options: WireOptions): Promise<boolean> {
    try {
      await one.channel.call("reload", options, RICH);
      return true;
    } catch (error) {
      if (this.#threads.get(one.thread) === one) throw error;
      return false;
    }
  }

  /** Stops the workers; their sessions may go on for `graceMs`, then they get 421. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    const stops = [...this.#threads.values()].map(async (one) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, graceMs + STOP_MS);
      const stopped = one.channel.call("stop", graceMs).catch(() => {});
      await Promise.race([stopped, promise, one.failed]);
      clearTimeout(timer);
    });
    await Promise.all(stops);
    this.#end();
  }

  /** Ends the grace of the current stop. */
  abort(): void {
    for (const { channel } of this.#threads.values()) {
      channel.notify("abort", undefined);
    }
  }

  #end(): void {
    this.#stopping = true;
    clearInterval(this.#check);
    for (const timer of this.#retries) clearTimeout(timer);
    this.#retries.clear();
    this.#unsubscribe?.();
    for (const one of [...this.#threads.values()]) this.#forget(one);
  }
}

/**
 * Numbers in memory that all threads of a server share: the sessions and the
 * pulse of each thread, and the counts per address and per user.
 */
export class Counters {
  /** Sessions by thread; 0 is the main one. */
  readonly sessions: Int32Array;
  /** Pulses by thread: each increments its number while its event loop runs. */
  readonly pulses: Int32Array;
  /** The counts per address. */
  readonly memory: SharedArrayBuffer = addressMemory();
  /** The counts per user. */
  readonly users: SharedArrayBuffer = userMemory();

  /** @param workers Number of threads beside the main one */
  constructor(workers: number) {
    const threads = workers + 1;
    const shared = new SharedArrayBuffer(8 * threads);
    this.sessions = new Int32Array(shared, 0, threads);
    this.pulses = new Int32Array(shared, 4 * threads);
  }

  /** Number of workers. */
  get workers(): number {
    return this.sessions.length - 1;
  }

  /** The counts for the main thread. */
  get counts(): SharedCounts {
    const { sessions, memory, users } = this;
    return { count: new SessionCount(sessions), memory, users };
  }
}
