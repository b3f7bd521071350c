/**
 * Walks one job from host to host and address to address until every recipient
 * is decided. Owns the recipients that are still waiting, each with its reason.
 * `outcome.ts` says what a failure means, `route.ts` where mail goes.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-5.1 | RFC 5321 section 5.1}
 */

import { type Failure, refusesBdat, SmtpClientError } from "../client/error.ts";
import { SmtpReply } from "../protocol/reply.ts";
import { type SendResult, SmtpClient } from "../client/client.ts";
import type { SettledClientOptions } from "../client/options.ts";
import type { ClientPool } from "./pool.ts";
import {
  type DeliveryJob,
  type DeliveryPath,
  type DeliveryReport,
  type DeliveryState,
  isOverdue,
  type RecipientReport,
} from "../queue/job.ts";
import type { DeliveryContent } from "./content.ts";
import type { StsPolicies } from "../secure_transport/sts_store.ts";
import type { DaneState, TlsUse } from "../secure_transport/tls_decision.ts";
import { HostSecurity } from "./host_security.ts";
import {
  configuredSecurity,
  isFreeOfPolicies,
  nameOf,
  type Place,
  poolKey,
  type SettingsInit,
  settingsOf,
} from "./session_settings.ts";
import type { DeliveryMachine } from "./options.ts";
import { PathTimes } from "./path_times.ts";
import { clientTimeouts } from "../client/session.ts";
import type { SilentHosts } from "./host_memory.ts";
import {
  blamesHost,
  connectFailure,
  isHostFailure,
  isTooManyRecipients,
  judgeFailure,
  lacksExtension,
  LATE,
  mayEndSession,
  needsTls,
  noRequireTls,
  parametersFor,
  requiresTlsOrLogin,
  SILENT,
  STOPPED,
  UNREADABLE,
} from "./outcome.ts";
import {
  literalAddress,
  loopReply,
  orderAddresses,
  routeDomain,
} from "./route.ts";
import { fittingRecipients } from "../client/sending_plan.ts";
import { hopPort, type NextHop } from "../client/next_hop.ts";
import { isLoopbackOrUnspecified } from "../protocol/ip.ts";
import { hopsOf } from "../spool/envelope.ts";

/** The clock of the memories: the time of day may be set, this one not. */
const monotonic = () => performance.now();

/** The options of a walk, and the parts of its delivery. */
export interface WalkOptions extends SettingsInit, DeliveryMachine {
  readonly content: DeliveryContent;
  readonly pool: Pick<ClientPool, "take" | "give">;
  /** The MTA-STS policies of domains; unset without them. */
  readonly sts?: StsPolicies | undefined;
  /** Whether DANE is asked for. */
  readonly dane: boolean;
  /** The addresses that did not answer lately. */
  readonly silent: SilentHosts;
}

/** What is known of a host before it is called. */
interface Usable {
  readonly addresses: readonly string[];
  /** The TLS that it must have. */
  readonly use: TlsUse;
}

/** The work left at one place. */
interface Round {
  /** The recipients to send to, as indexes. */
  readonly left: readonly number[];
  /** Whether an idle session may be used. */
  readonly mayReuse: boolean;
}

/** One finished transaction. */
interface Transaction {
  readonly sent: readonly number[];
  readonly place: Place;
  readonly client: SmtpClient;
  readonly settings: SettledClientOptions;
}

/** What follows from a transaction. */
interface Taken {
  /** The recipients to send to again at the same place. */
  readonly again: readonly number[];
  /** Whether that needs a new session. */
  readonly needsSession: boolean;
  /** The failure of the host that every further transaction would meet. */
  readonly failure: Failure | undefined;
}

export class HostWalk {
  readonly #job: DeliveryJob;
  readonly #options: WalkOptions;
  readonly #reports: (RecipientReport | undefined)[];
  /** The last failure of each waiting recipient: its report if no host is left. */
  readonly #waiting = new Map<number, RecipientReport>();
  /** When the `delivery` timeout has passed: no session begins afterwards. */
  readonly #end: number;
  /** Whether a host accepted a recipient, or refused one for a reason of the message. */
  #reached = false;
  /** Whether a host of the domain is this server. */
  #leadsBack = false;
  /** Whether this side ended the job before every recipient was decided. */
  #isEndedHere = false;
  readonly #times = new PathTimes();
  readonly #security: HostSecurity;

  constructor(job: DeliveryJob, options: WalkOptions) {
    this.#job = job;
    this.#options = options;
    this.#reports = job.recipients.map(() => undefined);
    this.#end = performance.now() + clientTimeouts(options.timeouts).delivery;
    const { dns, signal, onTlsResult } = options;
    const isFree = isFreeOfPolicies(job, options, this.#smarthosts);
    this.#security = new HostSecurity({
      ...{ dns, signal, domain: job.destination },
      sts: isFree ? undefined : options.sts,
      dane: options.dane && !isFree,
      onResult: onTlsResult && ((result) => onTlsResult(result, job)),
    });
  }

  async run(): Promise<DeliveryReport> {
    let failure: { error: unknown } | undefined;
    try {
      const hops = await this.#nextHops();
      if (hops instanceof SmtpReply) this.#stopAll(hops);
      else await this.#walk(hops);
    } catch (error) {
      // Some recipients may have the message. Without this report the queue
      // would send it to them again.
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

  /** The undecided recipients. */
  get #pending(): number[] {
    return [...this.#reports.keys()].filter((index) => !this.#reports[index]);
  }

  get #smarthosts(): readonly NextHop[] | undefined {
    const own = hopsOf(this.#job.route);
    if (own.length > 0) return own;
    const { smarthosts = [] } = this.#options;
    return smarthosts.length > 0 ? smarthosts : undefined;
  }

  async #nextHops(): Promise<readonly NextHop[] | SmtpReply> {
    const smarthosts = this.#smarthosts;
    if (smarthosts) {
      this.#security.useConfigured();
      return smarthosts;
    }
    const { destination } = this.#job;
    const { remotePort: port, hostname, ownNames = [] } = this.#options;
    const literal = literalAddress(destination);
    if (literal !== undefined) return [{ host: literal, port }];
    this.#reportState("resolving-mx");
    const route = routeDomain(destination, {
      mx: await this.#times.add("dns", this.#security.exchangers(destination)),
      ownNames: hostname === undefined ? ownNames : [hostname, ...ownNames],
      random: this.#options.random ?? Math.random,
    });
    if ("reply" in route) return route.reply;
    return route.hosts.map((host) => ({ host, port }));
  }

  async #walk(hops: readonly NextHop[]): Promise<void> {
    for (const [at, hop] of hops.entries()) {
      const found = await this.#addresses(hop);
      if (found instanceof SmtpReply) {
        this.#recordLookup(found);
        if (this.#leadsBack) return;
        if (this.#isLate) return this.#stopWaiting();
        continue;
      }
      const { addresses, use } = found;
      for (const [index, address] of addresses.entries()) {
        const moreHosts = at + 1 < hops.length || index + 1 < addresses.length;
        await this.#attempt({ hop, address, moreHosts, use });
        if (this.#pending.length === 0) return;
        if (this.#isLate) return this.#stopWaiting();
      }
    }
  }

  /** Whether the `delivery` timeout has passed: the rest waits for the next attempt. */
  get #isLate(): boolean {
    return performance.now() >= this.#end;
  }

  /** Defers the undecided recipients: some hosts have not been tried. */
  #stopWaiting(): void {
    for (const index of this.#pending) {
      const waiting = this.#waiting.get(index);
      this.#reports[index] = waiting?.status === "deferred"
        ? waiting
        : this.#report({ reply: LATE });
    }
  }

  /** The addresses of a host, and the TLS that it must have; or why it cannot be used. */
  async #addresses(hop: NextHop): Promise<Usable | SmtpReply> {
    const { host } = hop;
    const literal = literalAddress(`[${host}]`);
    if (literal !== undefined) return this.#usable(hop, [literal]);
    this.#reportState("resolving-a");
    const asked = await this.#times.add("dns", this.#security.host(hop));
    const found = orderAddresses(host, asked.addresses);
    if (!(found instanceof SmtpReply)) {
      return this.#usable(hop, found, asked.dane);
    }
    if (!this.#smarthosts) return found;
    // The smarthost's name is configuration: a mistake in it must not return all
    // mail.
    return new SmtpReply(451, found.lines, { enhanced: "4.4.3" });
  }

  /** The addresses that mail may be sent to, and the TLS that the host must have. */
  #usable(
    hop: NextHop,
    addresses: readonly string[],
    dane: DaneState = { status: "none" },
  ): Usable | SmtpReply {
    const reachable = this.#reachable(hop.host, addresses);
    if (reachable instanceof SmtpReply) return reachable;
    const isConfigured = this.#smarthosts !== undefined;
    const wanted = configuredSecurity(
      hop,
      this.#job,
      this.#options,
      isConfigured,
    );
    const use = this.#security.decide(hop.host, wanted, dane);
    if (use.action === "skip") {
      return new SmtpReply(451, use.reason, { enhanced: "4.7.5" });
    }
    if (!needsTls(this.#job)) return { addresses: reachable, use };
    const strict = this.#security.strict(hop.host, use);
    return strict === undefined
      ? noRequireTls(`the name of host "${hop.host}" is not known for sure`)
      : { addresses: reachable, use: strict };
  }

  /**
   * The addresses that mail may be sent to. Addresses from DNS may lead back to
   * this server, or to another port of this machine that outsiders must not
   * reach. Smarthosts are configuration and may be anywhere.
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
    const open = addresses.filter((address) =>
      !isLoopbackOrUnspecified(address)
    );
    if (open.length > 0) return open;
    const text = `Mail loops: host "${host}" is at "${
      addresses[0]
    }", which is every machine's own address`;
    return new SmtpReply(554, text, { enhanced: "5.4.6" });
  }

  /** Records a failed lookup. A permanent one does not replace an earlier failure of another host. */
  #recordLookup(reply: SmtpReply): void {
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

  /** Runs one session. Returns the work left for another session at the same place. */
  async #session(place: Place, round: Round): Promise<Round | undefined> {
    const { pool } = this.#options;
    const settings = this.#settings(place);
    const key = poolKey(settings, place.use);
    const idle = round.mayReuse ? pool.take(key) : undefined;
    let { left } = round;
    if (!idle && this.#isSilent(place, left)) return undefined;
    this.#job.onHost?.(place.address);
    let client: SmtpClient;
    try {
      client = idle ??
        await this.#times.add("connect", this.#connect(settings, place));
    } catch (error) {
      if (!(error instanceof SmtpClientError)) throw error;
      const failure = connectFailure(error, this.#job);
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
        const sending = this.#send(client, { sent, size });
        const result = await this.#times.add("transfer", sending);
        // A session without TLS or login that the host requires cannot carry
        // later messages either.
        isWelcome = !result.recipients.some(requiresTlsOrLogin);
        const rest = left.filter((index) => !sent.includes(index));
        const taken = this.#take(result, { sent, place, client, settings });
        left = [...taken.again, ...rest];
        if (taken.failure) {
          // Another transaction would end as this one did.
          this.#fail(taken.failure, { left, place, client });
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

  /** The recipients that fit into one transaction. */
  #fitting(client: SmtpClient, left: readonly number[]): readonly number[] {
    const domains = left.map((index) =>
      this.#job.recipients[index]!.address.domain
    );
    const { limits } = client.capabilities;
    return fittingRecipients(domains, limits).map((at) => left[at]!);
  }

  /** Whether the address did not answer a short while ago. Its recipients fail then without a try. */
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
    settings: SettledClientOptions,
    place: Place,
  ): Promise<SmtpClient> {
    const { silent, brokenTls, signal, now = monotonic } = this.#options;
    const { connect, upgrade } = this.#options;
    const judge = this.#security.judgeFor(place.use);
    const about = { ...settings, address: place.address, use: place.use };
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
      }, { ...judge, connect, upgrade });
      const { tls, tlsFailure: error } = client;
      this.#security.connected(about, { judge, isEncrypted: !!tls, error });
      if (error) brokenTls.remember(settings.host, now());
      return client;
    } catch (error) {
      if (error instanceof SmtpClientError) {
        this.#security.connected(about, { judge, isEncrypted: false, error });
      }
      const stopped = signal?.aborted === true && !isOverdue(signal);
      // A host whose certificate is rejected has answered, too.
      const spoke = error instanceof SmtpClientError &&
        (error.fromPeer || error.stage === "startTls");
      if (!heard && !spoke && !stopped) {
        silent.remember(nameOf(place), { began, ended: now() });
      }
      throw error;
    } finally {
      if (heard) silent.forget(nameOf(place));
    }
  }

  /** Bytes of the content on the wire. */
  async #size(): Promise<number> {
    const { size, parameters } = this.#job;
    if (parameters.body === "BINARYMIME") return size;
    return await this.#options.content.wireSize(size);
  }

  async #send(
    client: SmtpClient,
    message: { readonly sent: readonly number[]; readonly size: number },
  ): Promise<SendResult> {
    const { sent, size } = message;
    const { from, recipients } = this.#job;
    const { signal, content } = this.#options;
    return await client.send({
      from,
      parameters: { ...parametersFor(this.#job, client), size },
      to: sent.map((index) => recipients[index]!),
      data: content.data(),
      onProgress: this.#reportState,
      signal,
    }, content);
  }

  /**
   * Reports a step. Leaves "done" out: the message may have to be tried again,
   * and only the queue knows when it is done for good.
   */
  readonly #reportState = (state: DeliveryState): void => {
    if (state !== "done") this.#job.onState?.(state);
  };

  /** Records a result. Says which recipients must be sent to again at the same place. */
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
        path: this.#times.path(place, client),
        dsnPassedOn: accepted && result.dsnPassedOn,
        deliverByPassedOn: accepted && result.deliverByPassedOn === true,
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

  /** Remembers what the answers of a host say about it. */
  #learn(result: SendResult, { host }: SettledClientOptions): void {
    const now = (this.#options.now ?? monotonic)();
    if (result.bdatFailure) this.#options.noChunking.remember(host, now);
    // The host requires TLS: a handshake that failed once must not keep all mail
    // from it.
    const wantsTls = result.recipients.some(requiresTlsOrLogin);
    if (wantsTls) this.#options.brokenTls.forget(host);
  }

  /** Records a failure for all recipients that are left. */
  #fail(
    failure: Failure,
    facts: { left: readonly number[]; place: Place; client?: SmtpClient },
  ): void {
    const { left, place, client } = facts;
    if (requiresTlsOrLogin(failure)) {
      this.#options.brokenTls.forget(place.hop.host);
    }
    if (!isHostFailure(failure)) this.#reached = true;
    const { reply, fromPeer } = failure;
    const host = failure.stage === "connect" ? undefined : place.hop.host;
    const path = this.#times.path(place, client);
    for (const index of left) {
      const report = this.#report({ reply, fromPeer, host, path });
      this.#settle(index, { report, failure, place });
    }
  }

  #settle(
    index: number,
    facts: { report: RecipientReport; failure: Failure; place: Place },
  ): void {
    const { report, failure, place } = facts;
    if (lacksExtension(failure)) {
      // Another host may have what this one lacks, now or later.
      if (this.#waiting.get(index)?.status !== "deferred") {
        this.#waiting.set(index, { ...report, status: "failed" });
      }
      return;
    }
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
    path?: DeliveryPath;
    dsnPassedOn?: boolean;
    deliverByPassedOn?: boolean;
  }): RecipientReport {
    const { reply, fromPeer = false, host, dsnPassedOn = false } = facts;
    const { deliverByPassedOn = false } = facts;
    return {
      path: facts.path ?? this.#times.path(),
      status: reply.isTemporary ? "deferred" : "failed",
      reply,
      fromPeer,
      remoteMta: host,
      dsnPassedOn,
      deliverByPassedOn,
    };
  }

  #settings(place: Place): SettledClientOptions {
    return settingsOf(place, this.#job, this.#options, {
      isConfigured: this.#smarthosts !== undefined,
      now: (this.#options.now ?? monotonic)(),
      onState: this.#reportState,
    });
  }
}
