/**
 * `cli.ts serve`: starts the server that the settings describe, prints its
 * listeners, rereads files and settings, and stops the server on a signal. Writes
 * log records to standard error, one per line, for people or programs.
 *
 * Lines are collected for {@linkcode GATHER_MS} and written at once: one write
 * per record would cost a busy server more than the mail itself.
 */

import { formatHostPort, kindName, machineName } from "../server/mod.ts";
import { CertificateSource } from "../tls/mod.ts";
import {
  type ListeningAddress,
  SmtpServer,
  type SmtpServerOptions,
} from "../../mod.ts";
import {
  BackgroundWriter,
  describeError,
  droppedText,
  type LogLevel,
  type LogRecord,
  printable,
  printableJson,
  printableStack,
} from "../log.ts";
import {
  checkListeners,
  checkPlaces,
  handlersOf,
  tryHandlers,
  withoutEffect,
} from "./checks.ts";
import { atItsPlace, placed, type PlacedSettings } from "./config_file.ts";
import { ServiceManager } from "./notify.ts";
import { type ServeSettings, serveSettings } from "./settings.ts";
import { WANT_RESTART } from "./options.ts";
import type { RawSettings } from "./arguments.ts";
import { SecurityFiles, type SecurityOptions } from "./security.ts";
import { oneLine, type Output, UsageError } from "./output.ts";

/** Time that sessions have to finish after the first signal, in ms. */
const GRACE_MS = 10_000;

/** Longest wait until the last log lines are read, in ms. */
const DRAIN_MS = 1000;

/** Time for which log lines are collected, in ms. */
const GATHER_MS = 20;

/** The order of log levels. */
const LEVELS: Readonly<Record<LogLevel, number>> = {
  debug: 0,
  info: 1,
  warn: 2,
  error: 3,
};

/** Escape sequences of a terminal that begin a line of each level. */
const COLOURS: Readonly<Record<LogLevel, string>> = {
  debug: "\x1b[2m",
  info: "",
  warn: "\x1b[33m",
  error: "\x1b[31m",
};

/** Request of the command line to `serve`. */
export interface ServeRequest {
  /** Reads the settings: at the start, and on SIGHUP. */
  read(): Promise<PlacedSettings>;
  /** Whether to check the settings and exit. */
  readonly check: boolean;
}

/**
 * Serves until a signal. Resolves with the exit code.
 *
 * @throws {UsageError} If a setting cannot be used
 * @throws {RunError} If a file cannot be used
 */
export async function serve(
  request: ServeRequest,
  output: Output,
): Promise<number> {
  const plan = await planOf(await request.read());
  try {
    return await serveBy(plan, request, output);
  } catch (error) {
    throw atItsPlace(error, plan.places);
  }
}

/** The settings, read and checked. No port or store is open yet. */
interface Plan extends PlacedSettings {
  readonly settings: ServeSettings;
  readonly files: SecurityFiles;
  readonly security: SecurityOptions;
}

async function planOf(placed: PlacedSettings): Promise<Plan> {
  const { raw, places } = placed;
  try {
    const settings = serveSettings(raw);
    const hostname = settings.options.hostname ?? machineName();
    const files = new SecurityFiles(raw, hostname);
    const security = await files.load();
    return { ...placed, settings, files, security };
  } catch (error) {
    throw atItsPlace(error, places);
  }
}

async function serveBy(
  plan: Plan,
  request: ServeRequest,
  output: Output,
): Promise<number> {
  const { raw, places, settings, security } = plan;
  const handlers = await handlersOf(settings.handlers);
  const options = {
    ...settings.options,
    ...security,
    certificate: security.certificate &&
      new CertificateSource(security.certificate),
    handlers: handlers?.url,
  };
  const lines = openLog(settings);
  const { log, errors } = lines;
  const server = makeServer({
    ...options,
    log: (record) => log.log(record),
    logLevel: log.least,
  });
  await checkPlaces(raw, settings);
  const warnings = withoutEffect(raw, { options, handlers: handlers?.exported })
    .map((warning) => placed(warning, places));
  checkListeners(options, handlers?.exported);
  if (request.check) {
    if (handlers !== undefined) await tryHandlers(handlers, settings);
    for (const warning of warnings) output.err(`warning: ${warning}\n`);
    output.out("the settings can be used\n");
    return 0;
  }
  for (const message of warnings) {
    log.log({ level: "warn", event: "listening", message });
  }
  const code = await run(server, { plan, request, output, lines });
  log.flush();
  await errors.drain(DRAIN_MS);
  return code;
}

/** The log of a run: the writer of its lines, and their way to standard error, which may have no reader. */
interface RunLog {
  readonly log: LogWriter;
  readonly errors: BackgroundWriter;
}

function openLog(settings: ServeSettings): RunLog {
  const errors = new BackgroundWriter({
    to: Deno.stderr,
    dropNote: (count) =>
      log.line({
        level: "warn",
        event: "error",
        message: droppedText(count),
        fields: { dropped: count },
      }),
  });
  const log: LogWriter = new LogWriter({
    form: settings.log,
    quiet: settings.quiet,
    colours: settings.log === "text" && !Deno.noColor &&
      Deno.stderr.isTerminal(),
    write: (lines) => errors.write(lines),
  });
  return { log, errors };
}

/** Starts the server; resolves with the exit code when it has stopped. */
async function run(
  server: SmtpServer,
  { plan, request, output, lines }: {
    readonly plan: Plan;
    readonly request: ServeRequest;
    readonly output: Output;
    readonly lines: RunLog;
  },
): Promise<number> {
  const { log } = lines;
  using manager = ServiceManager.find(
    plan.settings.notify,
    (message) => log.log({ level: "warn", event: "error", message }),
  );
  const stopped = stopOnSignal(server, manager);
  const started = Promise.withResolvers<void>();
  // Registered before the start: SIGHUP ends a process without a listener for it.
  const unwatch = reloadOnChange(server, {
    ...{ plan, request, log, manager },
    started: started.promise,
  });
  try {
    await server.start();
  } catch (error) {
    stopped.cancel();
    unwatch();
    return failed(error, lines);
  }
  const withdraw = keepGoing(log);
  printStart(server, { settings: plan.settings, output, log });
  manager?.ready(statusOf(server));
  started.resolve();
  const code = await stopped.done
    .then(() => 0, (error) => failed(error, lines))
    .finally(withdraw);
  unwatch();
  await manager?.sent();
  return code;
}

/** The line of status for the service manager. */
function statusOf(server: SmtpServer): string {
  const places = server.addresses.map((address) =>
    `${formatHostPort(address)} (${kindName(address)})`
  );
  return `Listening on ${places.join(", ")}`;
}

/** Writes the error that ends the run, after the lines before it; returns the exit code. */
function failed(error: unknown, { log, errors }: RunLog): number {
  log.flush();
  errors.write(`error: ${oneLine(withCause(error as Error))}\n`);
  return 1;
}

/** The text of an error with its cause, as the reason why a spool cannot be opened. */
function withCause({ message, cause }: Error): string {
  return cause instanceof Error && !message.includes(cause.message)
    ? `${message}: ${cause.message}`
    : message;
}

/**
 * Logs exceptions that nothing catches, as of a timer of a handler, and goes on:
 * one would end the process, and with it all sessions. For the command line only;
 * a program decides this for itself.
 */
function keepGoing(log: LogWriter): () => void {
  const report = (event: Event, error: unknown) => {
    event.preventDefault();
    log.log({
      level: "error",
      event: "error",
      message: "Going on after an exception that nothing caught",
      error: describeError(error),
    });
  };
  const onError = (event: ErrorEvent) => report(event, event.error);
  const onRejection = (event: PromiseRejectionEvent) =>
    report(event, event.reason);
  globalThis.addEventListener("error", onError);
  globalThis.addEventListener("unhandledrejection", onRejection);
  return () => {
    globalThis.removeEventListener("error", onError);
    globalThis.removeEventListener("unhandledrejection", onRejection);
  };
}

/**
 * Rereads certificates and accounts when their files change, and all settings on
 * SIGHUP. Returns the function that ends both.
 */
function reloadOnChange(
  server: SmtpServer,
  { plan, request, log, manager, started }: {
    readonly plan: Plan;
    readonly request: ServeRequest;
    readonly log: LogWriter;
    readonly manager: ServiceManager | undefined;
    /** Resolves when the server has started: nothing is reread before. */
    readonly started: Promise<void>;
  },
): () => void {
  let current = plan;
  let turn = started;
  const report = (level: "info" | "warn" | "error", message: string) =>
    log.log({
      level,
      event: level === "error" ? "error" : "listening",
      message,
    });
  const attempt = (act: () => Promise<void>) => {
    turn = turn.then(act).catch((error: Error) =>
      // The old settings stay in force.
      report("error", `Cannot reread: ${oneLine(error.message)}`)
    );
  };
  const rereadFiles = () =>
    attempt(async () => {
      const { certificate, accounts } = await current.files.load();
      await server.reload({
        ...(certificate && { certificate }),
        ...(accounts && { accounts }),
      });
      report("info", "Reread certificates and accounts");
    });
  let unwatch = current.files.watch(rereadFiles);
  const reread = async () => {
    const next = await planOf(await request.read());
    await server.reload(reloaded(next));
    unwatch();
    unwatch = next.files.watch(rereadFiles);
    report("info", "Reread certificates and accounts, domains and limits");
    const waiting = waitingForRestart(plan, next);
    if (waiting.length > 0) {
      const names = waiting.map((name) => `--${name}`).join(", ");
      report("warn", `Not in force before a restart: ${names}`);
    }
    current = next;
  };
  const rereadAll = () =>
    attempt(() => {
      manager?.reloading();
      // A failure is in the log; the server goes on, and so it is ready.
      return reread().finally(() => manager?.ready(statusOf(server)));
    });
  if (Deno.build.os !== "windows") {
    Deno.addSignalListener("SIGHUP", rereadAll);
  }
  return () => {
    unwatch();
    if (Deno.build.os === "windows") return;
    Deno.removeSignalListener("SIGHUP", rereadAll);
  };
}

/** The options that a reload applies. */
function reloaded(
  { settings, security }: Plan,
): Parameters<SmtpServer["reload"]>[0] {
  const { domains, earlyTalkers, limits, proxyProtocol, xclient } =
    settings.options;
  const { certificate, accounts, authentication, allowInsecureAuth } = security;
  return {
    ...{ domains, limits, accounts, authentication, allowInsecureAuth },
    ...{ earlyTalkers, proxyProtocol, xclient },
    ...(certificate && { certificate }),
  };
}

/** The names of settings that differ from those of the start and need a restart. */
function waitingForRestart(start: Plan, next: Plan): string[] {
  const names = new Set([...start.raw.keys(), ...next.raw.keys()]);
  const text = (raw: RawSettings, name: string) =>
    JSON.stringify(raw.get(name) ?? []);
  const changed = [...names].filter((name) =>
    WANT_RESTART.has(name) && text(start.raw, name) !== text(next.raw, name)
  );
  if (next.security.certificate === undefined && start.security.certificate) {
    changed.push(start.raw.has("cert") ? "cert" : "self-signed");
  }
  return changed;
}

/** Makes the server; an option that it rejects is wrong usage. */
function makeServer(options: SmtpServerOptions): SmtpServer {
  try {
    return new SmtpServer(options);
  } catch (error) {
    throw new UsageError((error as Error).message, { cause: error });
  }
}

/** Prints a line for each listener, which scripts wait for, then hints for people. */
function printStart(
  server: SmtpServer,
  { settings, output, log }: {
    readonly settings: ServeSettings;
    readonly output: Output;
    readonly log: LogWriter;
  },
): void {
  for (const address of server.addresses) {
    const at = formatHostPort(address);
    output.out(`listening on ${at} (${kindName(address)})\n`);
    if (settings.log === "json") {
      log.log({
        level: "info",
        event: "listening",
        message: `Listening on ${at}`,
        fields: {
          address: address.address,
          port: address.port,
          ...(address.path === undefined ? {} : { path: address.path }),
          kind: kindName(address),
        },
      });
    }
  }
  if (settings.quiet) return;
  const first = server.addresses.find(({ path }) => path === undefined) ??
    server.addresses[0]!;
  const to = `you@${settings.options.domains?.[0] ?? "example.com"}`;
  output.out(`${settings.keeps}
send a test mail:
  printf 'Subject: hello\\n\\nIt works.\\n' | curl --crlf ${
    curlPlace(first)
  } --mail-from me@example.com --mail-rcpt ${to} --upload-file -
stop with Ctrl-C
`);
}

/** Where curl finds a listener. */
function curlPlace(address: ListeningAddress): string {
  return address.path === undefined
    ? `--url smtp://${formatHostPort(reachable(address))}`
    : `--unix-socket ${address.path} --url smtp://localhost`;
}

/** An address that a client on this machine can connect to. */
function reachable(
  at: { readonly address: string; readonly port: number },
): { readonly address: string; readonly port: number } {
  const { address, port } = at;
  if (address === "0.0.0.0") return { address: "127.0.0.1", port };
  return address === "::" ? { address: "::1", port } : at;
}

/** Stops the server on SIGINT or SIGTERM; a second signal ends the grace. */
function stopOnSignal(
  server: SmtpServer,
  manager: ServiceManager | undefined,
): { readonly done: Promise<void>; cancel(): void } {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const signals: Deno.Signal[] = Deno.build.os === "windows"
    ? ["SIGINT", "SIGBREAK"]
    : ["SIGINT", "SIGTERM"];
  let signalled = false;
  const cancel = () => {
    for (const signal of signals) Deno.removeSignalListener(signal, stop);
  };
  const stop = () => {
    if (signalled) return void server.abort();
    signalled = true;
    manager?.stopping();
    server.stop({ graceMs: GRACE_MS }).then(resolve, reject).finally(cancel);
  };
  for (const signal of signals) Deno.addSignalListener(signal, stop);
  return { done: promise, cancel };
}

/** Writes log records as text or as JSON, one per line. */
export class LogWriter {
  readonly #form: "text" | "json";
  /** The lowest level that is written. */
  readonly least: LogLevel;
  readonly #colours: boolean;
  readonly #write: (text: string) => void;
  #lines = "";
  #clock = "";
  #timer: ReturnType<typeof setTimeout> | undefined;

  /**
   * @param options `form` of the records; `quiet` for warnings and errors only;
   * `colours` for a terminal; `write` writes whole lines
   */
  constructor(options: {
    readonly form: "text" | "json";
    readonly quiet: boolean;
    readonly colours: boolean;
    readonly write: (text: string) => void;
  }) {
    this.#form = options.form;
    // Single connections are noise to a person, and facts to a program.
    this.least = options.quiet
      ? "warn"
      : options.form === "json"
      ? "debug"
      : "info";
    this.#colours = options.colours;
    this.#write = options.write;
  }

  /** Collects the line of a record, if its level is high enough. */
  log(record: LogRecord): void {
    if (LEVELS[record.level] < LEVELS[this.least]) return;
    this.#lines += this.line(record);
    this.#timer ??= setTimeout(() => this.flush(), GATHER_MS);
  }

  /** The line of a record. */
  line(record: LogRecord): string {
    return this.#form === "json" ? jsonLine(record) : this.#textLine(record);
  }

  /** Writes the collected lines. */
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

  /** The time of day, in UTC. Lines that are written together share it. */
  #time(): string {
    if (this.#lines === "") {
      this.#clock = new Date().toISOString().slice(11, 19);
    }
    return this.#clock;
  }
}

/** A value as it follows its name: in quotes if it would read as more than one. */
function valueText(value: string | number | boolean | undefined): string {
  const text = printable(String(value));
  return text === "" || /[\s"=\\]/.test(text)
    ? `"${text.replace(/["\\]/g, "\\$&")}"`
    : text;
}

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
