/**
 * The sessions of one server: admits connections while there is room, watches
 * all sessions by one clock, and ends them together. Binds no socket and decides
 * nothing about mail.
 *
 * The path of a connection: a listener accepts it, {@linkcode Admission.serve}
 * reads the header of a proxy if the address is a proxy's, then starts a session
 * or rejects the connection.
 *
 * Connections from the networks of proxies must begin with a header that names
 * the client. On all other connections such a header is an unknown command:
 * otherwise a client could claim any address.
 */

import type { Logger } from "../log.ts";
import { isConnectionError, type Transport } from "../net/transport.ts";
import type { SessionObserver } from "../threads/api.ts";
import { replies } from "../protocol/replies.ts";
import { Connection } from "../session/connection.ts";
import type { SessionContext } from "../session/context.ts";
import { Delays } from "../session/delays.ts";
import { type ProxyFault, records } from "./log.ts";
import { refuseByLimit } from "../session/session_limits.ts";
import type { AddressLimiter } from "../session/limits.ts";
import type { LoginCounter } from "../session/login_guard.ts";
import type { SmtpSession } from "../session/session.ts";
import type { SmtpReply } from "../protocol/reply.ts";
import { forClient } from "../protocol/server/outbox.ts";
import { readProxyHeader } from "../session/proxied.ts";

/** Milliseconds that a session may take to end itself. */
const END_MS = 1000;
/** Handlers that an aborted session may still wait for. */
const LAST_HANDLERS = 3;

/** The parts of {@linkcode Admission}. */
export interface AdmissionInit {
  /** Counts what clients do. */
  readonly counts: AddressLimiter;
  /** Counts failed logins. */
  readonly guard: LoginCounter;
  readonly log: Logger;
  /** Gets reports of sessions, if the server is one of several threads. */
  readonly observer?: SessionObserver | undefined;
}

/** Admits connections to one server and ends their sessions. */
export class Admission {
  /** Delays refusals; replaced after each {@linkcode Admission.end}. */
  delays: Delays = new Delays();
  readonly #init: AdmissionInit;
  readonly #front: ProxyFront;
  readonly #connections = new Set<Connection>();
  readonly #running = new Set<Promise<void>>();
  readonly #rejected = new RejectedConnections();
  readonly #shortage = new FdShortage();
  #clock: ReturnType<typeof setInterval> | undefined;
  #now = performance.now();
  #endGrace: (() => void) | undefined;

  constructor(init: AdmissionInit) {
    this.#init = init;
    this.#front = new ProxyFront(init.log);
  }

  /** The sessions of the connected clients. */
  get sessions(): readonly SmtpSession[] {
    return [...this.#connections].map((connection) => connection.session);
  }

  /** Time of the sessions' clock, in ms: it never goes back and may lag by a second. */
  get now(): number {
    return this.#now;
  }

  /**
   * Starts the one timer of all sessions. It moves the coarse clock that sets
   * their deadlines, and ends the sessions that are past theirs. This is not the
   * time of day: setting that passes no deadline.
   */
  startClock(): void {
    const { timeoutMs, mailTimeoutMs, handlerTimeoutMs } =
      this.#init.counts.limits;
    const shortest = Math.min(timeoutMs, mailTimeoutMs, handlerTimeoutMs);
    this.#now = performance.now();
    this.#clock = setInterval(() => {
      this.#now = performance.now();
      for (const connection of this.#connections) {
        if (connection.deadline < this.#now) connection.timeOut();
      }
    }, Math.min(1000, Math.max(20, shortest / 4)));
  }

  /** Runs a session on a connection, if there is room for it. Never rejects. */
  serve(transport: Transport, context: SessionContext): Promise<void> {
    const { address } = transport.remote;
    return context.proxies?.some((network) => network.contains(address))
      ? this.#serveProxied(transport, context)
      : this.#admit(transport, context);
  }

  /** Reads the proxy's header, which names the client. */
  async #serveProxied(
    transport: Transport,
    context: SessionContext,
  ): Promise<void> {
    const { counts } = this.#init;
    const room = counts.shareOf(counts.limits.maxConnections - counts.open);
    if (this.#front.waiting >= room) return transport.close();
    const client = await this.#front.read(transport, context);
    if (client !== undefined) await this.#admit(client, context);
  }

  #admit(transport: Transport, context: SessionContext): Promise<void> {
    const { counts, observer } = this.#init;
    const { address } = transport.remote;
    if (this.#connections.size >= this.#shortage.room(this.#now)) {
      const reply = replies.tooManyConnections;
      return this.#rejected.end(transport, { context, reply });
    }
    const ticket = counts.admit(address);
    if (typeof ticket === "string") {
      const reply = refuseByLimit(ticket, context, { address });
      return this.#rejected.end(transport, { context, reply });
    }
    const connection = new Connection(transport, context, { ticket });
    this.#connections.add(connection);
    observer?.opened(connection.session);
    const running = connection.run().finally(() => {
      counts.leave(connection.limits.ticket);
      this.#connections.delete(connection);
      this.#running.delete(running);
      observer?.closed(connection.session);
    });
    this.#running.add(running);
    return running;
  }

  /**
   * Ends the newest sessions because no descriptor is free, so that the others
   * can complete their messages.
   */
  makeRoom(): void {
    const { size } = this.#connections;
    const room = this.#shortage.shrink(size, this.#now);
    const newest = [...this.#connections].slice(room);
    for (const connection of newest) {
      connection.end(replies.tooManyConnections, "refused");
    }
    if (newest.length === 0) return;
    this.#init.log(records.outOfDescriptors(size, room));
  }

  /**
   * Ends all sessions, and the waits for headers of proxies. Sessions in a
   * transaction may finish it within `graceMs` milliseconds; the others, and those
   * that have finished, get 421 at once.
   */
  async end(graceMs: number): Promise<void> {
    const { guard } = this.#init;
    await this.#front.close();
    this.#rejected.close();
    for (const connection of this.#connections) connection.leave();
    await this.#ended(graceMs);
    guard.release();
    this.delays.close();
    for (const connection of this.#connections) {
      connection.end(replies.shutdown, "shutdown");
    }
    await this.#ended(END_MS);
    // Release the clients that have failed to log in since then, too.
    guard.release();
    // A handler that never answers is left behind. So are the handlers called
    // afterwards for the end of the transaction and of the session.
    for (let step = 0; step < LAST_HANDLERS; step++) {
      for (const connection of this.#connections) connection.abort("shutdown");
      await this.#ended(END_MS);
    }
    clearInterval(this.#clock);
    this.#clock = undefined;
    this.delays = new Delays();
  }

  /** Ends the grace period of an end under way. */
  endGrace(): void {
    this.#endGrace?.();
  }

  /** Waits until all sessions have ended, at most `ms` milliseconds. */
  async #ended(ms: number): Promise<void> {
    if (this.#running.size === 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    this.#endGrace = resolve;
    await Promise.race([Promise.all(this.#running), promise]);
    this.#endGrace = undefined;
    clearTimeout(timer);
  }
}

/** Limit of rejected connections that get a reply at the same time; others are closed without one. */
const MOST_REPLIES = 100;

/**
 * Connections that exceed a limit. They get a reply while that costs little: a
 * client that floods the server must not make it hold more than a few of them.
 */
class RejectedConnections {
  readonly #transports = new Set<Transport>();

  /** Ends a connection with `reply`. Never rejects. */
  async end(
    transport: Transport,
    about: { readonly context: SessionContext; readonly reply: SmtpReply },
  ): Promise<void> {
    if (this.#transports.size >= MOST_REPLIES) return transport.close();
    this.#transports.add(transport);
    const { capabilities } = about.context.profile;
    try {
      // The platform's TLS keeps a socket open that is closed before this.
      if (transport.handshake !== undefined) await transport.handshake();
      if (transport.tls !== undefined || !about.context.implicitTls) {
        await transport.write(forClient(about.reply, capabilities).bytes);
      }
    } catch {
      // The connection is closed already.
    }
    this.#transports.delete(transport);
    transport.close();
  }

  /** Closes all of them now. */
  close(): void {
    for (const transport of this.#transports) transport.close();
  }
}

/** Milliseconds for which a shortage limits the number of sessions. */
const SHORTAGE_MS = 60_000;
/** Descriptors to keep free: one for each `SESSIONS_FOR_ONE` sessions, at least this many. */
const LEAST_FREE = 16;
const SESSIONS_FOR_ONE = 8;

/**
 * The limit of sessions after the process has run out of file descriptors: fewer
 * than before, so that the others have some for their messages and the next
 * clients can get 421. Arithmetic only; ends no session.
 */
export class FdShortage {
  #room = Infinity;
  #until = -Infinity;

  /** Limit of sessions at `now`, in ms by a monotonic clock. */
  room(now: number): number {
    return now < this.#until ? this.#room : Infinity;
  }

  /** Records a shortage with that many sessions; returns the limit from now on. */
  shrink(sessions: number, now: number): number {
    const free = Math.max(LEAST_FREE, Math.ceil(sessions / SESSIONS_FOR_ONE));
    this.#room = Math.max(1, Math.min(this.room(now), sessions - free));
    this.#until = now + SHORTAGE_MS;
    return this.#room;
  }
}

/** Whether an error means that no file descriptor is free, in the process or in the machine. */
export function isOutOfDescriptors(error: unknown): boolean {
  return error instanceof Error && /\bos error 2[34]\b/.test(error.message);
}

/** Milliseconds that a proxy may take for its header, which it writes first. */
const HEADER_TIMEOUT_MS = 5000;

/** Reads the headers of proxies. */
class ProxyFront {
  readonly #log: Logger;
  /** Connections whose header has not come yet, each with the pending read. */
  readonly #waiting = new Map<Transport, Promise<Transport | undefined>>();

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Number of connections whose header has not come yet. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /**
   * Reads the header and returns the client's connection behind the proxy's, or
   * `undefined` if the header names no client: then the connection is closed
   * without a reply. Never rejects.
   */
  read(
    transport: Transport,
    context: SessionContext,
  ): Promise<Transport | undefined> {
    const reading = this.#read(transport, context);
    this.#waiting.set(transport, reading);
    return reading;
  }

  async #read(
    transport: Transport,
    context: SessionContext,
  ): Promise<Transport | undefined> {
    const limit = Math.min(HEADER_TIMEOUT_MS, context.limits.timeoutMs);
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      transport.close();
    }, limit);
    try {
      const found = await readProxyHeader(transport);
      if (typeof found !== "string") return found;
      this.#report(transport, found);
    } catch (error) {
      if (isLate) this.#report(transport, "late");
      else if (!isConnectionError(error)) {
        this.#report(transport, "broken", error);
      }
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(transport);
    }
    transport.close();
    return undefined;
  }

  #report({ remote }: Transport, fault: ProxyFault, error?: unknown): void {
    this.#log(records.proxyRefused(remote, fault, error));
  }

  /** Closes the connections whose header has not come; resolves when none is left. */
  async close(): Promise<void> {
    for (const transport of this.#waiting.keys()) transport.close();
    await Promise.all(this.#waiting.values());
  }
}
