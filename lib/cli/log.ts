/**
 * Log records for people or programs, a line each, on standard error. Lines are
 * gathered for a moment and written at once: a write a record would cost a busy
 * server more than the mail itself.
 */

import {
  type LogLevel,
  type LogRecord,
  printable,
  printableJson,
  printableStack,
} from "../log.ts";

/** How long lines are gathered, in ms. */
const GATHER_MS = 20;

const COLOURS: Readonly<Record<LogLevel, string>> = {
  debug: "\x1b[2m",
  info: "",
  warn: "\x1b[33m",
  error: "\x1b[31m",
};

/** Writes log records as text or as JSON, one a line. */
export class LogWriter {
  readonly #form: "text" | "json";
  /** The least level that is written. */
  readonly least: LogLevel;
  readonly #colours: boolean;
  readonly #write: (text: string) => void;
  #lines = "";
  #clock = "";
  #timer: ReturnType<typeof setTimeout> | undefined;

  /**
   * @param options `form` of the records, `quiet` for warnings and errors only,
   * `colours` for a terminal, `write` takes whole lines
   */
  constructor(options: {
    readonly form: "text" | "json";
    readonly quiet: boolean;
    readonly colours: boolean;
    readonly write: (text: string) => void;
  }) {
    this.#form = options.form;
    // Connections by themselves are noise to a person, and facts to a program.
    this.least = options.quiet
      ? "warn"
      : options.form === "json"
      ? "debug"
      : "info";
    this.#colours = options.colours;
    this.#write = options.write;
  }

  /** Takes one record. */
  log(record: LogRecord): void {
    if (LEVELS[record.level] < LEVELS[this.least]) return;
    this.#lines += this.line(record);
    this.#timer ??= setTimeout(() => this.flush(), GATHER_MS);
  }

  /** The line of a record. */
  line(record: LogRecord): string {
    return this.#form === "json" ? jsonLine(record) : this.#textLine(record);
  }

  /** Writes what has been gathered. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const lines = this.#lines;
    this.#lines = "";
    if (lines !== "") this.#write(lines);
  }

  #textLine(record: LogRecord): string {
    let text = `${this.#time()} ${record.level} ${record.message}`;
    const { fields, error } = record;
    for (const name in fields) text += ` ${name}=${valueText(fields[name])}`;
    text = printable(text);
    if (error !== undefined) text += `: ${printableStack(error)}`;
    const colour = this.#colours ? COLOURS[record.level] : "";
    return colour === "" ? `${text}\n` : `${colour}${text}\x1b[0m\n`;
  }

  /** The time of day. Lines that are written together share it. */
  #time(): string {
    if (this.#lines === "") {
      this.#clock = new Date().toISOString().slice(11, 19);
    }
    return this.#clock;
  }
}

/** A value as it stands behind its name: in quotes where it could be read as more than one. */
function valueText(value: string | number | boolean | undefined): string {
  const text = printable(String(value));
  return text === "" || /[\s"=\\]/.test(text)
    ? `"${text.replace(/["\\]/g, "\\$&")}"`
    : text;
}

const LEVELS: Readonly<Record<LogLevel, number>> = {
  debug: 0,
  info: 1,
  warn: 2,
  error: 3,
};

function jsonLine(record: LogRecord): string {
  const { level, event, message, session, fields, error } = record;
  const time = new Date().toISOString();
  return printableJson({
    time,
    level,
    event,
    message,
    session,
    ...fields,
    error,
  }) + "\n";
}
