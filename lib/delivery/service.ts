/**
 * Relaying as a server has it: policy, queue, delivery and their start and stop
 * put together. Owns the queue and the idle sessions of the delivery; decides
 * who may relay, and nothing about what hosts answer.
 *
 * Never opens a spool that nobody asked for: without one, the queue begins with
 * the first message.
 */

import type { SmtpHandlers } from "../session/handlers.ts";
import type { RelayClient, SessionRelaying } from "../session/context.ts";
import { describeError, type Logger } from "../log.ts";
import type { Message, Recipient } from "../message/message.ts";
import { type Cidr, parseCidr } from "../net/cidr.ts";
import { parseAddressLiteral } from "../protocol/ip.ts";
import type { Address } from "../protocol/address.ts";
import type { DeliveryJob, DeliveryReport } from "../queue/job.ts";
import { FileSpool } from "../spool/file_spool.ts";
import { MemorySpool } from "../spool/memory_spool.ts";
import { RelayQueue } from "../queue/queue.ts";
import type { RelayHooks, RelayQueueOptions } from "../queue/options.ts";
import { type Relay, type RelayOptions, Relays } from "../queue/relay.ts";
import { type Spool, SpoolError } from "../spool/spool.ts";
import type { PeerCertificate } from "../client/options.ts";
import type { SocketAddress } from "../net/transport.ts";
import { Delivery } from "./delivery.ts";
import {
  isLocalNotice,
  keepNotice,
  type LocalMail,
  ownAddressTest,
} from "./local.ts";
import {
  deliveryOptions,
  isOpenToClients,
  queueOptions,
  type RelayDns,
  type RelayingOptions,
} from "./options.ts";

/** What a {@linkcode RelayService} needs of its server. */
export interface RelayServiceContext {
  /** The server's own name. */
  readonly hostname: string;
  /** Answers DNS questions. */
  readonly dns: RelayDns;
  /** The program's decisions. */
  readonly handlers: SmtpHandlers;
  /** The server's own mailboxes; `undefined` where nothing is known of them. */
  readonly local: LocalMail | undefined;
  /** Where the server listens, now. */
  readonly addresses: () => readonly SocketAddress[];
  /** Takes log records. */
  readonly log: Logger;
}

/** A queue with its delivery, running or about to. */
interface Running {
  readonly queue: RelayQueue;
  readonly delivery: Delivery;
  readonly started: Promise<unknown>;
}

/** How long idle sessions get to say good-bye, in ms. */
const QUIT_MS = 1000;

/** Relaying of one server. */
export class RelayService implements SessionRelaying {
  /** The messages to be relayed; the same object over restarts of the server. */
  readonly relays: Relays;
  readonly #options: RelayingOptions;
  readonly #context: RelayServiceContext;
  readonly #hostname: string;
  readonly #queueOptions: Partial<RelayQueueOptions>;
  readonly #from: readonly Cidr[];
  readonly #spool: Spool;
  /** Whether the server itself is at an address and port. */
  readonly #isOwnAddress: (address: string, port: number) => boolean;
  #active = false;
  #running: Running | undefined;

  /**
   * Checks the options and opens nothing.
   *
   * @param options What the program wants
   * @param context What the server has
   * @throws {RangeError} If a number makes no sense
   * @throws {SyntaxError} If a network or the schedule cannot be read
   */
  constructor(options: RelayingOptions, context: RelayServiceContext) {
    this.#options = options;
    this.#context = context;
    this.#hostname = options.hostname ?? context.hostname;
    this.#from = (options.from ?? []).map(parseCidr);
    this.#queueOptions = queueOptions(options);
    this.#spool = this.#makeSpool();
    this.#isOwnAddress = ownAddressTest(context.addresses, options.ownNames);
    // Made for its checks: wrong numbers are to be found before the start.
    this.#newQueue(this.#newDelivery());
    const running = () => this.#running?.queue.relays;
    this.relays = new Relays({
      add: (message, relayOptions) => this.#add(message, relayOptions),
      get: (id) => running()?.get(id),
      ids: () => [...running() ?? []].map(({ id }) => id),
      get count(): number {
        return running()?.count ?? 0;
      },
    });
  }

  /** Whether a client may send to recipients that are not this server's own. */
  allows(client: RelayClient): boolean {
    const { allow } = this.#options;
    return (allow === "authenticated" && client.username !== undefined) ||
      this.#from.some((network) => network.contains(client.remoteAddress));
  }

  /**
   * Takes a message for some of its recipients.
   *
   * @throws {SpoolError} If it could not be kept
   */
  async add(
    message: Message,
    recipients: readonly Recipient[],
  ): Promise<void> {
    await this.#add(message, { recipients });
  }

  /**
   * Opens the spool and goes on with what is in it.
   *
   * @throws {SpoolError} If the spool cannot be opened
   */
  async start(): Promise<void> {
    this.#active = true;
    if (this.#options.spool === undefined) {
      if (isOpenToClients(this.#options)) this.#warnOfMemory();
      // After a restart of the server there may be mail in it.
      if (this.#spool.entries.size === 0) return;
    }
    try {
      await this.#run().started;
    } catch (error) {
      this.#active = false;
      throw error;
    }
  }

  /**
   * Begins no further delivery, lets those under way end within `graceMs`
   * milliseconds, says good-bye to idle sessions and closes the spool.
   *
   * @throws {SpoolError} If the spool did not take all that came of the deliveries
   */
  async stop(graceMs: number): Promise<void> {
    this.#active = false;
    const running = this.#running;
    if (running === undefined) return;
    await running.started.catch(() => {});
    try {
      await running.queue.stop({ graceMs });
    } finally {
      await atMost(QUIT_MS, running.delivery.close());
      this.#running = undefined;
    }
  }

  /** Ends the grace of a stop under way. Does nothing else. */
  abort(): void {
    if (!this.#active) this.#running?.queue.abort();
  }

  #run(): Running {
    if (this.#running !== undefined) return this.#running;
    const delivery = this.#newDelivery();
    const queue = this.#newQueue(delivery);
    const started = queue.start();
    const running = { queue, delivery, started };
    this.#running = running;
    started.catch(() => {
      if (this.#running === running) this.#running = undefined;
    });
    return running;
  }

  async #add(message: Message, options?: RelayOptions): Promise<Relay> {
    if (!this.#active) {
      throw new SpoolError(
        `Cannot relay message "${message.id}": the server is not active`,
      );
    }
    if (this.#running === undefined && !isOpenToClients(this.#options)) {
      this.#warnOfMemory();
    }
    const { queue, started } = this.#run();
    await started;
    return await queue.relays.add(message, options);
  }

  #makeSpool(): Spool {
    const { spool } = this.#options;
    if (spool === undefined) return new MemorySpool();
    if (typeof spool !== "string") return spool;
    return new FileSpool(spool, {
      onTrouble: (error) =>
        this.#context.log({
          level: "error",
          event: "error",
          message: `Spool "${spool}": the disk refused a write`,
          error: describeError(error),
        }),
    });
  }

  #newDelivery(): Delivery {
    const { dns, handlers } = this.#context;
    const { onRelayCertificate } = handlers;
    return new Delivery({
      ...deliveryOptions(this.#options),
      hostname: this.#hostname,
      dns,
      isOwnAddress: this.#isOwnAddress,
      onCertificate: onRelayCertificate &&
        ((peer, job) => this.#judge(peer, job)),
    });
  }

  #newQueue(delivery: Delivery): RelayQueue {
    return new RelayQueue({
      ...this.#queueOptions,
      ...this.#hooks(),
      spool: this.#spool,
      hostname: this.#hostname,
      log: this.#context.log,
      deliver: (job, signal) => this.#deliver(delivery, job, signal),
    });
  }

  /** The program's hooks, where it has them: what nobody listens to costs nothing. */
  #hooks(): RelayHooks {
    const { handlers } = this.#context;
    const hooks: RelayHooks = {};
    if (handlers.onRelayStateChange) {
      hooks.onRelayStateChange = (relay, state, previous) =>
        handlers.onRelayStateChange!(relay, state, previous);
    }
    if (handlers.onRelayDone) {
      hooks.onRelayDone = (relay) => handlers.onRelayDone!(relay);
    }
    if (handlers.onRelayError) {
      hooks.onRelayError = (relay, failed) =>
        handlers.onRelayError!(relay, failed);
    }
    return hooks;
  }

  #deliver(
    delivery: Delivery,
    job: DeliveryJob,
    signal: AbortSignal,
  ): Promise<DeliveryReport> {
    const { local } = this.#context;
    const isLocal = (address: Address) =>
      local!.isLocal(address) || this.#isOwnLiteral(address);
    if (
      local !== undefined &&
      isLocalNotice(job, { isLocal, store: local.store })
    ) {
      return keepNotice(job, local.store);
    }
    return delivery.deliver(job, signal);
  }

  /** Whether an address is at the literal of one of the server's own (RFC 1123 section 5.2.17). */
  #isOwnLiteral({ domain, isLiteral }: Address): boolean {
    const ip = isLiteral ? parseAddressLiteral(domain) : undefined;
    return ip !== undefined &&
      this.#context.addresses().some(({ port }) =>
        this.#isOwnAddress(ip, port)
      );
  }

  /** Shows a certificate to the program; what it throws refuses. */
  async #judge(
    peer: PeerCertificate,
    { id }: DeliveryJob,
  ): Promise<boolean | void> {
    const { handlers, log } = this.#context;
    const relay = this.relays.get(id);
    // It has been removed meanwhile: there is nothing left to decide.
    if (relay === undefined) return false;
    try {
      return await handlers.onRelayCertificate!(relay, peer);
    } catch (error) {
      log({
        level: "error",
        event: "error",
        message: "onRelayCertificate failed",
        fields: { id: relay.id },
        error: describeError(error),
      });
      return false;
    }
  }

  #warnOfMemory(): void {
    this.#context.log({
      level: "warn",
      event: "relay",
      message:
        "Mail to be relayed is kept in memory and dies with the process: no spool is set",
    });
  }
}

/** Waits for a promise that never rejects, `ms` at most. */
async function atMost(ms: number, waiting: Promise<void>): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  await Promise.race([waiting, promise]);
  clearTimeout(timer);
}
