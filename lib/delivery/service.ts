/**
 * The relaying of one server: puts policy, queue and delivery together, and
 * starts and stops them. Owns the queue and the delivery with its idle sessions.
 * Decides which clients may relay, and nothing about the answers of hosts.
 *
 * Some deliveries end at this server. A DSN to a sender with a mailbox here goes
 * into the server's own store, and so does mail that was held. A domain whose best host is one of the
 * server's own IP addresses (those that it listens at, and those in `ownNames`)
 * gets no mail from here: the mail would come back.
 */

import { describeError, type Logger, type LogLevel } from "../log.ts";
import type { BodyOptions } from "../message/body.ts";
import type { MailForwarder } from "../message/forwarder.ts";
import type { MailSigner } from "../message/signer.ts";
import type { Message, Recipient } from "../message/message.ts";
import { type Cidr, parsePeers } from "../net/cidr.ts";
import {
  canonicalIp,
  isLoopback,
  parseAddressLiteral,
} from "../protocol/ip.ts";
import type { Address } from "../protocol/address.ts";
import { SmtpReply } from "../protocol/reply.ts";
import type {
  DeliveryJob,
  DeliveryReport,
  RecipientReport,
} from "../queue/job.ts";
import { FileSpool } from "../spool/file_spool.ts";
import { MemorySpool } from "../spool/memory_spool.ts";
import { RelayQueue } from "../queue/queue.ts";
import type { RelayHooks } from "../queue/options.ts";
import type { Relay, RelayOptions, Relays } from "../queue/relay.ts";
import type { Spool, SpoolAddition, SpoolProblem } from "../spool/spool.ts";
import type { SpoolEntry } from "../spool/envelope.ts";
import type { PeerCertificate } from "../client/options.ts";
import type { SocketAddress } from "../net/transport.ts";
import type { TlsReporter } from "../secure_transport/tls_reporter.ts";
import type { TlsResult } from "../secure_transport/tls_result.ts";
import type { Clock } from "../spool/clock.ts";
import { Delivery } from "./delivery.ts";
import {
  type Decided,
  isDsn,
  type LocalMail,
  saveDsn,
  saveHeld,
} from "./local_mail.ts";
import { isTlsReport, startReporting } from "./reporting.ts";
import { ContentSigning } from "./signing.ts";
import {
  deliveryOptions,
  isOpenToClients,
  queueOptions,
  type RelayDns,
  type RelayingOptions,
} from "./options.ts";

/** A client that sends mail to recipients that are not local. */
export interface RelayingClient {
  /** The client's IP address. */
  readonly remoteAddress: string;
  /** The name the client has logged in with; `undefined` without login. */
  readonly username: string | undefined;
}

/** The program's handlers for its relays. */
export interface RelayHandlers extends RelayHooks {
  /** Gets to know what became of the TLS of each connection to a host (RFC 8460). */
  onTlsResult?(relay: Relay, result: TlsResult): void | Promise<void>;
  /** Judges the certificate of a host: `true` accepts, `false` rejects, `undefined` leaves the decision to the policy. */
  onRelayCertificate?(
    relay: Relay,
    peer: PeerCertificate,
  ): boolean | void | Promise<boolean | void>;
}

/** The server around a {@linkcode RelayService}. */
export interface RelayServiceContext {
  readonly hostname: string;
  readonly dns: RelayDns;
  readonly handlers: RelayHandlers;
  /** The server's own mailboxes; `undefined` if they are unknown. */
  readonly local: LocalMail | undefined;
  /** The addresses that the server listens at now. */
  readonly addresses: () => readonly SocketAddress[];
  /** Where the content of the program's own mail goes on its way to the spool. */
  readonly body: BodyOptions;
  /** Signs mail that leaves; nothing is signed if unset. */
  readonly signer?: MailSigner | undefined;
  /** Changes mail from outside that leaves; nothing is changed if unset. */
  readonly forwarder?: MailForwarder | undefined;
  /** The clock of the queue and of reports. Default: the machine's. */
  readonly clock?: Clock | undefined;
  readonly log: Logger;
  /** The least level of the records that are made. */
  readonly logLevel: LogLevel;
}

/** How long idle sessions have to answer QUIT, in milliseconds. */
const QUIT_MS = 1000;

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
  /** Replaced at each start: its memories of hosts last for one run. */
  #delivery: Delivery;
  #started: Promise<unknown> | undefined;
  #reporter: TlsReporter | undefined;

  /**
   * Checks the options and opens nothing.
   *
   * @throws {RangeError} If a number is out of range
   * @throws {SyntaxError} If a network or the schedule cannot be parsed
   */
  constructor(options: RelayingOptions, context: RelayServiceContext) {
    this.#options = options;
    this.#context = context;
    this.#hostname = options.hostname ?? context.hostname;
    this.#from = (options.from ?? []).map(parsePeers);
    this.#isOwnAddress = ownAddressTest(context.addresses, options.ownNames);
    this.#delivery = this.#newDelivery();
    this.#queue = new RelayQueue({
      ...queueOptions(options),
      ...hooksOf(context),
      spool: makeSpool(options, context.log),
      hostname: this.#hostname,
      log: context.log,
      logLevel: context.logLevel,
      deliver: (job, signal) => this.#deliver(job, signal),
    }, context);
    this.relays = this.#queue.relays;
  }

  /** Whether the policy lets a client send to recipients that are not local. */
  allows(client: RelayingClient): boolean {
    const { allow } = this.#options;
    return (allow === "authenticated" && client.username !== undefined) ||
      this.#isFrom(client);
  }

  /** Whether the server sends for a client: one that has logged in, or of the networks of `from`. */
  sendsFor(client: RelayingClient): boolean {
    return client.username !== undefined || this.#isFrom(client);
  }

  #isFrom({ remoteAddress }: RelayingClient): boolean {
    return this.#from.some((network) => network.contains(remoteAddress));
  }

  /**
   * Queues a message for some of its recipients.
   *
   * @param route How it is relayed. Default: by the options of relaying
   * @throws {SpoolError} If the spool could not keep it
   */
  async add(
    message: Message,
    recipients: readonly Recipient[],
    route?: RelayOptions,
  ): Promise<void> {
    await this.relays.add(message, { ...route, recipients });
  }

  /**
   * Opens the spool and resumes the deliveries in it.
   *
   * @throws {SpoolError} If the spool cannot be opened
   */
  async start(): Promise<void> {
    this.#delivery = this.#newDelivery();
    this.#started = this.#start();
    try {
      await this.#started;
    } catch (error) {
      this.#started = undefined;
      throw error;
    }
  }

  async #start(): Promise<void> {
    const { dns, log, clock } = this.#context;
    const { relays } = this;
    // Before the queue: its first deliveries count, too.
    if (this.#options.reports !== undefined) {
      this.#reporter = await startReporting(this.#options, {
        ...{ relays, dns, log, clock },
      });
    }
    try {
      await this.#queue.start();
    } catch (error) {
      await this.#reporter?.stop();
      throw error;
    }
  }

  /**
   * Begins no further delivery, gives the running ones `graceMs` milliseconds to
   * end, closes the spool, and ends idle sessions with QUIT.
   *
   * @throws {SpoolError} If the spool could not keep all results of the deliveries
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
      await this.#reporter?.stop();
      this.#reporter = undefined;
    }
  }

  /** Ends the grace period of a stop that is running. Does nothing otherwise. */
  abort(): void {
    if (this.#started === undefined) this.#queue.abort();
  }

  #newDelivery(): Delivery {
    const { dns, handlers, log } = this.#context;
    const { onRelayCertificate, onTlsResult } = handlers;
    const { spool, reports } = this.#options;
    return new Delivery({
      ...deliveryOptions(this.#options),
      hostname: this.#hostname,
      dns,
      isOwnAddress: this.#isOwnAddress,
      onCertificate: onRelayCertificate &&
        ((peer, job) => this.#judge(peer, job)),
    }, {
      signing: new ContentSigning(this.#context, log),
      stsFolder: typeof spool === "string" ? `${spool}/sts` : undefined,
      ...((onTlsResult || reports) && {
        onTlsResult: (result, job) => this.#tlsResult(result, job),
      }),
      ...(reports && {
        isExempt: ({ id }) => isTlsReport(this.relays.get(id)),
      }),
      log,
    });
  }

  async #deliver(
    job: DeliveryJob,
    signal: AbortSignal,
  ): Promise<DeliveryReport> {
    const { local } = this.#context;
    if (local !== undefined && job.toStore) return saveHeld(job, local.store);
    if (local !== undefined && isDsn(job)) {
      const decided = await this.#decide(job, local);
      if (decided !== undefined) return this.#deliverDsn(job, decided, local);
    }
    return await this.#delivery.deliver(job, signal);
  }

  /** Whether an address has a mailbox here. */
  #hasMailbox(address: Address, { isLocal, store }: LocalMail): boolean {
    return store.kind !== "discard" &&
      (isLocal(address) || this.#isOwnLiteral(address));
  }

  /**
   * What a DSN's recipients become, or the replies that refuse them; `undefined`
   * if the DSN goes to another host, as to a domain of ours without a store: there
   * only an alias that leads out of such domains is followed.
   */
  async #decide(
    { recipients, size }: DeliveryJob,
    local: LocalMail,
  ): Promise<Decided[] | undefined> {
    const all: Decided[] = [];
    for (const recipient of recipients) {
      const { address, parameters } = recipient;
      const isHere = this.#hasMailbox(address, local);
      if (!isHere && !local.isOurs(address)) return undefined;
      const targets = await local.decide?.(address, size);
      if (targets instanceof SmtpReply) {
        all.push(targets);
      } else if (targets === undefined) {
        if (!isHere) return undefined;
        all.push([recipient]);
      } else {
        const isElsewhere = (one: Address) =>
          local.isOurs(one) && !this.#hasMailbox(one, local);
        if (!isHere && targets.some(isElsewhere)) return undefined;
        all.push(
          targets.map((target) => ({
            ...{ address: target, parameters, original: address },
          })),
        );
      }
    }
    return all;
  }

  /**
   * Delivers a DSN to the mailboxes that its recipients stand for; what an alias
   * sends elsewhere is queued. A recipient that does not exist has failed.
   */
  async #deliverDsn(
    job: DeliveryJob,
    decided: readonly Decided[],
    local: LocalMail,
  ): Promise<DeliveryReport> {
    const here: Recipient[] = [];
    const away: Recipient[] = [];
    const recipients = decided.map((one): RecipientReport => {
      if (one instanceof SmtpReply) {
        const status = one.isTemporary ? "deferred" : "failed";
        return { status, reply: one };
      }
      for (const target of one) {
        const isHere = this.#hasMailbox(target.address, local);
        (isHere ? here : away).push(target);
      }
      return { status: "delivered", inMailbox: true };
    });
    await saveDsn(job, { here, away, store: local.store, relays: this.relays });
    return { recipients, destinationFailed: false };
  }

  /** Whether the domain of an address is the literal of one of the server's addresses (RFC 1123 section 5.2.17). */
  #isOwnLiteral({ domain, isLiteral }: Address): boolean {
    const ip = isLiteral ? parseAddressLiteral(domain) : undefined;
    return ip !== undefined &&
      this.#context.addresses().some(({ port }) =>
        this.#isOwnAddress(ip, port)
      );
  }

  /** Calls `onRelayCertificate`. If it throws, the certificate is rejected. */
  async #judge(
    peer: PeerCertificate,
    { id }: DeliveryJob,
  ): Promise<boolean | void> {
    const { handlers, log } = this.#context;
    const relay = this.relays.get(id);
    // The relay has been removed meanwhile: there is nothing left to decide.
    if (relay === undefined) return false;
    try {
      return await handlers.onRelayCertificate!(relay, peer);
    } catch (error) {
      log({
        level: "error",
        event: "error",
        message: "onRelayCertificate failed",
        fields: { relay: relay.id },
        error: describeError(error),
      });
      return false;
    }
  }

  /** Counts what became of the TLS of a connection, and tells the program; nothing waits for it. */
  #tlsResult(result: TlsResult, { id }: DeliveryJob): void {
    const { handlers, log } = this.#context;
    const relay = this.relays.get(id);
    if (!isTlsReport(relay)) this.#reporter?.add(result);
    if (relay === undefined || handlers.onTlsResult === undefined) return;
    const tell = async () => await handlers.onTlsResult!(relay, result);
    tell().catch((error) =>
      log({
        level: "error",
        event: "error",
        message: "onTlsResult failed",
        fields: { relay: relay.id },
        error: describeError(error),
      })
    );
  }
}

/**
 * The program's hooks as they are when they are due: a module of handlers is
 * loaded after the queue was made.
 */
function hooksOf(context: RelayServiceContext): RelayHooks {
  return {
    onRelayStateChange: (relay, state, previous) =>
      context.handlers.onRelayStateChange?.(relay, state, previous),
    onRelayDone: (relay) => context.handlers.onRelayDone?.(relay),
    onRelayError: (relay, failed) =>
      context.handlers.onRelayError?.(relay, failed),
  };
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
 * The spool if none is set: memory. Logs a warning once per start: at once if
 * clients may relay, else with the first message.
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
      event: "warning",
      message:
        "Mail to be relayed is kept in memory and dies with the process: no spool is set",
    });
  }
}

/** Waits for a promise that never rejects, at most `ms` milliseconds. */
async function atMost(ms: number, waiting: Promise<void>): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  await Promise.race([waiting, promise]);
  clearTimeout(timer);
}

/** Milliseconds for which the addresses of the machine are cached. */
const FRESH_MS = 60_000;

/**
 * Makes the test whether this server is at an IP address and port.
 *
 * @param listening Gives the addresses that the server listens at now
 * @param named The option `ownNames`. Its IP addresses are the server's at any port; names are ignored
 */
function ownAddressTest(
  listening: () => readonly SocketAddress[],
  named: readonly string[] = [],
): (address: string, port: number) => boolean {
  const given = new Set(named.map((name) => canonicalIp(name)));
  const machine = machineAddresses();
  return (address, port) => {
    const wanted = canonicalIp(address);
    if (wanted === undefined) return false;
    if (given.has(wanted)) return true;
    return listening().some((at) => {
      if (at.port !== port) return false;
      const own = canonicalIp(at.address) ?? at.address;
      if (own !== "0.0.0.0" && own !== "::") return own === wanted;
      return isLoopback(wanted) || wanted === "0.0.0.0" || wanted === "::" ||
        machine().has(wanted);
    });
  };
}

/** Reads the addresses of this machine; an empty set without `allow-sys`. */
function machineAddresses(): () => ReadonlySet<string> {
  let known = new Set<string>();
  let askedAt = -Infinity;
  return () => {
    const now = performance.now();
    if (now - askedAt < FRESH_MS) return known;
    askedAt = now;
    try {
      known = new Set(
        Deno.networkInterfaces().map(({ address }) =>
          canonicalIp(address) ?? address
        ),
      );
    } catch {
      // Without allow-sys only the listening addresses and `ownNames` are known.
    }
    return known;
  };
}
