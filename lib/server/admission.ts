/**
 * The sessions of a server: let in as far as there is room, watched by one
 * clock, and ended together. It binds nothing and decides nothing about mail.
 *
 * Turns away connections that a limit is in the way of, and says so where that
 * costs little: whoever floods the server must not be able to make it hold more
 * of them than a few.
 *
 * How many sessions there may be when the process has run out of file
 * descriptors: fewer than there are, so that those who stay have some for their
 * messages, and the next clients can be told 421. Arithmetic only; ends nobody.
 */

import type { Logger } from "../log.ts";
import type { Transport } from "../net/transport.ts";
import { replies } from "../protocol/replies.ts";
import { Connection } from "../session/connection.ts";
import type { SessionContext } from "../session/context.ts";
import { Delays } from "../session/delays.ts";
import { refuseByLimit } from "../session/session_limits.ts";
import type { AddressLimiter } from "../session/limits.ts";
import type { LoginCounter } from "../session/login_guard.ts";
import type { SmtpSession } from "../session/session.ts";
import type { SmtpReply } from "../protocol/reply.ts";
import { forClient } from "../protocol/server/outbox.ts";

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

/** Connections that are told at once; further ones are closed without a word. */
const MOST_TOLD = 100;

/** The connections of a server that are being turned away. */
class TurnedAway {
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
        await transport.write(forClient(about.reply, capabilities).octets);
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

/** How long after the last shortage nobody more is let in, in ms. */
const CROWDED_MS = 60_000;
/** Descriptors that are to be free: at least so many, else one for so many sessions. */
const LEAST_FREE = 16;
const SESSIONS_FOR_ONE = 8;

/** The room that a shortage of descriptors leaves. */
export class Crowding {
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
    this.#until = now + CROWDED_MS;
    return this.#room;
  }
}

/** Whether an error says that no file descriptor is free, in the process or in the machine. */
export function isOutOfDescriptors(error: unknown): boolean {
  return error instanceof Error && /\bos error 2[34]\b/.test(error.message);
}
