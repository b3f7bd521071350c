/**
 * `cli.ts serve`: starts the server that the settings describe, says where it
 * listens, and stops it on a signal.
 */

import { KINDS } from "../protocol/listener_kind.ts";
import { BackgroundWriter, describeError, droppedText } from "../log.ts";
import {
  formatHostPort,
  kindName,
  type ListenOptions,
} from "../net/listen_options.ts";
import { checkThreads } from "../net/listener.ts";
import { SmtpServer } from "../server/server.ts";
import { ownName, policyOf } from "../server/contexts.ts";
import type { SmtpServerOptions } from "../server/options.ts";
import { CertificateSource } from "../tls/set.ts";
import {
  handlerModuleUrl,
  loadHandlerModule,
  moduleFault,
} from "../session/handler_module.ts";
import {
  authenticates,
  type CheckedOptions,
  checkPlace,
  withoutEffect,
} from "./checks.ts";
import { atItsPlace, placed, type PlacedSettings } from "./config_file.ts";
import {
  LIMIT_SETTINGS,
  type ServeSettings,
  serveSettings,
  SETTINGS,
} from "./settings.ts";
import type { RawSettings } from "./raw_settings.ts";
import { SecurityFiles, type SecurityOptions } from "./security.ts";
import { HANDLERS_RULE } from "../session/handlers.ts";
import { LogWriter } from "./log.ts";
import { oneLine, RunError, UsageError } from "./usage.ts";

/** How long sessions may go on after the first signal, in ms. */
const GRACE_MS = 10_000;

/** How long the last log lines may take to be read, in ms. */
const DRAIN_MS = 1000;

const encoder = new TextEncoder();

/** Where the command writes: standard output and standard error. */
export interface Output {
  /** Writes to standard output. */
  out(text: string): void;
  /** Writes to standard error. */
  err(text: string): void;
}

/** The output of this process. */
export const processOutput: Output = {
  out: (text) => writeAll(Deno.stdout, text),
  err: (text) => writeAll(Deno.stderr, text),
};

/**
 * Writes all of a text. A reader that is gone, as `head` when it has seen
 * enough, is no reason to stop serving.
 */
function writeAll(
  to: { writeSync(bytes: Uint8Array): number },
  text: string,
): void {
  let bytes = encoder.encode(text);
  try {
    while (bytes.length > 0) bytes = bytes.subarray(to.writeSync(bytes));
  } catch (error) {
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  }
}

/** What `serve` is told beside its settings. */
export interface ServeRequest {
  /** Reads the settings: once at the start, and on SIGHUP. */
  read(): Promise<PlacedSettings>;
  /** Whether to check the settings and end. */
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

/** What is to be served, read and checked; nothing is open yet. */
interface Plan extends PlacedSettings {
  readonly settings: ServeSettings;
  readonly files: SecurityFiles;
  readonly security: SecurityOptions;
}

async function planOf(placed: PlacedSettings): Promise<Plan> {
  const { raw, places } = placed;
  try {
    const settings = serveSettings(raw);
    const hostname = settings.options.hostname ?? ownName();
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
  const stopped = stopOnSignal(server);
  const started = Promise.withResolvers<void>();
  // SIGHUP would end a process that does not listen for it yet.
  const unwatch = reloadOnChange(server, {
    ...{ plan, request, log },
    started: started.promise,
  });
  try {
    await server.start();
  } catch (error) {
    stopped.cancel();
    unwatch();
    log.flush();
    errors.write(`error: ${oneLine(withCause(error as Error))}\n`);
    await errors.drain(DRAIN_MS);
    return 1;
  }
  const withdraw = keepGoing(log);
  tellFirst(server, { settings, output, log });
  started.resolve();
  const code = await stopped.done.then(() => 0, (error) => {
    log.flush();
    errors.write(`error: ${oneLine(withCause(error as Error))}\n`);
    return 1;
  }).finally(withdraw);
  unwatch();
  log.flush();
  await errors.drain(DRAIN_MS);
  return code;
}

/** Checks that store and spool can be written to. */
async function checkPlaces(
  raw: RawSettings,
  { keepsIn, options }: ServeSettings,
): Promise<void> {
  if (keepsIn !== undefined) {
    const store = raw.get("store")?.[0] ?? `maildir:${keepsIn.path}`;
    await checkPlace(`--store ${store}`, keepsIn);
  }
  const spool = options.relay?.spool;
  if (typeof spool === "string") {
    await checkPlace(`--spool ${spool}`, { path: spool, isFile: false });
  }
}

/** What is wrong with a listener or the threads, before anything is open. */
function checkListeners(
  options: CheckedOptions & Pick<SmtpServerOptions, "threads">,
  exported: unknown,
): void {
  const { listen, threads = 0, authentication } = options;
  const mayLogIn = authenticates(exported) || options.accounts !== undefined;
  const handlers = mayLogIn ? { onAuthenticate: () => false } : {};
  for (const it of listen) {
    if (it.security === "implicit" && options.certificate === undefined) {
      throw new RunError(
        `${optionOf(it)}: no certificate is set, want --cert or --self-signed`,
      );
    }
    try {
      policyOf(it, { ...options, handlers });
    } catch (error) {
      const { requiresLogin } = KINDS[it.kind ?? "smtp"];
      const option = !requiresLogin && authentication === "required"
        ? "--auth required"
        : optionOf(it);
      throw new RunError(
        mayLogIn
          ? `${option}: ${(error as Error).message}`
          : `${option}: no client can log in, want --user or --users, or --handlers with onAuthenticate`,
      );
    }
  }
  if (threads === 0) return;
  try {
    checkThreads(threads);
  } catch (error) {
    throw new RunError(`--threads: ${(error as Error).message}`);
  }
}

/** The option that names a listener. */
function optionOf(
  { host = "", port = 25, kind = "smtp", security = "none" }: ListenOptions,
): string {
  const at = host === "" ? `:${port}` : formatHostPort({ address: host, port });
  return `--listen ${at}/${kindName({ kind, security })}`;
}

/** Makes the handlers as the start does, to find what is wrong with them. */
async function tryHandlers(
  { url }: { readonly url: string },
  { handlers }: ServeSettings,
): Promise<void> {
  const add = () =>
    Promise.reject(new Error("Cannot relay: the settings are only checked"));
  try {
    await loadHandlerModule(url, { relays: { add }, thread: 0 });
  } catch (error) {
    throw new UsageError(
      `--handlers ${handlers}: ${(error as Error).message}`,
      { cause: error },
    );
  }
}

/** What went wrong, and why: a spool that cannot be opened has a reason. */
function withCause({ message, cause }: Error): string {
  return cause instanceof Error && !message.includes(cause.message)
    ? `${message}: ${cause.message}`
    : message;
}

/**
 * Logs what is thrown outside of every promise, as by a timer of a handler, and
 * goes on: it would end the process, and with it the sessions of all others.
 * For the command line only; a program decides that for itself.
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

/** The settings that take effect without a restart. */
const RELOADED: ReadonlySet<string> = new Set([
  ...["domain", "user", "users", "auth", "allow-insecure-auth"],
  ...["cert", "key", "self-signed", "early-talkers", "proxy-protocol"],
  "xclient",
  ...Object.keys(LIMIT_SETTINGS),
]);

/**
 * Rereads certificates and accounts when their files change; on SIGHUP all
 * settings.
 */
function reloadOnChange(
  server: SmtpServer,
  { plan, request, log, started }: {
    readonly plan: Plan;
    readonly request: ServeRequest;
    readonly log: LogWriter;
    /** Resolves when the server serves: nothing is reread before. */
    readonly started: Promise<void>;
  },
): () => void {
  let current = plan;
  let turn = started;
  const say = (level: "info" | "warn" | "error", message: string) =>
    log.log({
      level,
      event: level === "error" ? "error" : "listening",
      message,
    });
  const attempt = (act: () => Promise<void>) => {
    turn = turn.then(act).catch((error: Error) =>
      // What was read before stays in force.
      say("error", `Cannot reread: ${oneLine(error.message)}`)
    );
  };
  const rereadFiles = () =>
    attempt(async () => {
      const { certificate, accounts } = await current.files.load();
      await server.reload({
        ...(certificate && { certificate }),
        ...(accounts && { accounts }),
      });
      say("info", "Reread certificates and accounts");
    });
  let unwatch = current.files.watch(rereadFiles);
  const rereadAll = () =>
    attempt(async () => {
      const next = await planOf(await request.read());
      const { domains, earlyTalkers, limits, proxyProtocol, xclient } =
        next.settings.options;
      const { certificate, accounts, authentication, allowInsecureAuth } =
        next.security;
      await server.reload({
        ...{ domains, limits, accounts, authentication, allowInsecureAuth },
        ...{ earlyTalkers, proxyProtocol, xclient },
        ...(certificate && { certificate }),
      });
      unwatch();
      unwatch = next.files.watch(rereadFiles);
      say("info", "Reread certificates and accounts, domains and limits");
      const waiting = changed(plan.raw, next.raw);
      if (certificate === undefined && plan.security.certificate) {
        waiting.push(plan.raw.has("cert") ? "cert" : "self-signed");
      }
      if (waiting.length > 0) {
        say(
          "warn",
          `Not in force before a restart: ${
            waiting.map((name) => `--${name}`).join(", ")
          }`,
        );
      }
      current = next;
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

/** The settings that differ from those of the start, and want a restart. */
function changed(before: RawSettings, after: RawSettings): string[] {
  const names = new Set([...before.keys(), ...after.keys()]);
  const text = (raw: RawSettings, name: string) =>
    JSON.stringify(raw.get(name) ?? []);
  return [...names].filter((name) =>
    Object.hasOwn(SETTINGS, name) && !RELOADED.has(name) &&
    text(before, name) !== text(after, name)
  );
}

/** Makes the server; what it cannot use is wrong usage. */
function makeServer(options: SmtpServerOptions): SmtpServer {
  try {
    return new SmtpServer(options);
  } catch (error) {
    throw new UsageError((error as Error).message, { cause: error });
  }
}

/** The lines that scripts wait for, then what a person wants to know. */
function tellFirst(
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
          kind: kindName(address),
        },
      });
    }
  }
  if (settings.quiet) return;
  const [first] = server.addresses;
  const to = `you@${settings.options.domains?.[0] ?? "example.com"}`;
  output.out(`${settings.keeps}
send a test mail:
  printf 'Subject: hello\\n\\nIt works.\\n' | curl --crlf --url smtp://${
    formatHostPort(reachable(first!))
  } --mail-from me@example.com --mail-rcpt ${to} --upload-file -
stop with Ctrl-C
`);
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
    server.stop({ graceMs: GRACE_MS }).then(resolve, reject).finally(cancel);
  };
  for (const signal of signals) Deno.addSignalListener(signal, stop);
  return { done: promise, cancel };
}

/** How long the top level of a handler module may take, in ms. */
const LOAD_MS = 30_000;

/** Loads a module; one that waits for ever at its top level would end the process without a word. */
async function loadedInTime(
  url: string,
): Promise<{ readonly default?: unknown }> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => reject(new Error(`It still waits after ${LOAD_MS / 1000} s`)),
    LOAD_MS,
  );
  try {
    return await Promise.race([import(url), promise]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * The module that `--handlers` names, loaded to find what is wrong with it; the
 * server, and each of its threads, loads it again.
 */
async function handlersOf(
  module: string | undefined,
): Promise<{ readonly url: string; readonly exported: unknown } | undefined> {
  if (module === undefined) return undefined;
  const url = handlerModuleUrl(module);
  let loaded: { readonly default?: unknown };
  try {
    loaded = await loadedInTime(url);
  } catch (error) {
    throw new UsageError(
      `--handlers ${module}: cannot load it: ${moduleFault(error)}`,
    );
  }
  const { default: exported } = loaded;
  if (typeof exported === "function") return { url, exported };
  if (typeof exported !== "object" || exported === null) {
    throw new UsageError(
      `--handlers ${module}: want a default export with handlers, as { onRcptTo() {} }`,
    );
  }
  try {
    HANDLERS_RULE.check(exported, { path: "", of: module, secret: false });
  } catch (error) {
    throw new UsageError(`--handlers: ${(error as Error).message}`);
  }
  return { url, exported };
}
