/**
 * The sessions of a server: let in as far as there is room, watched by one
 * clock, and ended together. It binds nothing and decides nothing about mail.
 */

import type { Logger } from "../log.ts";
import type { Transport } from "../net/transport.ts";
import { replies } from "../protocol/replies.ts";
import { Connection } from "../session/connection.ts";
import type { SessionContext } from "../session/context.ts";
import { Delays } from "../session/delays.ts";
import { refuseByLimit } from "../session/limit_reply.ts";
import type { AddressLimiter } from "../session/limits.ts";
import type { LoginCounter } from "../session/login_guard.ts";
import type { SmtpSession } from "../session/session.ts";
import { Crowding } from "./crowding.ts";
import { TurnedAway } from "./turn_away.ts";

/** How long a session that was told to end may take to do so, in ms. */
const END_MS = 1000;
/** The handlers that a session may still wait for when it is broken off. */
const LAST_HANDLERS = 3;

/** What {@linkcode LiveSessions} are made of. */
export interface LiveSessionsInit {
  /** Counts what clients do. */
  readonly counts: AddressLimiter;
  /** Counts failed log-ins. */
  readonly guard: LoginCounter;
  /** Takes log records. */
  readonly log: Logger;
  /** A session has begun. */
  readonly opened?: ((session: SmtpSession) => void) | undefined;
  /** A session has ended. */
  readonly closed?: ((session: SmtpSession) => void) | undefined;
}

/** The sessions of one server. */
export class LiveSessions {
  /** Waits before a refusal is told. */
  delays: Delays = new Delays();
  readonly #init: LiveSessionsInit;
  readonly #connections = new Set<Connection>();
  readonly #running = new Set<Promise<void>>();
  readonly #turnedAway = new TurnedAway();
  readonly #crowding = new Crowding();
  #clock: ReturnType<typeof setInterval> | undefined;
  #now = performance.now();
  #endGrace: (() => void) | undefined;

  /** Made by the server. */
  constructor(init: LiveSessionsInit) {
    this.#init = init;
  }

  /** The clients connected now. */
  get all(): readonly SmtpSession[] {
    return [...this.#connections].map((connection) => connection.session);
  }

  /** The time by the sessions' clock, in ms: it never goes back and may lag by a second. */
  get now(): number {
    return this.#now;
  }

  /**
   * One timer for all sessions: it moves the coarse clock that they set their
   * deadlines by and ends those that are past theirs. Not the time of day: when
   * that is set, nobody's time is up.
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
    const { counts } = this.#init;
    const { address } = transport.remote;
    if (this.#connections.size >= this.#crowding.room(this.#now)) {
      const reply = replies.tooManyConnections;
      return this.#turnedAway.end(transport, { context, reply });
    }
    const ticket = counts.admit(address);
    if (typeof ticket === "string") {
      const reply = refuseByLimit(ticket, context, { address });
      return this.#turnedAway.end(transport, { context, reply });
    }
    const connection = new Connection(transport, context, { ticket });
    this.#connections.add(connection);
    this.#init.opened?.(connection.session);
    const running = connection.run().finally(() => {
      counts.leave(connection.limits.ticket);
      this.#connections.delete(connection);
      this.#running.delete(running);
      this.#init.closed?.(connection.session);
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
    const room = this.#crowding.shrink(size, this.#now);
    const newest = [...this.#connections].slice(room);
    for (const connection of newest) {
      connection.end(replies.tooManyConnections, "refused");
    }
    if (newest.length === 0) return;
    this.#init.log({
      level: "error",
      event: "error",
      message:
        `Out of file descriptors with ${size} sessions: going on with ${room} for a while; a higher limit (ulimit -n) or a lower maxConnections is needed`,
    });
  }

  /**
   * Ends all sessions. Those in a transaction may finish it for `graceMs`; the
   * others, and those that have, get 421 at once.
   */
  async end(graceMs: number): Promise<void> {
    const { guard } = this.#init;
    this.#turnedAway.close();
    for (const connection of this.#connections) connection.leave();
    await this.#ended(graceMs);
    guard.release();
    this.delays.close();
    for (const connection of this.#connections) {
      connection.end(replies.shutdown, "shutdown");
    }
    await this.#ended(END_MS);
    // Who has failed to log in since then waits no longer, either.
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
