/**
 * The deadlines of one client. A deadline is for a whole command or for a rate,
 * never for a single byte: a client that sends one byte a minute would keep its
 * session for ever. Time that the server spends in a handler or a store does not
 * count.
 *
 * - A command has `timeoutMs` from the start of the wait to its line end. So has
 *   each line of an AUTH exchange.
 * - The content of a message starts with a credit of `timeoutMs`. It includes
 *   all BDAT chunks and the waits between them. Each byte adds its time at
 *   `minBytesPerSecond` to the credit, up to `timeoutMs`. The whole content has
 *   `contentTimeoutMs`.
 * - All commands since the greeting, or since the last message, have
 *   `mailTimeoutMs`.
 *
 * It starts no timer and reads no clock: the caller gives the time and gets the
 * deadline.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.5.3.2 | RFC 5321 section 4.5.3.2}
 */

import { timedOut } from "../protocol/replies.ts";
import type { SmtpReply } from "../protocol/reply.ts";
import type { Limits } from "./limit_options.ts";

/** The limits that are durations and rates. */
export type TimeLimits =
  & Pick<
    Limits,
    "timeoutMs" | "mailTimeoutMs" | "minBytesPerSecond"
  >
  & {
    /** For the whole content of a message; if unset, there is no limit. */
    readonly contentTimeoutMs?: number | undefined;
  };

/** The deadlines of one client. All times are in ms. */
export class SessionDeadlines {
  readonly #limits: TimeLimits;
  /** Deadline of the current command. */
  #commandEnd: number | undefined;
  /** When the credit of the current content is used up. */
  #contentEnd: number | undefined;
  /** Deadline of the whole current content. */
  #contentOver: number | undefined;
  /** Deadline of the next message. */
  #mailEnd: number | undefined;

  constructor(limits: TimeLimits) {
    this.#limits = limits;
  }

  /** The deadline of a wait for a command. */
  command(now: number): number {
    const { timeoutMs, mailTimeoutMs } = this.#limits;
    this.#contentEnd = undefined;
    this.#contentOver = undefined;
    this.#mailEnd ??= now + mailTimeoutMs;
    this.#commandEnd ??= now + timeoutMs;
    return Math.min(this.#commandEnd, this.#mailEnd);
  }

  /** The deadline of a wait for content, or for the next chunk of it. */
  content(now: number): number {
    const { timeoutMs, minBytesPerSecond, contentTimeoutMs } = this.#limits;
    this.#contentOver ??= now + (contentTimeoutMs ?? Infinity);
    const end = minBytesPerSecond === 0
      ? now + timeoutMs
      : this.#contentEnd ??= now + timeoutMs;
    return Math.min(end, this.#contentOver);
  }

  /** The deadline of a write to the client. */
  writing(now: number): number {
    this.#commandEnd = undefined;
    return now + this.#limits.timeoutMs;
  }

  /** The command is complete; the next one gets its own time. */
  commandDone(): void {
    this.#commandEnd = undefined;
  }

  /** The message is complete; the next one gets its own time. */
  mailDone(): void {
    this.#mailEnd = undefined;
    this.#contentOver = undefined;
  }

  /** Adds the credit of `count` received bytes. */
  received(now: number, count: number): void {
    if (this.#contentEnd === undefined) return;
    const { timeoutMs, minBytesPerSecond } = this.#limits;
    this.#contentEnd = Math.min(
      this.#contentEnd + count * 1000 / minBytesPerSecond,
      now + timeoutMs,
    );
  }

  /** Extends the deadlines by `ms` that the server itself has taken. */
  extend(ms: number): void {
    if (this.#contentEnd !== undefined) this.#contentEnd += ms;
    if (this.#contentOver !== undefined) this.#contentOver += ms;
    if (this.#mailEnd !== undefined) this.#mailEnd += ms;
  }

  /** The reply to a client whose deadline has passed at `now`. */
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
