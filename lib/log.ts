/**
 * Log records: what the server reports of its own doing, as plain fields. The
 * default logger writes nothing below a warning; the command line writes text
 * or JSON. No record carries a secret: there is no field for one.
 *
 * Danger: records quote what peers said. What is written as text must pass
 * through {@linkcode printable}, JSON through {@linkcode printableJson}: the one
 * filter for logs, terminals and JSON alike.
 */

/** How much a record matters. */
export type LogLevel = "debug" | "info" | "warn" | "error";

/** What a record is about. */
export type LogEvent =
  | "listening"
  | "connect"
  | "auth"
  | "message"
  | "refused"
  | "relay"
  | "bounce"
  | "disconnect"
  | "error";

/** One log record: plain fields only, so that it can cross threads and become JSON. */
export interface LogRecord {
  /** How much it matters. */
  readonly level: LogLevel;
  /** What it is about. */
  readonly event: LogEvent;
  /** One sentence for people. */
  readonly message: string;
  /** The session it belongs to, if any. */
  readonly session?: string | undefined;
  /** Further plain fields. */
  readonly fields?: Readonly<Record<string, string | number | boolean>>;
  /** The error's stack or text, where there was one. */
  readonly error?: string | undefined;
}

/** Takes log records. Must not throw and must not block. */
export type Logger = (record: LogRecord) => void;

/**
 * Control characters, and the marks that turn the direction of what follows: a
 * terminal obeys the former, and the latter let a line read as another.
 */
const UNPRINTABLE =
  // deno-lint-ignore no-control-regex
  /[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]/;
const ALL_UNPRINTABLE = new RegExp(`${UNPRINTABLE.source}+`, "g");
const EACH_UNPRINTABLE = new RegExp(UNPRINTABLE.source, "g");

/** The text as it can stand in one line of a log, on a terminal too. */
export function printable(text: string): string {
  return UNPRINTABLE.test(text) ? text.replace(ALL_UNPRINTABLE, " ") : text;
}

/**
 * A value as JSON that can stand in one line and on a terminal: what JSON leaves
 * as it is, and a terminal obeys or a reader takes for the end of the line, is
 * escaped. It reads back as the same value.
 */
export function printableJson(value: unknown): string {
  const text = JSON.stringify(value);
  return UNPRINTABLE.test(text) ? text.replace(EACH_UNPRINTABLE, escape) : text;
}

function escape(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

/** As {@linkcode printable}, for a stack of several lines: all but the first are set off. */
export function printableStack(text: string): string {
  return text.split("\n").map(printable).join("\n    ");
}

/** Errors behind an error that are told, at most: a cause may lead back to itself. */
const MOST_CAUSES = 8;

/**
 * The text of an error for a log record: its stack where it has one, then those
 * of what caused it, and of the errors that it puts together.
 */
export function describeError(error: unknown): string {
  const told = new Set<unknown>();
  const texts: string[] = [];
  const tell = (one: unknown, why: string) => {
    if (told.has(one) || texts.length > MOST_CAUSES) return;
    told.add(one);
    texts.push(why + errorText(one));
    if (!(one instanceof Error)) return;
    if (one instanceof AggregateError) {
      for (const part of one.errors) tell(part, "One of its errors: ");
    }
    if (one.cause !== undefined) tell(one.cause, "Caused by: ");
  };
  tell(error, "");
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

/** Characters that may wait for a reader that does not read. */
const MOST_WAITING = 1 << 20;

/**
 * Writes lines to a pipe that may have no reader: never blocks, keeps 1 MiB at
 * most, and tells how many lines it had to drop once they are read again.
 */
export class BackgroundWriter {
  readonly #to: { write(bytes: Uint8Array): Promise<number> };
  readonly #dropNote: (count: number) => string;
  readonly #encoder = new TextEncoder();
  #waiting = "";
  #dropped = 0;
  #writing: Promise<void> | undefined;

  /** @param options `to`: where to write; `dropNote`: the line that tells how many lines were dropped */
  constructor(options: {
    readonly to: { write(bytes: Uint8Array): Promise<number> };
    readonly dropNote: (count: number) => string;
  }) {
    this.#to = options.to;
    this.#dropNote = options.dropNote;
  }

  /** Takes whole lines. */
  write(lines: string): void {
    if (lines === "") return;
    const isBusy = this.#writing !== undefined;
    if (isBusy && this.#waiting.length + lines.length > MOST_WAITING) {
      this.#dropped += countLines(lines);
      return;
    }
    this.#waiting += lines;
    this.#writing ??= this.#run();
  }

  /** Resolves when all is written, or after `ms`. */
  async drain(ms: number): Promise<void> {
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
      // A reader that is gone, as `head` when it has seen enough.
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

/** What is said of log records that were dropped. */
export function droppedText(count: number): string {
  return `${count} log lines were dropped: nothing read them`;
}

/**
 * A logger that never throws: of one that fails, or whose promise does, the
 * records go on to {@linkcode consoleLogger}, and its first failure is told.
 */
export function safeLogger(log: Logger): Logger {
  let isTold = false;
  const onFailure = (record: LogRecord, error: unknown) => {
    if (!isTold) {
      isTold = true;
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

/** The default logger: warnings and errors, to standard error. Never blocks. */
export function consoleLogger(record: LogRecord): void {
  if (record.level === "debug" || record.level === "info") return;
  const detail = record.error === undefined
    ? ""
    : `: ${printableStack(record.error)}`;
  standardError.write(
    `${record.level}: ${printable(record.message)}${detail}\n`,
  );
}
