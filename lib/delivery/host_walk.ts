/**
 * One job walked from host to host, address to address, until every recipient
 * is decided. Owns who is still waiting and why; what a failure means is asked
 * of `outcome.ts`, where to go of `route.ts`.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-5.1 | RFC 5321 section 5.1}
 */

import { type Failure, refusesBdat, SmtpClientError } from "../client/error.ts";
import { createHash } from "node:crypto";
import { SmtpReply } from "../protocol/reply.ts";
import { type SendResult, SmtpClient } from "../client/client.ts";
import type { SmtpClientOptions } from "../client/options.ts";
import type { ClientPool } from "./pool.ts";
import {
  type DeliveryJob,
  type DeliveryReport,
  type DeliveryState,
  isOverdue,
  OVERDUE,
  type RecipientReport,
} from "../queue/job.ts";
import type { DeliveryContent } from "./content.ts";
import type { DeliveryMachine, DeliveryOptions } from "./options.ts";
import { clientTimeouts } from "../client/session.ts";
import type {
  BrokenTlsMemory,
  HostMemory,
  SilentHosts,
} from "./host_memory.ts";
import {
  isHostFailure,
  isTooManyRecipients,
  judgeFailure,
  mayEndSession,
  refusesManner,
} from "./outcome.ts";
import {
  isNobodysAddress,
  literalAddress,
  loopReply,
  orderAddresses,
  routeDomain,
} from "./route.ts";
import { fittingRecipients } from "../client/sending_plan.ts";
import { hopPort, type NextHop, type TlsSecurity } from "../client/next_hop.ts";

/** The clock of what is remembered: not the time of day, which may be set. */
const monotonic = () => performance.now();

/** What a walk needs beside the job. */
export interface WalkOptions
  extends Omit<DeliveryOptions, "pool">, DeliveryMachine {
  /** The content. */
  readonly content: DeliveryContent;
  /** The idle sessions. */
  readonly pool: Pick<ClientPool, "take" | "give">;
  /** The hosts whose TLS is broken. */
  readonly brokenTls: BrokenTlsMemory;
  /** The hosts that offer CHUNKING and fail at BDAT. */
  readonly noChunking: HostMemory;
  /** The addresses that were silent lately. */
  readonly silent: SilentHosts;
  /** Ends the walk. */
  readonly signal: AbortSignal | undefined;
}

/** One address to try. */
interface Place {
  readonly hop: NextHop;
  readonly address: string;
  readonly moreHosts: boolean;
}

/** What is to be done at one place. */
interface Round {
  /** The recipients to send to. */
  readonly left: readonly number[];
  /** Whether an idle session will do. */
  readonly mayReuse: boolean;
}

/** One transaction that is over. */
interface Transaction {
  readonly sent: readonly number[];
  readonly place: Place;
  readonly client: SmtpClient;
  readonly settings: SmtpClientOptions;
}

/** What follows a transaction. */
interface Taken {
  /** The recipients to send to again at the same place. */
  readonly again: readonly number[];
  /** Whether that wants a session that is new. */
  readonly needsSession: boolean;
  /** Why no recipient would fare better. */
  readonly failure: Failure | undefined;
}

/** Walks one job. */
export class HostWalk {
  readonly #job: DeliveryJob;
  readonly #options: WalkOptions;
  readonly #reports: (RecipientReport | undefined)[];
  /** Why those who wait do so: what is reported if no host is left. */
  readonly #waiting = new Map<number, RecipientReport>();
  /** When no further session may begin. */
  readonly #end: number;
  #reached = false;
  /** Whether a host of the domain turned out to be this server. */
  #leadsBack = false;
  /** Whether this side ended the job for recipients that were not decided. */
  #isEndedHere = false;

  /**
   * @param job The job
   * @param options How to deliver it
   */
  constructor(job: DeliveryJob, options: WalkOptions) {
    this.#job = job;
    this.#options = options;
    this.#reports = job.recipients.map(() => undefined);
    this.#end = performance.now() + clientTimeouts(options.timeouts).delivery;
  }

  /** Walks to the end. */
  async run(): Promise<DeliveryReport> {
    let failure: { error: unknown } | undefined;
    try {
      const hops = await this.#nextHops();
      if (hops instanceof SmtpReply) this.#stopAll(hops);
      else await this.#walk(hops);
    } catch (error) {
      // Some recipients may have the message. Whoever lost this report would
      // send it to them once more.
      const stopped = this.#options.signal?.aborted === true;
      const isLate = stopped && isOverdue(this.#options.signal);
      this.#isEndedHere = !isLate && this.#pending.length > 0;
      this.#stopAll(stopped ? isLate ? SILENT : STOPPED : UNREADABLE);
      failure = stopped ? undefined : { error };
    }
    const recipients = this.#reports.map((report, index) =>
      report ?? this.#waiting.get(index)!
    );
    const destinationFailed = !this.#reached && !this.#isEndedHere &&
      recipients.every(blamesHost);
    return { recipients, destinationFailed, ...failure };
  }

  /** The recipients that are not decided. */
  get #pending(): number[] {
    return [...this.#reports.keys()].filter((index) => !this.#reports[index]);
  }

  get #smarthosts(): readonly NextHop[] | undefined {
    const own = this.#job.route?.smarthost;
    if (own) return [own];
    const { smarthosts = [] } = this.#options;
    return smarthosts.length > 0 ? smarthosts : undefined;
  }

  async #nextHops(): Promise<readonly NextHop[] | SmtpReply> {
    const smarthosts = this.#smarthosts;
    if (smarthosts) return smarthosts;
    const { destination } = this.#job;
    const { dns, remotePort: port, signal, hostname, ownNames = [] } =
      this.#options;
    const literal = literalAddress(destination);
    if (literal !== undefined) return [{ host: literal, port }];
    this.#tell("resolving-mx");
    const route = routeDomain(destination, {
      mx: await dns.mx(destination, { signal }),
      ownNames: hostname === undefined ? ownNames : [hostname, ...ownNames],
      random: this.#options.random ?? Math.random,
    });
    if ("reply" in route) return route.reply;
    return route.hosts.map((host) => ({ host, port }));
  }

  async #walk(hops: readonly NextHop[]): Promise<void> {
    for (const [at, hop] of hops.entries()) {
      const addresses = await this.#addresses(hop);
      if (addresses instanceof SmtpReply) {
        this.#noteLookup(addresses);
        if (this.#leadsBack) return;
        if (this.#isLate) return this.#stopWaiting();
        continue;
      }
      for (const [index, address] of addresses.entries()) {
        const moreHosts = at + 1 < hops.length || index + 1 < addresses.length;
        await this.#attempt({ hop, address, moreHosts });
        if (this.#pending.length === 0) return;
        if (this.#isLate) return this.#stopWaiting();
      }
    }
  }

  /** Whether the job has had its time: what is left waits for the next try. */
  get #isLate(): boolean {
    return performance.now() >= this.#end;
  }

  /** Defers what is left: there are hosts that were not asked. */
  #stopWaiting(): void {
    for (const index of this.#pending) {
      const waiting = this.#waiting.get(index);
      this.#reports[index] = waiting?.status === "deferred"
        ? waiting
        : this.#report({ reply: LATE });
    }
  }

  async #addresses(
    { host }: NextHop,
  ): Promise<readonly string[] | SmtpReply> {
    const literal = literalAddress(`[${host}]`);
    if (literal !== undefined) return this.#reachable(host, [literal]);
    const { dns, signal } = this.#options;
    this.#tell("resolving-a");
    const found = orderAddresses(host, await dns.addresses(host, { signal }));
    if (!(found instanceof SmtpReply)) return this.#reachable(host, found);
    if (!this.#smarthosts) return found;
    // A person wrote the smarthost's name down: a mistake there must not
    // return all mail.
    return new SmtpReply(451, found.lines, { enhanced: "4.4.3" });
  }

  /**
   * The addresses that mail may be sent to. What a stranger published may lead
   * back here, or to a port of this machine that was never meant for him; what
   * a person wrote down as a smarthost is followed.
   */
  #reachable(
    host: string,
    addresses: readonly string[],
  ): readonly string[] | SmtpReply {
    if (this.#smarthosts) return addresses;
    const { remotePort, isOwnAddress, allowLoopback } = this.#options;
    const port = hopPort({ port: remotePort });
    if (addresses.some((address) => isOwnAddress?.(address, port))) {
      this.#leadsBack = true;
      return loopReply(this.#job.destination);
    }
    if (allowLoopback) return addresses;
    const open = addresses.filter((address) => !isNobodysAddress(address));
    if (open.length > 0) return open;
    const text = `Mail loops: host "${host}" is at "${
      addresses[0]
    }", which is every machine's own address`;
    return new SmtpReply(554, text, { enhanced: "5.4.6" });
  }

  /** A host without an address counts for less than one that could not be reached. */
  #noteLookup(reply: SmtpReply): void {
    for (const index of this.#pending) {
      if (this.#waiting.has(index) && !reply.isTemporary) continue;
      this.#waiting.set(index, this.#report({ reply }));
    }
  }

  async #attempt(place: Place): Promise<void> {
    let round: Round | undefined = { left: this.#pending, mayReuse: true };
    while (round && round.left.length > 0 && !this.#isLate) {
      round = await this.#session(place, round);
    }
  }

  /** One session; gives what is left for another one with the same place. */
  async #session(place: Place, round: Round): Promise<Round | undefined> {
    const { pool } = this.#options;
    const settings = this.#settings(place);
    const key = poolKey(settings);
    const idle = round.mayReuse ? pool.take(key) : undefined;
    let { left } = round;
    if (!idle && this.#isSilent(place, left)) return undefined;
    this.#job.onHost?.(place.address);
    let client: SmtpClient;
    try {
      client = idle ?? await this.#connect(settings, place);
    } catch (error) {
      if (!(error instanceof SmtpClientError)) throw error;
      const { stage, reply, fromPeer } = error;
      const failure = { stage, reply, fromPeer, broken: !fromPeer };
      this.#fail(failure, { left, place });
      return undefined;
    }
    let isWelcome = true;
    try {
      while (left.length > 0 && !this.#isLate) {
        const size = await this.#size();
        // An idle session may have ended meanwhile.
        if (idle && !client.isReusable) return { left, mayReuse: false };
        const sent = this.#fitting(client, left);
        const result = await this.#send(client, { sent, size });
        // As we came on this session, nothing will be taken.
        isWelcome = !result.recipients.some(refusesManner);
        const rest = left.filter((index) => !sent.includes(index));
        const taken = this.#take(result, { sent, place, client, settings });
        left = [...taken.again, ...rest];
        if (taken.failure) {
          // Another transaction would end as this one did.
          this.#fail(taken.failure, { left, place });
          return undefined;
        }
        if (!client.isReusable || taken.needsSession) {
          return { left, mayReuse: !taken.needsSession };
        }
      }
      return { left, mayReuse: true };
    } finally {
      if (isWelcome) pool.give(key, client);
      else await client.quit();
    }
  }

  /** The recipients that one transaction may have. */
  #fitting(client: SmtpClient, left: readonly number[]): readonly number[] {
    const domains = left.map((index) =>
      this.#job.recipients[index]!.address.domain
    );
    const { limits } = client.capabilities;
    return fittingRecipients(domains, limits).map((at) => left[at]!);
  }

  /** Whether nobody answered there a short while ago, so that a call would only waste time. */
  #isSilent(place: Place, left: readonly number[]): boolean {
    const { silent, now = monotonic } = this.#options;
    if (this.#job.isUrged || !silent.has(nameOf(place), now())) return false;
    const reply = new SmtpReply(
      451,
      `Host "${place.hop.host}" at "${place.address}" did not answer a short while ago`,
      { enhanced: "4.4.1" },
    );
    this.#fail(
      { stage: "connect", reply, fromPeer: false, broken: true },
      { left, place },
    );
    return true;
  }

  async #connect(
    settings: SmtpClientOptions,
    place: Place,
  ): Promise<SmtpClient> {
    const { silent, brokenTls, signal, now = monotonic } = this.#options;
    const { connect, upgrade } = this.#options;
    const began = now();
    let heard = false;
    const { onProgress } = settings;
    try {
      const client = await SmtpClient.connect({
        ...settings,
        onProgress: (progress) => {
          heard ||= progress === "hello";
          onProgress?.(progress);
        },
      }, { connect, upgrade });
      if (client.tlsFailure) brokenTls.remember(settings.host, now());
      return client;
    } catch (error) {
      const stopped = signal?.aborted === true && !isOverdue(signal);
      // A certificate that is not accepted is a word, too.
      const spoke = error instanceof SmtpClientError &&
        (error.fromPeer || error.stage === "startTls");
      if (!heard && !spoke && !stopped) {
        silent.note(nameOf(place), { began, ended: now() });
      }
      throw error;
    } finally {
      if (heard) silent.forget(nameOf(place));
    }
  }

  /** Bytes of the content as they go over the wire. */
  async #size(): Promise<number> {
    const { size, parameters } = this.#job;
    return parameters.body === "BINARYMIME"
      ? size
      : await this.#options.content.wireSize(size);
  }

  async #send(
    client: SmtpClient,
    message: { readonly sent: readonly number[]; readonly size: number },
  ): Promise<SendResult> {
    const { sent, size } = message;
    const { from, parameters, recipients } = this.#job;
    const { signal, content } = this.#options;
    return await client.send({
      from,
      parameters: { ...parameters, size },
      to: sent.map((index) => recipients[index]!),
      data: content.data(),
      onProgress: this.#tell,
      signal,
    });
  }

  /**
   * Tells a step. A session is done with a message that may have to be tried
   * again: the queue knows when it is done for good.
   */
  readonly #tell = (state: DeliveryState): void => {
    if (state !== "done") this.#job.onState?.(state);
  };

  /** Notes a result; gives those who must be sent to again at the same place. */
  #take(result: SendResult, context: Transaction): Taken {
    const { sent, place, client, settings } = context;
    this.#learn(result, settings);
    const isUsed = client.sent > 1;
    const ended: number[] = [];
    const tooMany: number[] = [];
    let delivered = 0;
    for (const [at, index] of sent.entries()) {
      const outcome = result.recipients[at]!;
      const { reply, fromPeer, accepted } = outcome;
      const isBdat = result.bdatFailure === "refused" && refusesBdat(outcome);
      if (!accepted && (isBdat || isUsed && mayEndSession(outcome))) {
        ended.push(index);
        continue;
      }
      const report = this.#report({
        reply,
        fromPeer,
        host: place.hop.host,
        dsnPassedOn: accepted && result.dsnPassedOn,
      });
      if (!isHostFailure(outcome)) this.#reached = true;
      if (accepted) {
        delivered++;
        this.#reports[index] = { ...report, status: "delivered" };
      } else {
        if (isTooManyRecipients(outcome)) tooMany.push(index);
        this.#settle(index, { report, failure: outcome, place });
      }
    }
    const more = delivered > 0 ? tooMany : [];
    for (const index of more) this.#reports[index] = undefined;
    const isBroken = ended.length === 0 &&
      result.recipients.every(isHostFailure);
    return {
      again: [...ended, ...more],
      needsSession: ended.length > 0,
      failure: isBroken ? result.recipients[0] : undefined,
    };
  }

  /** Remembers of a host what its answers tell. */
  #learn(result: SendResult, { host }: SmtpClientOptions): void {
    const now = (this.#options.now ?? monotonic)();
    if (result.bdatFailure) this.#options.noChunking.remember(host, now);
    // It wants TLS: that TLS failed once must not keep all mail from it.
    const wantsTls = result.recipients.some(refusesManner);
    if (wantsTls) this.#options.brokenTls.forget(host);
  }

  /** A failure for all who are left. */
  #fail(
    failure: Failure,
    facts: { left: readonly number[]; place: Place },
  ): void {
    const { left, place } = facts;
    if (refusesManner(failure)) {
      this.#options.brokenTls.forget(place.hop.host);
    }
    if (!isHostFailure(failure)) this.#reached = true;
    const { reply, fromPeer } = failure;
    const host = failure.stage === "connect" ? undefined : place.hop.host;
    for (const index of left) {
      const report = this.#report({ reply, fromPeer, host });
      this.#settle(index, { report, failure, place });
    }
  }

  #settle(
    index: number,
    facts: { report: RecipientReport; failure: Failure; place: Place },
  ): void {
    const { report, failure, place } = facts;
    const verdict = judgeFailure(failure, {
      moreHosts: place.moreHosts,
      smarthost: this.#smarthosts !== undefined,
    });
    if (verdict === "bounce") {
      this.#reports[index] = { ...report, status: "failed" };
    } else if (verdict === "defer") {
      this.#reports[index] = { ...report, status: "deferred" };
    } else {
      this.#waiting.set(index, { ...report, status: "deferred" });
    }
  }

  #stopAll(reply: SmtpReply): void {
    for (const index of this.#pending) {
      this.#reports[index] = this.#report({ reply });
    }
  }

  #report(facts: {
    reply: SmtpReply;
    fromPeer?: boolean;
    host?: string | undefined;
    dsnPassedOn?: boolean;
  }): RecipientReport {
    const { reply, fromPeer = false, host, dsnPassedOn = false } = facts;
    return {
      status: reply.isTemporary ? "deferred" : "failed",
      reply,
      fromPeer,
      remoteMta: host,
      dsnPassedOn,
    };
  }

  #settings({ hop, address }: Place): SmtpClientOptions {
    const options = this.#options;
    const login = this.#smarthosts && (this.#job.login ?? options.login);
    const wanted: TlsSecurity = this.#job.route?.security ??
      options.security ?? (login ? "verified" : "opportunistic");
    const now = (options.now ?? monotonic)();
    const { onCertificate } = options;
    return {
      ...hop,
      address,
      hostname: options.hostname,
      security: options.brokenTls.apply(wanted, { host: hop.host, now }),
      login,
      allowInsecureAuth: options.allowInsecureAuth,
      chunking: options.chunking !== false &&
        !options.noChunking.has(hop.host, now),
      longLines: options.longLines,
      timeouts: options.timeouts,
      clientCertificate: options.clientCertificate,
      trusted: options.trusted,
      signal: options.signal,
      onProgress: this.#tell,
      onCertificate: onCertificate &&
        ((peer) => onCertificate(peer, this.#job)),
    };
  }
}

/** Why recipients wait when the job was stopped, or its content cannot be read. */
const STOPPED = new SmtpReply(451, "Delivery was stopped", {
  enhanced: "4.3.2",
});
const LATE = new SmtpReply(451, "The hosts took too long", {
  enhanced: "4.4.7",
});
/** Why they wait when no host has said a word for so long that others were let go. */
const SILENT = new SmtpReply(451, OVERDUE.reason, {
  enhanced: OVERDUE.enhanced,
});
const UNREADABLE = new SmtpReply(451, "Cannot read the message", {
  enhanced: "4.3.0",
});

/** A place as it is remembered. */
function nameOf({ hop, address }: Place): string {
  return `${address} ${hopPort(hop)}`;
}

/** Whether a host said it, or what this side found may be another one tomorrow. */
function blamesHost({ fromPeer = false, status }: RecipientReport): boolean {
  return fromPeer || status === "deferred";
}

/** What makes sessions alike. Credentials are part of it, but not readable in it. */
function poolKey(settings: SmtpClientOptions): string {
  const { host, address, port, implicitTls, lmtp, security, login } = settings;
  const credentials = login &&
    createHash("sha256").update(JSON.stringify(login)).digest("base64");
  return JSON.stringify([
    host,
    address,
    port,
    implicitTls,
    lmtp,
    security,
    credentials,
  ]);
}
