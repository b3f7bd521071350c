/**
 * The sessions of a server: admitted as far as there is room, watched by one
 * clock, and ended together. Binds nothing and decides nothing about mail.
 *
 * The way of a connection: a listener accepts it, {@linkcode Admission.serve}
 * reads the header of the proxy in front of it where there is one, then either
 * starts its session or rejects it.
 *
 * What comes before a session behind a proxy: connections from the networks of
 * proxies have to begin with a header that tells the client. On all others a
 * header is an unknown command: a client that could choose would write an
 * address of its choice.
 *
 * A part of admission with a file of its own: nothing else in the room reads
 * bytes of a client.
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
import { readProxyHeader } from "../session/proxied_transport.ts";

/** How long a session that was told to end may take to do so, in ms. */
const END_MS = 1000;
/** The handlers that a session may still wait for when it is broken off. */
const LAST_HANDLERS = 3;

/** What {@linkcode Admission} is made of. */
export interface AdmissionInit {
  /** Counts what clients do. */
  readonly counts: AddressLimiter;
  /** Counts failed logins. */
  readonly guard: LoginCounter;
  readonly log: Logger;
  /** Where sessions are reported, in a server that is one of several threads. */
  readonly observer?: SessionObserver | undefined;
}

/** Admits connections to one server and ends their sessions. */
export class Admission {
  /** Delays refusals; another one after each {@linkcode Admission.end}. */
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

  /** The clients connected now. */
  get sessions(): readonly SmtpSession[] {
    return [...this.#connections].map((connection) => connection.session);
  }

  /** The time by the sessions' clock, in ms: it never goes back and may lag by a second. */
  get now(): number {
    return this.#now;
  }

  /**
   * One timer for all sessions: it moves the coarse clock that they set their
   * deadlines by and ends those that are past theirs. Not the time of day: when
   * that is set, no deadline passes.
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

  /** Waits for the proxy's header, which tells the client. */
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
   * No descriptor is free: the newest sessions are ended, so that the others
   * can keep their messages.
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
   * transaction may finish it for `graceMs`; the others, and those that have,
   * get 421 at once.
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
    // Clients that have failed to log in since then wait no longer, either.
    guard.release();
    // A handler that never answers is left behind; so are those that are asked
    // for the end of the transaction and of the session thereafter.
    for (let step = 0; step < LAST_HANDLERS; step++) {
      for (const connection of this.#connections) connection.abort("shutdown");
      await this.#ended(END_MS);
    }
    clearInterval(this.#clock);
    this.#clock = undefined;
    this.delays = new Delays();
  }

  /** Ends the grace of an end under way. */
  endGrace(): void {
    this.#endGrace?.();
  }

  /** Waits until all sessions have ended, `ms` at most. */
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

/** Rejected connections that get a reply at the same time; further ones are closed without one. */
const MOST_TOLD = 100;

/**
 * Connections that exceed a limit. They get a reply where that costs little: a
 * client that floods the server must not make it hold more than a few of them.
 */
class RejectedConnections {
  readonly #transports = new Set<Transport>();

  /** Ends a connection with `reply`. Never rejects. */
  async end(
    transport: Transport,
    about: { readonly context: SessionContext; readonly reply: SmtpReply },
  ): Promise<void> {
    if (this.#transports.size >= MOST_TOLD) return transport.close();
    this.#transports.add(transport);
    const { capabilities } = about.context.profile;
    try {
      // The platform's TLS keeps a socket open that is closed before this.
      if (transport.handshake !== undefined) await transport.handshake();
      if (transport.tls !== undefined || !about.context.implicitTls) {
        await transport.write(forClient(about.reply, capabilities).bytes);
      }
    } catch {
      // It is gone, which is what was wanted.
    }
    this.#transports.delete(transport);
    transport.close();
  }

  /** Ends all of them now. */
  close(): void {
    for (const transport of this.#transports) transport.close();
  }
}

/** How long a shortage limits the number of sessions, in ms. */
const SHORTAGE_MS = 60_000;
/** Descriptors that are to be free: at least so many, else one for so many sessions. */
const LEAST_FREE = 16;
const SESSIONS_FOR_ONE = 8;

/**
 * How many sessions there may be after the process has run out of file
 * descriptors: fewer than there were, so that the others have some for their
 * messages and the next clients can get 421. Arithmetic only; ends no session.
 */
export class FdShortage {
  #room = Infinity;
  #until = -Infinity;

  /** The most sessions at once, for now. `now` in ms, by any clock that only goes on. */
  room(now: number): number {
    return now < this.#until ? this.#room : Infinity;
  }

  /** Notes a shortage while there are so many sessions; gives the room that there is from here on. */
  shrink(sessions: number, now: number): number {
    const free = Math.max(LEAST_FREE, Math.ceil(sessions / SESSIONS_FOR_ONE));
    this.#room = Math.max(1, Math.min(this.room(now), sessions - free));
    this.#until = now + SHORTAGE_MS;
    return this.#room;
  }
}

/** Whether an error says that no file descriptor is free, in the process or in the machine. */
export function isOutOfDescriptors(error: unknown): boolean {
  return error instanceof Error && /\bos error 2[34]\b/.test(error.message);
}

/** How long a proxy may take for its header, in ms; it writes that first of all. */
const HEADER_TIMEOUT_MS = 5000;

/** Reads the headers of proxies. */
class ProxyFront {
  readonly #log: Logger;
  /** Connections whose header has not come yet, and what waits for it. */
  readonly #waiting = new Map<Transport, Promise<Transport | undefined>>();

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Connections whose header has not come yet. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /**
   * The client's connection behind a proxy's, or `undefined` where the header
   * does not tell it: then the connection is closed without a reply. Never rejects.
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
