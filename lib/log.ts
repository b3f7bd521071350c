/**
 * Log records: the server's reports of its own work, as plain fields. The
 * default logger writes warnings, errors and dialogues; the command line writes text or
 * JSON. No record has a secret: there is no field for one.
 *
 * Danger: records quote what peers said. What is written as text must pass
 * through {@linkcode printable}, JSON through {@linkcode printableJson}: the one
 * filter for logs, terminals and JSON alike.
 */

/** Importance of a record. */
export type LogLevel = "debug" | "info" | "warn" | "error";

/** Subject of a record; {@linkcode LogRecord} has the fields of each. */
export type LogEvent =
  | "listening"
  | "connect"
  | "auth"
  | "refused"
  | "message"
  | "stored"
  | "delivery"
  | "bounce"
  | "notice"
  | "removed"
  | "held"
  | "released"
  | "reload"
  | "stopping"
  | "warning"
  | "error"
  | "dialogue"
  | "disconnect";

/** The value of a field: a text, a number, a flag, a list of texts, or counts and times by name. */
export type LogValue =
  | string
  | number
  | boolean
  | readonly string[]
  | Readonly<Record<string, number>>;

/**
 * One log record. It has plain fields only, so it can cross threads and become
 * JSON. The same ids name the same things in all records: `session` a
 * connection, `id` a message, `relay` a message in the queue, `recipient` one of
 * its addresses. Addresses have no angle brackets; the null reverse-path is
 * `""`. A field that is not known is left out.
 *
 * | event | fields |
 * |---|---|
 * | `listening` | address, port, path, kind |
 * | `connect` | listener, address, port, proxy |
 * | `auth` | address, user, mechanism, result (accepted, refused), reason |
 * | `refused` | address, port, helo, tls, user, id, verb, from, recipient, reply, spf, dkim, dmarc, arc, limit, reason |
 * | `message` | id, address, helo, protocol, tls, user, from, recipient, recipients, messageId, size, asked, spf, dkim, dmarc, arc, stored, queued, ms |
 * | `stored` | id, from, recipient, store, mailbox, result (stored, discarded, handled, failed), reason |
 * | `delivery` | id, relay, about, from, recipient, result (delivered, relayed, deferred, failed), status, reply, reason, host, address, tls, verified, remoteId, attempt, delays, nextAt |
 * | `bounce`, `notice` | id, relay, from, recipient, to, kind (failed, lost; delayed, succeeded), notice, size |
 * | `removed`, `held`, `released` | id, relay, from, recipient, by (operator, program, queue) |
 * | `reload` | options |
 * | `stopping` | sessions, graceMs |
 * | `warning` | name, dropped, address, user, limit, relay |
 * | `error` | id, relay, state |
 * | `dialogue` | address, side, atMs, line |
 * | `disconnect` | address, reason, messages |
 */
export interface LogRecord {
  /** Importance of the record. */
  readonly level: LogLevel;
  /** Subject of the record. */
  readonly event: LogEvent;
  /** One sentence for people. */
  readonly message: string;
  /** Id of the session that the record belongs to, or that the message came in. */
  readonly session?: string | undefined;
  /** Further plain fields. */
  readonly fields?: Readonly<Record<string, LogValue>>;
  /** Stack or text of the error, if there was one, and of its causes. */
  readonly error?: string | undefined;
}

/** The fields that have a value. */
export function fieldsOf(
  all: Record<string, LogValue | undefined>,
): Record<string, LogValue> {
  const fields: Record<string, LogValue> = {};
  for (const name in all) {
    const value = all[name];
    if (value !== undefined) fields[name] = value;
  }
  return fields;
}

/** The one text, or the list of several; `undefined` for none. */
export function oneOrAll(
  texts: readonly string[],
): string | readonly string[] | undefined {
  return texts.length > 1 ? texts : texts[0];
}

/** A log, and the levels that it wants: a record of a level that it does not want is not made. */
export interface WantedLog {
  readonly log: Logger;
  /** Whether records of the level info are wanted. */
  readonly verbose: boolean;
  /** Whether records of the level debug are wanted. */
  readonly debug: boolean;
}

/** The order of levels. */
const RANKS: Readonly<Record<LogLevel, number>> = {
  debug: 0,
  info: 1,
  warn: 2,
  error: 3,
};

/**
 * Whether a log whose least level is `least` takes a record. A dialogue was asked
 * for, client by client (`trace`): it is wanted at every level.
 */
export function isWanted(
  { level, event }: Pick<LogRecord, "level" | "event">,
  least: LogLevel,
): boolean {
  return takesLevel(least, level) || event === "dialogue";
}

/** Whether a log whose least level is `least` takes records of a level. */
export function takesLevel(least: LogLevel, level: LogLevel): boolean {
  return RANKS[level] >= RANKS[least];
}

/**
 * Takes log records. Must not throw and must not block. If it has a method
 * `flush`, {@linkcode SmtpServer.stop} waits for it after the last record, so
 * that a program may end the process then.
 *
 * @example Failures as JSON, the rest dropped
 * ```ts
 * import {
 *   type LogEvent,
 *   type Logger,
 *   type LogLevel,
 *   type LogRecord,
 *   type LogValue,
 *   SmtpServer,
 * } from "@smtp/server";
 *
 * const watched: readonly LogEvent[] = ["refused", "error"];
 * const logLevel: LogLevel = "info";
 * const line = (record: LogRecord) =>
 *   JSON.stringify({ time: new Date(), ...record });
 * const fieldOf = ({ fields }: LogRecord, name: string): LogValue =>
 *   fields?.[name] ?? "unknown";
 * const log: Logger = (record) => {
 *   if (!watched.includes(record.event)) return;
 *   console.error(fieldOf(record, "address"), line(record));
 * };
 * const server = new SmtpServer({ log, logLevel });
 * console.assert(!server.active);
 * ```
 */
export interface Logger {
  /** Takes a record. */
  (record: LogRecord): void;
  /** Writes what was collected. Resolves when it is written, or no longer waited for. */
  flush?(): Promise<void>;
}

/**
 * Control characters, and the marks that change the direction of text. A
 * terminal obeys the former; the latter make a line look like another.
 */
const UNPRINTABLE =
  // deno-lint-ignore no-control-regex
  /[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]/;
const ALL_UNPRINTABLE = new RegExp(`${UNPRINTABLE.source}+`, "g");
const EACH_UNPRINTABLE = new RegExp(UNPRINTABLE.source, "g");

/** The text as one line, safe in a log and on a terminal. */
export function printable(text: string): string {
  return UNPRINTABLE.test(text) ? text.replace(ALL_UNPRINTABLE, " ") : text;
}

/** The text as one line with every unprintable character as `\u001b`, safe as {@linkcode printable}. */
export function visible(text: string): string {
  return UNPRINTABLE.test(text) ? text.replace(EACH_UNPRINTABLE, escape) : text;
}

/**
 * A value as JSON in one line, safe on a terminal. Escapes the characters that
 * JSON allows, but that a terminal obeys or a reader takes for a line end. A
 * parser reads the same value.
 */
export function printableJson(value: unknown): string {
  const text = JSON.stringify(value);
  return UNPRINTABLE.test(text) ? text.replace(EACH_UNPRINTABLE, escape) : text;
}

function escape(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

/** {@linkcode printable} for a stack of several lines: all but the first are indented. */
export function printableStack(text: string): string {
  return text.split("\n").map(printable).join("\n    ");
}

/** The message of an error, or the text of anything else that was thrown. */
export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Most causes of an error that its text includes: a chain of causes may be long. */
const MOST_CAUSES = 8;

/**
 * The text of an error for a log record: its stack or text, then those of the
 * errors that it aggregates, and of its causes.
 */
export function describeError(error: unknown): string {
  const seen = new Set<unknown>();
  const texts: string[] = [];
  const describe = (one: unknown, why: string) => {
    if (seen.has(one) || texts.length > MOST_CAUSES) return;
    seen.add(one);
    texts.push(why + errorText(one));
    if (!(one instanceof Error)) return;
    if (one instanceof AggregateError) {
      for (const part of one.errors) describe(part, "One of its errors: ");
    }
    if (one.cause !== undefined) describe(one.cause, "Caused by: ");
  };
  describe(error, "");
  return texts.join("\n");
}

function errorText(error: unknown): string {
  try {
    if (error instanceof Error) return error.stack ?? String(error);
    return String(error);
  } catch {
    return "A value that has no text";
  }
}

/** Most characters that wait for a reader that does not read. */
const MOST_WAITING = 1 << 20;

/**
 * Writes lines to a pipe that may have no reader. Never blocks, keeps at most 1
 * MiB, and reports the number of lines it had to drop once the reader reads
 * again.
 */
export class BackgroundWriter {
  readonly #to: { write(bytes: Uint8Array): Promise<number> };
  readonly #dropNote: (count: number) => string;
  readonly #encoder = new TextEncoder();
  #waiting = "";
  #dropped = 0;
  #writing: Promise<void> | undefined;

  /** @param options `to`: where to write; `dropNote`: makes the line that reports the number of lines dropped */
  constructor(options: {
    readonly to: { write(bytes: Uint8Array): Promise<number> };
    readonly dropNote: (count: number) => string;
  }) {
    this.#to = options.to;
    this.#dropNote = options.dropNote;
  }

  /** Writes whole lines, or drops them if too many wait. */
  write(lines: string): void {
    if (lines === "") return;
    if (this.isBusy && this.#waiting.length + lines.length > MOST_WAITING) {
      this.#dropped += countLines(lines);
      return;
    }
    this.#waiting += lines;
    this.#writing ??= this.#run();
  }

  /** Whether lines are on their way: their reader may be slow or gone. */
  get isBusy(): boolean {
    return this.#writing !== undefined;
  }

  /** Resolves when all lines are written, or after `ms`. */
  async drain(ms: number): Promise<void> {
    if (this.#writing === undefined) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    await Promise.race([this.#writing, promise]);
    clearTimeout(timer);
  }

  async #run(): Promise<void> {
    try {
      while (this.#waiting !== "") {
        let bytes = this.#encoder.encode(this.#waiting);
        this.#waiting = "";
        while (bytes.length > 0) {
          bytes = bytes.subarray(await this.#to.write(bytes));
        }
        if (this.#dropped === 0) continue;
        this.#waiting += this.#dropNote(this.#dropped);
        this.#dropped = 0;
      }
    } catch {
      // The reader is gone, as `head` is when it has read enough.
      this.#dropped += countLines(this.#waiting);
      this.#waiting = "";
    }
    this.#writing = undefined;
  }
}

function countLines(text: string): number {
  return text.split("\n").length - 1;
}

const standardError = new BackgroundWriter({
  to: Deno.stderr,
  dropNote: (count) => `warn: ${droppedText(count)}\n`,
});

/** The text of the record about lines that were dropped. */
export function droppedText(count: number): string {
  return `${count} log lines were dropped: nothing read them`;
}

/**
 * A logger that never throws and gets no record below a level, dialogues
 * excepted. If `log` throws or its promise rejects, the record goes to
 * {@linkcode consoleLogger}, and the first failure is logged there.
 */
export function safeLogger(log: Logger, least: LogLevel = "debug"): Logger {
  let isReported = false;
  const onFailure = (record: LogRecord, error: unknown) => {
    if (!isReported) {
      isReported = true;
      consoleLogger({
        level: "error",
        event: "error",
        message: "Cannot log by the option log: it has failed",
        error: describeError(error),
      });
    }
    consoleLogger(record);
  };
  return (record) => {
    if (!isWanted(record, least)) return;
    try {
      const result: unknown = log(record);
      if (result instanceof Promise) {
        result.catch((error) => onFailure(record, error));
      }
    } catch (error) {
      onFailure(record, error);
    }
  };
}

/** Waits for what a logger has collected; its failure is no reason to fail. */
export async function flushLog(log: Logger | undefined): Promise<void> {
  try {
    await log?.flush?.();
  } catch (error) {
    consoleLogger({
      level: "error",
      event: "error",
      message: "Cannot flush the log",
      error: describeError(error),
    });
  }
}

/** The default logger: writes warnings, errors and dialogues to standard error. Never blocks. */
export function consoleLogger(record: LogRecord): void {
  if (!isWanted(record, "warn")) return;
  const detail = record.error === undefined
    ? ""
    : `: ${printableStack(record.error)}`;
  const said = record.event === "dialogue"
    ? `${record.session}: ${record.message}: ${record.fields?.["line"]}`
    : record.message;
  standardError.write(`${record.level}: ${printable(said)}${detail}\n`);
}
