/**
 * The loop that carries out what the sending machine asks for, on a transport:
 * reads and writes, each with its time limit. Owns the clock of a session and
 * nothing of its rules.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.5.3.2 | RFC 5321 section 4.5.3.2}
 */

import { milliseconds, object, type Rule, type Rules } from "../options.ts";
import type { Transport } from "../net/transport.ts";
import {
  CLIENT_TIME_LIMITS,
  type ClientEffect,
  type ClientPhase,
} from "../protocol/client/state.ts";
import type { ClientProtocol } from "../protocol/client/protocol.ts";
import type { ClientStage } from "./error.ts";

const READ_SIZE = 4096;
/** How long to look for a server's last words after a write has failed. */
const LAST_WORDS_MS = 2000;

/** The time limits of a client, in milliseconds. */
export interface ClientTimeouts extends Readonly<Record<ClientStage, number>> {
  /** Making the connection. */
  readonly connect: number;
  /** The TLS handshake. */
  readonly tls: number;
  /**
   * From the greeting to the end of the log-in, all replies together. When not
   * given: twice the longest of the limits of these steps, at least 5 s.
   */
  readonly opening: number;
  /**
   * One message, from MAIL to the last reply, all replies and writes together;
   * each 4 KiB of content add a second. When not given: three times the longest
   * of the limits of these steps, at least 5 s.
   */
  readonly message: number;
  /**
   * One message to all hosts of its destination together: when it has passed,
   * no further session begins. When not given: twice `message`.
   */
  readonly delivery: number;
}

const SECOND = 1000;
/** A total is never shorter than this, however short the limits of its steps. */
const MIN_TOTAL = 5 * SECOND;
/** Content that goes out slower than this, in bytes a second, uses up the total of its message. */
const MIN_RATE = 4096;
/** The platform's timers take no more. */
const MAX_TIMER = 2 ** 31 - 1;
const OPENING: readonly ClientPhase[] = [
  "greeting",
  "hello",
  "startTls",
  "authenticate",
];
const MESSAGE: readonly ClientPhase[] = [
  "reset",
  "mail",
  "rcpt",
  "data",
  "body",
  "dataEnd",
];

/**
 * All limits: those of RFC 5321 section 4.5.3.2, and 30 s for the connection
 * and for TLS each, where others are not given.
 */
export function clientTimeouts(
  given: Partial<ClientTimeouts> = {},
): ClientTimeouts {
  const steps = {
    ...CLIENT_TIME_LIMITS,
    connect: 30 * SECOND,
    tls: 30 * SECOND,
    ...given,
  };
  const longest = (phases: readonly ClientPhase[]) =>
    Math.max(...phases.map((phase) => steps[phase]));
  const {
    opening = Math.max(2 * longest(OPENING), MIN_TOTAL),
    message = Math.max(3 * longest(MESSAGE), MIN_TOTAL),
    delivery = 2 * message,
  } = given;
  return { ...steps, opening, message, delivery };
}

const RULES: Rules<ClientTimeouts> = {
  connect: milliseconds,
  tls: milliseconds,
  greeting: milliseconds,
  hello: milliseconds,
  startTls: milliseconds,
  authenticate: milliseconds,
  reset: milliseconds,
  mail: milliseconds,
  rcpt: milliseconds,
  data: milliseconds,
  body: milliseconds,
  dataEnd: milliseconds,
  quit: milliseconds,
  opening: milliseconds,
  message: milliseconds,
  delivery: milliseconds,
};

/** What {@linkcode ClientTimeouts} must be, inside other options. */
export const TIMEOUTS_RULE: Rule = object(RULES, "{ connect: 10_000 }");

/** What an order of the machine ends in. */
export type OrderEnd = Extract<
  ClientEffect,
  { kind: "done" | "failed" | "startTls" }
>;

/** What the loop asks for while it runs an order. */
export interface OrderHelp {
  /** Gives the content, piece by piece. */
  readonly content?: AsyncIterator<Uint8Array> | undefined;
  /** The content in one piece, instead: it goes out together with its end. */
  readonly whole?: Uint8Array | undefined;
  /** Answers a challenge; `undefined` cancels. Must not reject. */
  readonly respond?:
    | ((challenge: Uint8Array) => Promise<Uint8Array | undefined>)
    | undefined;
  /** Told what is under way whenever that changes. */
  readonly onPhase?: ((phase: ClientPhase) => void) | undefined;
}

/** A machine on a transport. */
export class ClientSession {
  /** The connection; another one after STARTTLS. */
  transport: Transport;
  /** The machine. */
  readonly protocol: ClientProtocol;
  /** The caller's wish to stop, for the order that runs. */
  signal: AbortSignal | undefined;
  readonly #timeouts: ClientTimeouts;
  readonly #buffer = new Uint8Array(READ_SIZE);
  #deadline = 0;
  /** When the order under way must be over. */
  #end = Infinity;
  /** The limit of the operation under way; `Infinity` between operations. */
  #limit = Infinity;
  /** When the timer looks at the limit; `Infinity` when it is not set. */
  #timerAt = Infinity;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #expired = false;
  #progress = -1;
  #phase: ClientPhase | undefined;
  /** A read that began while the session was idle, and what it has brought. */
  #ahead: { read: Promise<number | null>; isOver: boolean } | undefined;
  #isIdle = true;

  /**
   * @param transport The connection
   * @param options The machine, and the time limits
   */
  constructor(
    transport: Transport,
    options: {
      /** The machine. */
      protocol: ClientProtocol;
      /** The time limits. */
      timeouts: ClientTimeouts;
    },
  ) {
    this.transport = transport;
    this.protocol = options.protocol;
    this.#timeouts = options.timeouts;
  }

  /** Gives what follows a time in all, from now on. */
  allow(total: "opening" | "message" | "quit"): void {
    this.#end = performance.now() + this.#timeouts[total];
  }

  /** Reads while no order runs; calls `onEnd` when the server says or does anything. */
  watch(onEnd: () => void): void {
    if (this.#ahead !== undefined) return;
    const read = this.transport.read(this.#buffer);
    const ahead = { read, isOver: false };
    this.#ahead = ahead;
    const end = () => {
      ahead.isOver = true;
      if (this.#isIdle) onEnd();
    };
    read.then(end, end);
  }

  /** The read that has begun already, else a new one. */
  #readNext(): Promise<number | null> {
    const read = this.#ahead?.read ?? this.transport.read(this.#buffer);
    this.#ahead = undefined;
    return read;
  }

  /**
   * Carries out effects until the order ends. What the server or the network
   * does is a value; an abort and a failing content source throw, and the
   * connection is closed then.
   */
  async run(help: OrderHelp = {}): Promise<OrderEnd> {
    const onAbort = () => this.transport.close();
    this.signal?.addEventListener("abort", onAbort);
    this.#isIdle = false;
    try {
      // What came before the first command answers none.
      if (this.#ahead?.isOver) await this.#read("reset");
      return await this.#run(help);
    } catch (error) {
      this.transport.close();
      throw error;
    } finally {
      this.signal?.removeEventListener("abort", onAbort);
      this.#disarm();
      this.#isIdle = true;
    }
  }

  async #run(help: OrderHelp): Promise<OrderEnd> {
    const { protocol } = this;
    this.#progress = -1;
    for (;;) {
      this.signal?.throwIfAborted();
      const effect = protocol.next();
      switch (effect.kind) {
        case "read":
          this.#tell(effect.phase, help);
          await this.#read(effect.phase);
          break;
        case "write":
          this.#tell(effect.phase, help);
          await this.#write(effect.bytes, effect.phase);
          break;
        case "content":
          this.#tell("body", help);
          await this.#content(help);
          break;
        case "challenge":
          protocol.respond(await help.respond?.(effect.challenge));
          break;
        default:
          return effect;
      }
    }
  }

  async #content({ whole, content }: OrderHelp): Promise<void> {
    if (whole) {
      this.protocol.content(whole);
      this.protocol.endContent();
      return;
    }
    const next = await content!.next();
    if (next.done) this.protocol.endContent();
    else this.protocol.content(next.value);
  }

  #tell(phase: ClientPhase, help: OrderHelp): void {
    if (phase === this.#phase) return;
    this.#phase = phase;
    help.onPhase?.(phase);
  }

  async #read(phase: ClientPhase): Promise<void> {
    const { protocol } = this;
    const now = performance.now();
    // The limit is for a reply, not for a byte: a server that sends one
    // byte now and then must not hold a session for ever.
    if (this.#progress !== protocol.replies) {
      this.#progress = protocol.replies;
      this.#deadline = now + this.#timeouts[phase];
    }
    const count = await this.#limited(
      Math.min(this.#deadline, this.#end) - now,
      () => this.#readNext(),
    );
    if (count === null) protocol.end();
    else if (typeof count === "number") {
      protocol.receive(this.#buffer.subarray(0, count));
    } else protocol.fail(count.kind, count.message);
  }

  async #write(bytes: Uint8Array, phase: ClientPhase): Promise<void> {
    this.#progress = -1;
    const failure = await this.#limited(
      Math.min(this.#timeouts[phase], this.#end - performance.now()),
      () => this.transport.write(bytes),
    );
    if (!failure) {
      this.#end += bytes.length * SECOND / MIN_RATE;
      return;
    }
    if (failure.kind === "network") await this.#readLastWords();
    if (this.protocol.state !== "broken") {
      this.protocol.fail(failure.kind, failure.message);
    }
  }

  /** A server that closes early may have said why: that decides, not the broken pipe. */
  async #readLastWords(): Promise<void> {
    const until = performance.now() + LAST_WORDS_MS;
    for (;;) {
      const count = await this.#limited(
        until - performance.now(),
        () => this.#readNext(),
      );
      if (typeof count !== "number") break;
      this.protocol.receive(this.#buffer.subarray(0, count));
    }
    this.protocol.takeLastWords();
  }

  /**
   * Runs one operation; its failure is a value. At the limit the connection is
   * closed. The timer is one for many operations: they are short, and to set
   * and clear one for each would cost as much as some of them.
   */
  async #limited<T>(
    limitMs: number,
    operation: () => Promise<T>,
  ): Promise<T | Failure> {
    if (limitMs <= 0) {
      this.transport.close();
      return TOO_LONG;
    }
    this.#limit = performance.now() + limitMs;
    if (this.#limit < this.#timerAt) this.#arm();
    try {
      return await operation();
    } catch (error) {
      this.signal?.throwIfAborted();
      if (this.#expired) return TOO_LONG;
      const reason = error instanceof Error ? error.message : String(error);
      return { kind: "network", message: `The connection broke: ${reason}` };
    } finally {
      this.#limit = Infinity;
    }
  }

  #arm(): void {
    clearTimeout(this.#timer);
    this.#timerAt = this.#limit;
    this.#timer = setTimeout(() => {
      this.#timerAt = Infinity;
      if (this.#limit === Infinity) return;
      // A timer may be early by a fraction; the operation may be a later one.
      if (this.#limit - performance.now() > 1) return this.#arm();
      this.#expired = true;
      this.transport.close();
    }, Math.min(Math.max(0, this.#limit - performance.now()), MAX_TIMER));
  }

  #disarm(): void {
    clearTimeout(this.#timer);
    this.#timerAt = Infinity;
  }
}

interface Failure {
  readonly kind: "timeout" | "network";
  readonly message: string;
}

const TOO_LONG: Failure = {
  kind: "timeout",
  message: "The server takes too long",
};
