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

/** The default logger: warnings and errors, to standard error. */
export function consoleLogger(record: LogRecord): void {
  if (record.level === "debug" || record.level === "info") return;
  const detail = record.error === undefined
    ? ""
    : `: ${printableStack(record.error)}`;
  // deno-lint-ignore no-console
  console.error(`${record.level}: ${printable(record.message)}${detail}`);
}
