/**
 * Log records: what the server reports of its own doing, as plain fields. The
 * default logger writes nothing below a warning; the command line writes text
 * or JSON. No record carries a secret: there is no field for one.
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

/** The text of an error for a log record: its stack where it has one. */
export function describeError(error: unknown): string {
  return error instanceof Error ? error.stack ?? String(error) : String(error);
}

/** The default logger: warnings and errors, to standard error. */
export function consoleLogger(record: LogRecord): void {
  if (record.level === "debug" || record.level === "info") return;
  const detail = record.error === undefined ? "" : `: ${record.error}`;
  // deno-lint-ignore no-console
  console.error(`${record.level}: ${record.message}${detail}`);
}
