/**
 * How long one client is waited for. A wait is for something whole, a command or
 * a rate, never for a single byte: who sends one a minute would keep a session
 * for ever. What the server itself takes, in a handler or a store, is no time of
 * the client's.
 *
 * - A command has `timeoutMs` from the moment it is waited for to its line end.
 *   So has each line of an AUTH exchange.
 * - The content of a message, all of its BDAT chunks and the waits between them
 *   together, begins with `timeoutMs` of credit. Each byte adds to it what it
 *   may take at the slowest rate, never past `timeoutMs`. All of it has
 *   `contentTimeoutMs`.
 * - All commands since the greeting, or since the last message, have
 *   `mailTimeoutMs`.
 *
 * It starts no timer and reads no clock: times come in, the deadline goes out.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.5.3.2 | RFC 5321 section 4.5.3.2}
 */

import { timedOut } from "../protocol/replies.ts";
import type { SmtpReply } from "../protocol/reply.ts";
import type { Limits } from "./limit_options.ts";

/** The limits that are times and rates. */
export type TimeLimits =
  & Pick<
    Limits,
    "timeoutMs" | "mailTimeoutMs" | "minBytesPerSecond"
  >
  & {
    /** For all of a message's content; without end when not given. */
    readonly contentTimeoutMs?: number | undefined;
  };

/** Until when one client is waited for. All times are in ms. */
export class SessionDeadlines {
  readonly #limits: TimeLimits;
  /** When the command under way must be whole. */
  #commandEnd: number | undefined;
  /** When the credit of the content under way is used up. */
  #contentEnd: number | undefined;
  /** When the content under way must be whole. */
  #contentOver: number | undefined;
  /** When a message must have come. */
  #mailEnd: number | undefined;

  constructor(limits: TimeLimits) {
    this.#limits = limits;
  }

  /** A command is waited for: until when. */
  command(now: number): number {
    const { timeoutMs, mailTimeoutMs } = this.#limits;
    this.#contentEnd = undefined;
    this.#contentOver = undefined;
    this.#mailEnd ??= now + mailTimeoutMs;
    this.#commandEnd ??= now + timeoutMs;
    return Math.min(this.#commandEnd, this.#mailEnd);
  }

  /** Content is waited for, or what stands between its chunks: until when. */
  content(now: number): number {
    const { timeoutMs, minBytesPerSecond, contentTimeoutMs } = this.#limits;
    this.#contentOver ??= now + (contentTimeoutMs ?? Infinity);
    const end = minBytesPerSecond === 0
      ? now + timeoutMs
      : this.#contentEnd ??= now + timeoutMs;
    return Math.min(end, this.#contentOver);
  }

  /** The client is written to: until when it must have read. */
  writing(now: number): number {
    this.#commandEnd = undefined;
    return now + this.#limits.timeoutMs;
  }

  /** A command is whole: the next one has its own time. */
  commandDone(): void {
    this.#commandEnd = undefined;
  }

  /** A message is whole: the next one has its own time. */
  mailDone(): void {
    this.#mailEnd = undefined;
    this.#contentOver = undefined;
  }

  /** Bytes have come. */
  received(now: number, count: number): void {
    if (this.#contentEnd === undefined) return;
    const { timeoutMs, minBytesPerSecond } = this.#limits;
    this.#contentEnd = Math.min(
      this.#contentEnd + count * 1000 / minBytesPerSecond,
      now + timeoutMs,
    );
  }

  /** The server itself has taken `ms`, and the client could do nothing. */
  extend(ms: number): void {
    if (this.#contentEnd !== undefined) this.#contentEnd += ms;
    if (this.#contentOver !== undefined) this.#contentOver += ms;
    if (this.#mailEnd !== undefined) this.#mailEnd += ms;
  }

  /** The last word to a client whose time is over at `now`. */
  reply(now: number): SmtpReply {
    const { timeoutMs, mailTimeoutMs, minBytesPerSecond, contentTimeoutMs } =
      this.#limits;
    if (
      contentTimeoutMs !== undefined &&
      this.#contentOver !== undefined && this.#contentOver <= now
    ) return timedOut({ missing: "end of content", ms: contentTimeoutMs });
    if (this.#contentEnd !== undefined) {
      const bytesPerSecond = minBytesPerSecond;
      return timedOut({ missing: "speed", ms: timeoutMs, bytesPerSecond });
    }
    return this.#mailEnd !== undefined && this.#mailEnd <= now
      ? timedOut({ missing: "message", ms: mailTimeoutMs })
      : timedOut({ missing: "command", ms: timeoutMs });
  }
}
