/**
 * The workers of a server: started on one set of ports, replaced when they
 * fail, told of new settings, stopped together. What one of them loses is its
 * sessions; the others, the queue and the ports go on.
 *
 * The numbers that all threads of a server see at once: how many sessions each
 * has, a pulse that shows that it still turns, and the counts per address.
 */

import type { Logger } from "../log.ts";
import type { ListenOptions } from "../net/listen_options.ts";
import { checkThreads } from "../net/listener.ts";
import type { SmtpHandlers } from "../session/handlers.ts";
import {
  type AddressLimiter,
  SessionCount,
  type SharedCounts,
  TicketLedger,
} from "../session/limits.ts";
import type { SmtpSession } from "../session/session.ts";
import { describeStore } from "../store/thread_store.ts";
import type {
  SessionHandlerName,
  ThreadStart,
  WireAddress,
  WireOptions,
} from "./api.ts";
import { type MainServices, RemoteThread } from "./worker_handle.ts";
import { encodeCertificates } from "./wire_options.ts";
import { addressMemory } from "../session/address_table.ts";

/** How often it is looked after threads that stand still, in ms. */
const CHECK_MS = 5000;
/** Looks without a pulse after which a thread is given up. */
const MOST_MISSED = 6;
/** How long to wait before a thread is replaced that failed at its start, in ms. */
const RETRY_MS = 1000;
/** How long a worker may take to stop beyond the grace, in ms. */
const STOP_MS = 3000;

/** Settings are more than JSON can say. */
const RICH = { isRich: true };

/** What a {@linkcode ThreadPool} is made of. */
export interface ThreadPoolInit {
  /** How many workers. */
  readonly threads: number;
  /** Where they listen. */
  readonly listen: readonly ListenOptions[];
  /** The handler module that each loads; else those of the main thread are asked. */
  readonly module: string | undefined;
  /** What there is one of for all threads. */
  readonly services: MainServices;
  /** The numbers that all threads see. */
  readonly counters: Counters;
  /** Counts what clients do. */
  readonly counts: AddressLimiter;
  /** The options as they are now. */
  options(): WireOptions;
}

/** The handlers about sessions, by name. */
const SESSION_HANDLERS: readonly SessionHandlerName[] = [
  ...["onConnect", "onCommand", "onHelo", "onAuthenticate"] as const,
  ...["onMailFrom", "onRcptTo", "onMessageStart", "onHeaders"] as const,
  ...["onMessage", "onReset", "onDisconnect", "onVerify"] as const,
  ...["onExpand", "onStateChange"] as const,
];

/** The workers of one server. */
export class ThreadPool {
  /** Where they listen, all of them. */
  addresses: readonly WireAddress[] = [];
  readonly #init: ThreadPoolInit;
  readonly #log: Logger;
  readonly #threads = new Map<number, RemoteThread>();
  /** The addresses that each thread serves. */
  readonly #ledgers = new Map<number, TicketLedger>();
  readonly #saltKey = crypto.getRandomValues(new Uint8Array(32));
  /** Pulses as they were at the last look, and looks without one since. */
  readonly #pulses: { seen: number; missed: number }[] = [];
  #started = 0;
  #stopping = false;
  #check: ReturnType<typeof setInterval> | undefined;
  readonly #retries = new Set<ReturnType<typeof setTimeout>>();
  #unsubscribe: (() => void) | undefined;

  /**
   * Starts nothing.
   *
   * @throws {Deno.errors.NotSupported} If the platform does not share ports, or may not without its flag
   */
  constructor(init: ThreadPoolInit) {
    checkThreads(init.threads);
    this.#init = init;
    this.#log = init.services.log;
    this.#watchCertificates();
  }

  #watchCertificates(): void {
    this.#unsubscribe?.();
    this.#unsubscribe = this.#init.services.certificates()
      ?.onReplace(() => this.#tellCertificates());
  }

  /** The sessions that the workers have told of. */
  get sessions(): readonly SmtpSession[] {
    return [...this.#threads.values()].flatMap(({ sessions }) => sessions);
  }

  /**
   * Starts the workers; resolves when all of them listen.
   *
   * @throws {Error} If one of them cannot; then none is left
   */
  async start(): Promise<void> {
    const { threads } = this.#init;
    try {
      // The first one finds the ports that are free.
      this.addresses = await this.#startOne(1);
      const others = Array.from({ length: threads - 1 }, (_, at) => at + 2);
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
    this.#check = setInterval(() => this.#lookAfter(), CHECK_MS);
  }

  async #startOne(thread: number): Promise<readonly WireAddress[]> {
    const one = new RemoteThread(thread, this.#init.services);
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
    const { listen, module, services, counters } = this.#init;
    const ledger = new TicketLedger();
    this.#ledgers.set(thread, ledger);
    const handlers = module === undefined ? services.handlers() : {};
    return {
      thread,
      // Names must not come again after a thread was replaced.
      prefix: `${(++this.#started).toString(36)}-`,
      listen: listen.map((one, index) => ({
        ...one,
        port: this.addresses[index]?.port ?? one.port,
      })),
      options: this.#init.options(),
      module,
      handlers: SESSION_HANDLERS.filter((name) => isSet(handlers, name)),
      store: describeStore(services.store) ?? { main: services.store.kind },
      saltKey: this.#saltKey,
      sessions: counters.sessions,
      pulses: counters.pulses,
      addresses: counters.memory,
      tickets: ledger.slots,
      now: performance.now(),
    };
  }

  /** A worker has failed: another one takes its place. */
  #replace(failed: RemoteThread, reason: string): void {
    const { thread } = failed;
    if (this.#threads.get(thread) !== failed) return;
    this.#forget(failed);
    if (this.#stopping) return;
    this.#log({
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
      this.#log({
        level: "error",
        event: "error",
        message: `Thread ${thread} cannot be replaced for now`,
        fields: { thread },
        error: error instanceof Error ? error.message : String(error),
      });
      const timer = setTimeout(() => {
        this.#retries.delete(timer);
        this.#restart(thread);
      }, RETRY_MS);
      this.#retries.add(timer);
    });
  }

  /** Ends a worker, and gives back what it counted. */
  #forget(one: RemoteThread): void {
    if (this.#threads.get(one.thread) === one) this.#threads.delete(one.thread);
    one.end();
    const { thread } = one;
    Atomics.store(this.#init.counters.sessions, thread, 0);
    const ledger = this.#ledgers.get(thread);
    if (ledger !== undefined) this.#init.counts.departAll(ledger);
    this.#ledgers.delete(thread);
  }

  /** A thread that computes without end serves nobody and says nothing. */
  #lookAfter(): void {
    for (const [thread, one] of this.#threads) {
      const pulse = this.#pulses[thread];
      if (pulse === undefined) continue;
      const seen = Atomics.load(this.#init.counters.pulses, thread);
      pulse.missed = seen === pulse.seen ? pulse.missed + 1 : 0;
      pulse.seen = seen;
      if (pulse.missed >= MOST_MISSED) {
        this.#replace(one, "It has not answered for half a minute");
      }
    }
  }

  #tellCertificates(): void {
    const source = this.#init.services.certificates();
    if (source === undefined) return;
    const wire = encodeCertificates(source, false);
    for (const { channel } of this.#threads.values()) {
      channel.note("certificates", wire);
    }
  }

  /**
   * Puts new settings into force on all workers.
   *
   * @param options The new settings
   * @param before What they were, for the case that a worker refuses
   * @throws {TypeError} If they do not fit the listeners; nothing is changed then
   */
  async reload(options: WireOptions, before: WireOptions): Promise<void> {
    const changed: RemoteThread[] = [];
    try {
      // One after the other: what the first refuses, the others never see.
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

  /** Whether the worker has the settings; one that has ended is replaced by one that begins with them. */
  async #reloadOne(one: RemoteThread, options: WireOptions): Promise<boolean> {
    try {
      await one.channel.call("reload", options, RICH);
      return true;
    } catch (error) {
      if (this.#threads.get(one.thread) === one) throw error;
      return false;
    }
  }

  /** Stops the workers: their sessions may go on for `graceMs`, then they get 421. */
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

  /** Ends the grace of a stop under way. */
  abort(): void {
    for (const { channel } of this.#threads.values()) {
      channel.note("abort", undefined);
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

function isSet(handlers: SmtpHandlers, name: SessionHandlerName): boolean {
  return handlers[name] !== undefined;
}

/** Numbers in the memory that threads share. */
export class Counters {
  /** Sessions by thread; 0 is the main one. */
  readonly sessions: Int32Array;
  /** Counted up by each thread while it turns. */
  readonly pulses: Int32Array;
  /** The counts per address. */
  readonly memory: SharedArrayBuffer = addressMemory();

  /** @param threads How many threads there will be, the main one among them */
  constructor(threads: number) {
    const shared = new SharedArrayBuffer(8 * threads);
    this.sessions = new Int32Array(shared, 0, threads);
    this.pulses = new Int32Array(shared, 4 * threads);
  }

  /** What the main thread counts in. */
  get counts(): SharedCounts {
    return { count: new SessionCount(this.sessions), memory: this.memory };
  }
}
