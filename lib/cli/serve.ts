/**
 * `cli.ts serve`: starts the server that the settings describe, prints its
 * listeners, rereads files and settings, and stops the server on a signal. Writes
 * log records to standard error, for people or programs.
 */

import {
  formatHostPort,
  kindName,
  LogWriter,
  machineName,
} from "../server/mod.ts";
import { CertificateSource } from "../tls/mod.ts";
import {
  type ListeningAddress,
  type LogRecord,
  SmtpServer,
  type SmtpServerOptions,
} from "../../mod.ts";
import { describeError } from "../log.ts";
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
import { dkimSettings } from "./dkim.ts";
import { forwardingSettings } from "./forwarding.ts";
import { SecurityFiles, type SecurityOptions } from "./security.ts";
import {
  aliasWarnings,
  exampleRecipient,
  type RecipientSettings,
  recipientSettings,
} from "./recipients.ts";
import { socketPath } from "./status.ts";
import { socketFault, StatusSocket } from "./status_socket.ts";
import { oneLine, type Output, UsageError } from "./output.ts";

/** Time that sessions have to finish after the first signal, in ms. */
const GRACE_MS = 10_000;

/** Request of the command line to `serve`. */
export interface ServeRequest {
  /** Reads the settings: at the start, and on SIGHUP. */
  read(): Promise<PlacedSettings>;
  /** Whether to check the settings and exit. */
  readonly check: boolean;
  /** Version of the program, for the command `status`. */
  readonly version: string;
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
  readonly recipients: RecipientSettings;
  readonly dkim: Awaited<ReturnType<typeof dkimSettings>>;
  readonly forwarding: Awaited<ReturnType<typeof forwardingSettings>>;
}

async function planOf(placed: PlacedSettings): Promise<Plan> {
  const { raw, places } = placed;
  try {
    const settings = serveSettings(raw);
    const hostname = settings.options.hostname ?? machineName();
    const files = new SecurityFiles(raw, hostname);
    const security = await files.load();
    const recipients = await recipientSettings(raw);
    const dkim = await dkimSettings(raw);
    const forwarding = await forwardingSettings(raw);
    const plan = { ...placed, settings, files, security, recipients };
    return { ...plan, dkim, forwarding };
  } catch (error) {
    throw atItsPlace(error, places);
  }
}

async function serveBy(
  plan: Plan,
  request: ServeRequest,
  output: Output,
): Promise<number> {
  const { raw, places, settings, security, recipients } = plan;
  const handlers = await handlersOf(settings.handlers);
  const options = {
    ...settings.options,
    ...security,
    ...recipients,
    ...plan.dkim,
    relay: { ...settings.options.relay, forwarding: plan.forwarding },
    certificate: security.certificate &&
      new CertificateSource(security.certificate),
    handlers: handlers?.url,
  };
  const log = openLog(settings);
  const asked = askedAt(plan);
  const server = makeServer({
    ...options,
    log: (record) => {
      asked?.socket.count(record);
      if (!isToldElsewhere(record, settings)) log.log(record);
    },
    // What is counted is logged on level "info".
    logLevel: asked === undefined || log.least === "debug" ? log.least : "info",
  });
  await checkPlaces(raw, settings);
  const warnings = [
    ...plan.notes ?? [],
    ...withoutEffect(raw, { options, handlers: handlers?.exported })
      .map((warning) => placed(warning, places)),
  ];
  checkListeners(options, handlers?.exported);
  if (request.check) {
    if (handlers !== undefined) await tryHandlers(handlers, settings);
    warnings.push(
      ...await aliasWarnings({ ...settings.options, ...recipients }),
    );
    const fault = asked?.isWanted ? await socketFault(asked.path) : undefined;
    if (fault !== undefined) warnings.push(placed(fault, places));
    for (const warning of warnings) output.err(`warning: ${warning}\n`);
    output.out("the settings can be used\n");
    return 0;
  }
  for (const message of warnings) {
    log.log({ level: "warn", event: "warning", message });
  }
  const code = await run(server, { plan, request, output, log, asked });
  await log.drain();
  return code;
}

function openLog(settings: ServeSettings): LogWriter {
  const terminal = Deno.stderr.isTerminal();
  return new LogWriter({
    form: settings.log,
    level: settings.logLevel,
    terminal,
    colours: terminal && !Deno.noColor,
    hostname: settings.options.hostname ?? machineName(),
  });
}

/**
 * Whether people read a record of the server in other words: the listeners stand
 * on standard output, and a reload has the record that says what was reread.
 */
function isToldElsewhere(
  { event }: LogRecord,
  { log }: ServeSettings,
): boolean {
  return event === "reload" || (event === "listening" && log === "text");
}

/** Where the command `status` asks the server. */
interface AskedAt {
  readonly path: string;
  /** Whether the option asks for it. */
  readonly isWanted: boolean;
  readonly socket: StatusSocket;
}

function askedAt({ raw, settings }: Plan): AskedAt | undefined {
  const spool = settings.options.relay?.spool;
  const path = socketPath(raw, typeof spool === "string" ? spool : undefined);
  if (path === undefined) return undefined;
  return { path, isWanted: raw.has("status"), socket: new StatusSocket() };
}

/** Begins to answer the command `status`. If that fails, the server goes on without it. */
async function beginToAnswer(
  server: SmtpServer,
  { asked, log, version }: {
    readonly asked: AskedAt;
    readonly log: LogWriter;
    readonly version: string;
  },
): Promise<void> {
  try {
    await asked.socket.open(asked.path, { server, version });
  } catch (error) {
    const message = oneLine((error as Error).message);
    // A server with few permissions needs no more for what no one asked for.
    const level = asked.isWanted ? "warn" : "info";
    log.log({ level, event: "warning", message });
  }
}

/** Starts the server; resolves with the exit code when it has stopped. */
async function run(
  server: SmtpServer,
  { plan, request, output, log, asked }: {
    readonly plan: Plan;
    readonly request: ServeRequest;
    readonly output: Output;
    readonly log: LogWriter;
    readonly asked: AskedAt | undefined;
  },
): Promise<number> {
  using manager = ServiceManager.find(
    plan.settings.notify,
    (message) => log.log({ level: "warn", event: "warning", message }),
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
    return failed(error, log);
  }
  const withdraw = keepGoing(log);
  const { version } = request;
  if (asked) await beginToAnswer(server, { asked, log, version });
  const { domains = [] } = plan.settings.options;
  const to = await exampleRecipient(
    plan.raw.get("local-recipients")?.[0],
    Array.isArray(domains) ? domains : Object.keys(domains),
  );
  printStart(server, { settings: plan.settings, output, to });
  manager?.ready(statusOf(server));
  started.resolve();
  const code = await stopped.done
    .then(() => 0, (error) => failed(error, log))
    .finally(withdraw);
  await asked?.socket.close();
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
function failed(error: unknown, log: LogWriter): number {
  log.flush(`error: ${oneLine(withCause(error as Error))}\n`);
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
  const report = (message: string, options: object) =>
    log.log({
      level: "info",
      event: "reload",
      message,
      fields: { options: Object.keys(options) },
    });
  const attempt = (act: () => Promise<void>) => {
    turn = turn.then(act).catch((error: Error) =>
      // The old settings stay in force.
      log.log({
        level: "error",
        event: "error",
        message: `Cannot reread: ${oneLine(error.message)}`,
      })
    );
  };
  const rereadFiles = () =>
    attempt(async () => {
      const { certificate, accounts } = await current.files.load();
      const options = {
        ...(certificate && { certificate }),
        ...(accounts && { accounts }),
      };
      await server.reload(options);
      report("Reread certificates and accounts", options);
    });
  let unwatch = current.files.watch(rereadFiles);
  let isEnded = false;
  const reread = async () => {
    const next = await planOf(await request.read());
    const options = reloaded(next);
    await server.reload(options);
    if (isEnded) return;
    unwatch();
    unwatch = next.files.watch(rereadFiles);
    report("Reread certificates and accounts, domains and limits", options);
    const waiting = waitingForRestart(plan, next);
    if (waiting.length > 0) {
      const names = waiting.map((name) => `--${name}`).join(", ");
      log.log({
        level: "warn",
        event: "warning",
        message: `Not in force before a restart: ${names}`,
      });
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
    isEnded = true;
    unwatch();
    if (Deno.build.os === "windows") return;
    Deno.removeSignalListener("SIGHUP", rereadAll);
  };
}

/** The options that a reload applies. */
function reloaded(
  { settings, security, recipients, dkim }: Plan,
): Parameters<SmtpServer["reload"]>[0] {
  const { domains, earlyTalkers, limits, proxyProtocol, trace, xclient } =
    settings.options;
  const { verify = false } = settings.options;
  const { certificate, accounts, authentication, allowInsecureAuth } = security;
  const { senderPolicy } = security;
  return {
    ...{ domains, limits, accounts, authentication, allowInsecureAuth },
    ...{ earlyTalkers, proxyProtocol, trace, xclient, senderPolicy, verify },
    ...recipients,
    ...dkim,
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
  { settings, output, to }: {
    readonly settings: ServeSettings;
    readonly output: Output;
    /** The recipient of a test mail. */
    readonly to: string;
  },
): void {
  for (const address of server.addresses) {
    const at = formatHostPort(address);
    output.out(`listening on ${at} (${kindName(address)})\n`);
  }
  if (settings.quiet) return;
  const first = server.addresses.find(({ path }) => path === undefined) ??
    server.addresses[0]!;
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
