/**
 * Log records as lines: as text, JSON, or as Postfix writes them. Collects the
 * lines of {@linkcode GATHER_MS} and writes them at once: one write a record
 * would cost a busy server more than the mail itself.
 */

import {
  BackgroundWriter,
  droppedText,
  isWanted,
  type Logger,
  type LogLevel,
  type LogRecord,
} from "../log.ts";
import {
  callable,
  checkOptions,
  flag,
  oneOf,
  optionError,
  type Rules,
  text,
} from "../options.ts";
import { PostfixLines } from "./postfix.ts";
import { formatJson, formatText } from "./text.ts";

/** Time for which log lines are collected, in ms. */
const GATHER_MS = 20;

/** Longest wait until the last log lines are read, in ms. */
const DRAIN_MS = 1000;

/**
 * The form of a log: `"text"` for people, `"json"` for programs, `"postfix"` for
 * the programs that read Postfix's log.
 */
export type LogForm = "text" | "json" | "postfix";

/** The forms of a log. */
export const LOG_FORMS: readonly LogForm[] = ["text", "json", "postfix"];

/** Options of {@linkcode logLines}. */
export interface LogLinesOptions {
  /** The lowest level that is written. Default: every record. */
  level?: LogLevel | undefined;
  /** Takes whole lines, several at a time. Must not block. Default: they go to standard error, which may have no reader. */
  write?: ((lines: string) => void) | undefined;
  /**
   * Whether lines of text have colours, and errors several lines. Default: if
   * standard error is a terminal, `NO_COLOR` is unset and `write` is not given.
   */
  colours?: boolean | undefined;
  /** The name of this machine in the form `"postfix"`. Default: the system's. */
  hostname?: string | undefined;
}

const RULES: Rules<LogLinesOptions> = {
  level: oneOf("debug", "info", "warn", "error"),
  write: callable("a function, as (lines) => console.log(lines)"),
  colours: flag,
  hostname: text(),
};

/**
 * A logger that writes records as lines, one event a line: as text, as JSON, or
 * as Postfix does. Collects them for 20 ms, never blocks, and drops lines if
 * nothing reads them. Records of a dialogue (`trace`) are written whatever the
 * level.
 *
 * The last lines are not lost: its `flush`, which {@linkcode SmtpServer.stop}
 * calls, resolves when they are written, or after 1 s without a reader. At
 * `Deno.exit()` and at an exception that nothing catches they are written at once.
 *
 * @throws {TypeError} If the form or an option is unknown or of the wrong kind
 *
 * @example JSON on standard error
 * ```ts
 * import { type LogForm, logLines, SmtpServer } from "@smtp/server";
 *
 * const form: LogForm = "json";
 * const server = new SmtpServer({ log: logLines(form) });
 * console.assert(!server.active);
 * ```
 *
 * @example Text of some records, into a variable
 * ```ts
 * import { logLines, type LogLinesOptions } from "@smtp/server";
 *
 * const { promise, resolve } = Promise.withResolvers<string>();
 * const options: LogLinesOptions = { level: "warn", write: resolve };
 * const log = logLines("text", options);
 * log({ level: "info", event: "listening", message: "not written" });
 * log({ level: "warn", event: "warning", message: "Disk is slow" });
 * console.assert((await promise).endsWith(' warning msg="Disk is slow"\n'));
 * ```
 */
export function logLines(
  form: LogForm,
  options: LogLinesOptions = {},
): Logger {
  checkOptions("logLines", options, RULES, '{ level: "info" }');
  if (!LOG_FORMS.includes(form)) {
    throw optionError({ path: "form", of: "logLines", secret: false }, form, {
      want: LOG_FORMS.map((one) => `"${one}"`).join(" or "),
    });
  }
  const { level = "debug", write, hostname } = options;
  const colours = options.colours ?? (write === undefined && isColourful());
  const writer = new LogWriter({
    ...{ form, level, colours, terminal: colours, hostname, write },
  });
  const log: Logger = (record) => writer.log(record);
  log.flush = () => writer.drain();
  return log;
}

function isColourful(): boolean {
  return !Deno.noColor && Deno.stderr.isTerminal();
}

/** This machine's name, if the permission to read it is granted. */
function ownName(): string {
  try {
    return Deno.hostname();
  } catch {
    return "localhost";
  }
}

/** The writers with lines that are not written yet. */
const collecting = new Set<LogWriter>();

/** The events before a process ends without another turn of its event loop. */
const ENDS = ["unload", "error", "unhandledrejection"] as const;
let isWatching = false;

function watchForEnd(): void {
  if (isWatching) return;
  isWatching = true;
  for (const end of ENDS) {
    globalThis.addEventListener(end, () => {
      for (const writer of collecting) writer.end();
    });
  }
}

/** Writes log records in one form, to standard error unless it gets `write`. */
export class LogWriter {
  /** The lowest level that is written. */
  readonly least: LogLevel;
  readonly #form: LogForm;
  readonly #look: { readonly colours: boolean; readonly terminal: boolean };
  readonly #write: ((lines: string) => void) | undefined;
  readonly #errors: BackgroundWriter;
  readonly #postfix: PostfixLines | undefined;
  #lines = "";
  #timer: ReturnType<typeof setTimeout> | undefined;

  /**
   * @param options `form` of the records; `level`: the lowest written; `colours`
   * and `terminal` for a person that reads along; `write` takes whole lines
   */
  constructor(options: {
    readonly form: LogForm;
    readonly level: LogLevel;
    readonly colours?: boolean;
    readonly terminal?: boolean;
    readonly hostname?: string | undefined;
    readonly write?: ((text: string) => void) | undefined;
  }) {
    const { form, level, colours = false, terminal = false } = options;
    this.#form = form;
    this.least = level;
    this.#look = { colours, terminal };
    this.#write = options.write;
    this.#errors = new BackgroundWriter({
      to: Deno.stderr,
      dropNote: (count) =>
        this.#line({
          level: "warn",
          event: "warning",
          message: droppedText(count),
          fields: { dropped: count },
        }),
    });
    this.#postfix = form !== "postfix" ? undefined : new PostfixLines({
      hostname: options.hostname ?? ownName(),
      process: Deno.pid,
    });
    watchForEnd();
  }

  /** Collects the lines of a record, if its level is high enough. */
  log(record: LogRecord): void {
    if (!isWanted(record, this.least)) return;
    this.#lines += this.#line(record);
    if (this.#timer !== undefined) return;
    this.#timer = setTimeout(() => this.flush(), GATHER_MS);
    collecting.add(this);
  }

  /** The lines of a record at this moment. */
  #line(record: LogRecord): string {
    const time = Date.now();
    if (this.#postfix !== undefined) return this.#postfix.lines(record, time);
    return this.#form === "json"
      ? `${formatJson(record, time)}\n`
      : `${formatText(record, time, this.#look)}\n`;
  }

  /** Writes the collected lines, and `text` behind them. */
  flush(text = ""): void {
    const lines = this.#take() + text;
    if (lines === "") return;
    if (this.#write === undefined) this.#errors.write(lines);
    else this.#write(lines);
  }

  /** Writes the collected lines. Resolves when they are written, or after 1 s. */
  async drain(): Promise<void> {
    this.flush();
    await this.#errors.drain(DRAIN_MS);
  }

  /** Writes the collected lines at once: the process may end. A reader that is slow does not get them. */
  end(): void {
    if (this.#write !== undefined) return this.flush();
    const lines = this.#take();
    if (this.#errors.isBusy) return this.#errors.write(lines);
    let bytes = new TextEncoder().encode(lines);
    try {
      while (bytes.length > 0) {
        bytes = bytes.subarray(Deno.stderr.writeSync(bytes));
      }
    } catch {
      // The reader is gone.
    }
  }

  #take(): string {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    collecting.delete(this);
    const lines = this.#lines;
    this.#lines = "";
    return lines;
  }
}
