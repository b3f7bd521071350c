/**
 * Relaying as a server has it: policy, queue, delivery and their start and stop
 * put together. Owns the queue and the idle sessions of the delivery; decides
 * who may relay, and nothing about what hosts answer.
 */

import { describeError, type Logger } from "../log.ts";
import type { Message, Recipient } from "../message/message.ts";
import { type Cidr, parseCidr } from "../net/cidr.ts";
import { parseAddressLiteral } from "../protocol/ip.ts";
import type { Address } from "../protocol/address.ts";
import type { DeliveryJob, DeliveryReport } from "../queue/job.ts";
import { FileSpool } from "../spool/file_spool.ts";
import { MemorySpool } from "../spool/memory_spool.ts";
import { RelayQueue } from "../queue/queue.ts";
import type { RelayHooks } from "../queue/options.ts";
import type { Relay, Relays } from "../queue/relay.ts";
import type { Spool, SpoolAddition, SpoolProblem } from "../spool/spool.ts";
import type { SpoolEntry } from "../spool/envelope.ts";
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
  defined,
  deliveryOptions,
  isOpenToClients,
  queueOptions,
  type RelayDns,
  type RelayingOptions,
} from "./options.ts";

/** Who wants to send mail elsewhere. */
export interface RelayingClient {
  /** The client's IP address. */
  readonly remoteAddress: string;
  /** Who has logged in, `undefined` for nobody. */
  readonly username: string | undefined;
}

/** What a program is asked and told about its relays. */
export interface RelayHandlers extends RelayHooks {
  /** Judges the certificate of a host: `true` accepts, `false` refuses, nothing leaves it to the policy. */
  onRelayCertificate?(
    relay: Relay,
    peer: PeerCertificate,
  ): boolean | void | Promise<boolean | void>;
}

/** What a {@linkcode RelayService} needs of its server. */
export interface RelayServiceContext {
  /** The server's own name. */
  readonly hostname: string;
  /** Answers DNS questions. */
  readonly dns: RelayDns;
  /** The program's decisions. */
  readonly handlers: RelayHandlers;
  /** The server's own mailboxes; `undefined` where nothing is known of them. */
  readonly local: LocalMail | undefined;
  /** Where the server listens, now. */
  readonly addresses: () => readonly SocketAddress[];
  /** Takes log records. */
  readonly log: Logger;
}

/** How long idle sessions get to say good-bye, in ms. */
const QUIT_MS = 1000;

/** Relaying of one server. */
export class RelayService {
  /** The messages to be relayed; the same object over restarts of the server. */
  readonly relays: Relays;
  readonly #options: RelayingOptions;
  readonly #context: RelayServiceContext;
  readonly #hostname: string;
  readonly #from: readonly Cidr[];
  readonly #queue: RelayQueue;
  /** Whether the server itself is at an address and port. */
  readonly #isOwnAddress: (address: string, port: number) => boolean;
  /** Made anew at each start: what it remembers of hosts is of one run. */
  #delivery: Delivery;
  #started: Promise<unknown> | undefined;

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
    this.#isOwnAddress = ownAddressTest(context.addresses, options.ownNames);
    this.#delivery = this.#newDelivery();
    this.#queue = new RelayQueue({
      ...queueOptions(options),
      ...hooksOf(context.handlers),
      spool: makeSpool(options, context.log),
      hostname: this.#hostname,
      log: context.log,
      deliver: (job, signal) => this.#deliver(job, signal),
    });
    this.relays = this.#queue.relays;
  }

  /** Whether a client may send to recipients that are not this server's own. */
  allows(client: RelayingClient): boolean {
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
    await this.relays.add(message, { recipients });
  }

  /**
   * Opens the spool and goes on with what is in it.
   *
   * @throws {SpoolError} If the spool cannot be opened
   */
  async start(): Promise<void> {
    this.#delivery = this.#newDelivery();
    this.#started = this.#queue.start();
    try {
      await this.#started;
    } catch (error) {
      this.#started = undefined;
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
    const started = this.#started;
    this.#started = undefined;
    if (started === undefined) return;
    try {
      await started;
    } catch {
      return;
    }
    try {
      await this.#queue.stop({ graceMs });
    } finally {
      await atMost(QUIT_MS, this.#delivery.close());
    }
  }

  /** Ends the grace of a stop under way. Does nothing else. */
  abort(): void {
    if (this.#started === undefined) this.#queue.abort();
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

  #deliver(job: DeliveryJob, signal: AbortSignal): Promise<DeliveryReport> {
    const { local } = this.#context;
    const isLocal = (address: Address) =>
      local!.isLocal(address) || this.#isOwnLiteral(address);
    if (
      local !== undefined &&
      isLocalNotice(job, { isLocal, store: local.store })
    ) {
      return keepNotice(job, local.store);
    }
    return this.#delivery.deliver(job, signal);
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
}

/** The program's hooks, where it has them: what nobody listens to costs nothing. */
function hooksOf(handlers: RelayHandlers): RelayHooks {
  return defined({
    onRelayStateChange: handlers.onRelayStateChange?.bind(handlers),
    onRelayDone: handlers.onRelayDone?.bind(handlers),
    onRelayError: handlers.onRelayError?.bind(handlers),
  });
}

function makeSpool(options: RelayingOptions, log: Logger): Spool {
  const { spool } = options;
  if (spool === undefined) return new UnsafeSpool(log, options);
  if (typeof spool !== "string") return spool;
  return new FileSpool(spool, {
    onTrouble: (error) =>
      log({
        level: "error",
        event: "error",
        message: `Spool "${spool}": the disk refused a write`,
        error: describeError(error),
      }),
  });
}

/**
 * The memory that mail is kept in where no spool is set. Warns of it once a
 * start: at once where clients may relay, else when there is mail.
 */
class UnsafeSpool extends MemorySpool {
  readonly #log: Logger;
  readonly #options: RelayingOptions;
  #isWarned = false;

  constructor(log: Logger, options: RelayingOptions) {
    super();
    this.#log = log;
    this.#options = options;
  }

  override async open(): Promise<readonly SpoolProblem[]> {
    this.#isWarned = this.entries.size > 0;
    if (isOpenToClients(this.#options)) this.#warn();
    return await super.open();
  }

  override async add(message: SpoolAddition): Promise<SpoolEntry> {
    if (!this.#isWarned) this.#warn();
    return await super.add(message);
  }

  #warn(): void {
    this.#isWarned = true;
    this.#log({
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
