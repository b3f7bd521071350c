/**
 * The loop that carries out the effects of `ClientProtocol` on a transport: reads
 * and writes, each with its time limit. Owns the clock of a session and none of
 * its rules.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.5.3.2 | RFC 5321 section 4.5.3.2}
 */

import { errorMessage } from "../log.ts";
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
/** Milliseconds to read the server's last reply after a failed write. */
const LAST_WORDS_MS = 2000;

/** The time limits of a client, in milliseconds. */
export interface ClientTimeouts extends Readonly<Record<ClientStage, number>> {
  /** Opening the connection. */
  readonly connect: number;
  /** The TLS handshake. */
  readonly tls: number;
  /**
   * From the greeting to the end of the login, all replies together. Default:
   * twice the longest of the limits of these steps, at least 5 s.
   */
  readonly opening: number;
  /**
   * One message, from MAIL to the last reply, all replies and writes together;
   * each 4 KiB of content add a second. Default: three times the longest of the
   * limits of these steps, at least 5 s.
   */
  readonly message: number;
  /**
   * One message to all hosts of its destination together: no session begins
   * after it. Default: twice `message`.
   */
  readonly delivery: number;
}

const SECOND = 1000;
/** The least default of a total, in milliseconds. */
const MIN_TOTAL = 5 * SECOND;
/** Bytes that extend the total of a message by one second: slower content uses the total up. */
const MIN_RATE = 4096;
/** The longest delay of the platform's timers, in milliseconds. */
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
 * All limits. The defaults are those of RFC 5321 section 4.5.3.2, and 30 s each
 * for the connection and for TLS.
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

/** The rule for {@linkcode ClientTimeouts} inside other options. */
export const TIMEOUTS_RULE: Rule = object(RULES, "{ connect: 10_000 }");

/** The effects that end an order. */
export type OrderEnd = Extract<
  ClientEffect,
  { kind: "done" | "failed" | "startTls" }
>;

/** The input of an order, and its listener. */
export interface OrderHelp {
  /** The content, piece by piece. */
  readonly content?: AsyncIterator<Uint8Array> | undefined;
  /** The content in one piece instead: it goes out together with its end. */
  readonly whole?: Uint8Array | undefined;
  /** Answers a challenge; `undefined` cancels. Must not reject. */
  readonly respond?:
    | ((challenge: Uint8Array) => Promise<Uint8Array | undefined>)
    | undefined;
  /** Called with the phase whenever it changes. */
  readonly onPhase?: ((phase: ClientPhase) => void) | undefined;
}

/** A `ClientProtocol` on a transport. */
export class ClientSession {
  /** The connection; replaced after STARTTLS. */
  transport: Transport;
  readonly protocol: ClientProtocol;
  /** Aborts the order that runs. */
  signal: AbortSignal | undefined;
  readonly #timeouts: ClientTimeouts;
  readonly #buffer = new Uint8Array(READ_SIZE);
  /** When the next reply must be complete. */
  #deadline = 0;
  /** When the `opening`, `message` or `quit` in progress must be over. */
  #end = Infinity;
  /** The deadline of the operation in progress; `Infinity` between operations. */
  #limit = Infinity;
  /** When the timer checks `#limit`; `Infinity` if it is not set. */
  #timerAt = Infinity;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Whether a limit has passed, and the connection was closed for it. */
  #expired = false;
  /** The number of replies when `#deadline` was set; -1: to be set. */
  #progress = -1;
  #phase: ClientPhase | undefined;
  /** A read that began while the session was idle, and whether it has ended. */
  #ahead: { read: Promise<number | null>; isOver: boolean } | undefined;
  #isIdle = true;

  constructor(
    transport: Transport,
    options: { protocol: ClientProtocol; timeouts: ClientTimeouts },
  ) {
    this.transport = transport;
    this.protocol = options.protocol;
    this.#timeouts = options.timeouts;
  }

  /** Starts the clock of a total: what follows must end within it. */
  allow(total: "opening" | "message" | "quit"): void {
    this.#end = performance.now() + this.#timeouts[total];
  }

  /** Reads while no order runs. Calls `onEnd` when the server sends anything or closes. */
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
   * Carries out effects until the order ends. Failures of the server or the
   * network are values. An abort and a failing content source throw, and close
   * the connection.
   */
  async run(help: OrderHelp = {}): Promise<OrderEnd> {
    const onAbort = () => this.transport.close();
    this.signal?.addEventListener("abort", onAbort);
    this.#isIdle = false;
    try {
      // Bytes that came before the first command are no answer to it.
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
          this.#enter(effect.phase, help);
          await this.#read(effect.phase);
          break;
        case "write":
          this.#enter(effect.phase, help);
          await this.#write(effect.bytes, effect.phase);
          break;
        case "content":
          this.#enter("body", help);
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

  #enter(phase: ClientPhase, help: OrderHelp): void {
    if (phase === this.#phase) return;
    this.#phase = phase;
    help.onPhase?.(phase);
  }

  async #read(phase: ClientPhase): Promise<void> {
    const { protocol } = this;
    const now = performance.now();
    // The limit is for a reply, not for a byte: a server that sends a byte now
    // and then must not hold the session without end.
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

  /** Reads the last reply of a server that closed early: its reason counts, not the broken pipe. */
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
   * Runs one operation; its failure is a value. Closes the connection when the
   * limit passes. One timer serves many operations: they are short, and a timer
   * for each would cost as much as some of them.
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
      const reason = errorMessage(error);
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
      // The timer may be early by a fraction, or a later operation may be running.
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
