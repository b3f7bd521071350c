/**
 * `cli.ts serve`: starts the server that the settings describe, says where it
 * listens, and stops it on a signal.
 */

import { describeError } from "../log.ts";
import { formatHostPort, kindName } from "../net/listen_options.ts";
import { SmtpServer } from "../server.ts";
import { ownName } from "../server/contexts.ts";
import type { SmtpServerOptions } from "../server/options.ts";
import { CertificateSource } from "../tls/certificate_set.ts";
import type { RawSettings } from "./raw_settings.ts";
import { SecurityFiles } from "./security.ts";
import { handlerModuleUrl } from "../session/handler_module.ts";
import { HANDLERS_RULE } from "../session/handlers.ts";
import { LogWriter } from "./log_writer.ts";
import { type ServeSettings, serveSettings } from "./settings.ts";
import { oneLine, UsageError } from "./usage.ts";

/** How long sessions may go on after the first signal, in ms. */
const GRACE_MS = 10_000;

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

/**
 * Serves until a signal. Resolves with the exit code.
 *
 * @throws {UsageError} If a setting cannot be used
 */
export async function serve(
  raw: RawSettings,
  output: Output,
): Promise<number> {
  const settings = serveSettings(raw);
  const handlers = await handlersOf(settings.handlers);
  const files = new SecurityFiles(
    raw,
    settings.options.hostname ?? ownName(),
  );
  const security = await files.load();
  const log = new LogWriter({
    form: settings.log,
    quiet: settings.quiet,
    colours: settings.log === "text" && !Deno.noColor &&
      Deno.stderr.isTerminal(),
    write: output.err,
  });
  const server = makeServer({
    ...settings.options,
    ...security,
    certificate: security.certificate &&
      new CertificateSource(security.certificate),
    handlers,
    log: (record) => log.log(record),
    logLevel: log.least,
  });
  const stopped = stopOnSignal(server);
  try {
    await server.start();
  } catch (error) {
    stopped.cancel();
    output.err(`error: ${oneLine(withCause(error as Error))}\n`);
    return 1;
  }
  const withdraw = keepGoing(log);
  tellFirst(server, { settings, output, log });
  const unwatch = reloadOnChange(server, { files, log });
  const code = await stopped.done.then(() => 0, (error) => {
    output.err(`error: ${oneLine(withCause(error as Error))}
`);
    return 1;
  }).finally(withdraw);
  unwatch();
  log.flush();
  return code;
}

/** What went wrong, and why: a spool that cannot be opened has a reason. */
function withCause({ message, cause }: Error): string {
  return cause instanceof Error ? `${message}: ${cause.message}` : message;
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

/** Rereads certificates and accounts when their files change, and on SIGHUP. */
function reloadOnChange(
  server: SmtpServer,
  { files, log }: { readonly files: SecurityFiles; readonly log: LogWriter },
): () => void {
  const reload = async () => {
    try {
      const { certificate, accounts } = await files.load();
      await server.reload({
        ...(certificate && { certificate }),
        ...(accounts && { accounts }),
      });
      log.log({
        level: "info",
        event: "listening",
        message: "Reread certificates and accounts",
      });
    } catch (error) {
      // What was read before stays in force.
      log.log({
        level: "error",
        event: "error",
        message: `Cannot reread: ${oneLine((error as Error).message)}`,
      });
    }
  };
  const unwatch = files.watch(() => void reload());
  if (Deno.build.os === "windows") return unwatch;
  const onSignal = () => void reload();
  Deno.addSignalListener("SIGHUP", onSignal);
  return () => {
    unwatch();
    Deno.removeSignalListener("SIGHUP", onSignal);
  };
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

/**
 * The URL of the module that `--handlers` names. It is loaded here to find what
 * is wrong with it; the server, and each of its threads, loads it again.
 */
async function handlersOf(
  module: string | undefined,
): Promise<string | undefined> {
  if (module === undefined) return undefined;
  const url = handlerModuleUrl(module);
  let loaded: { readonly default?: unknown };
  try {
    loaded = await import(url);
  } catch (error) {
    throw new UsageError(
      `--handlers ${module}: cannot load it: ${
        describeError(error).split("\n")[0]
      }`,
    );
  }
  const { default: given } = loaded;
  if (typeof given === "function") return url;
  if (typeof given !== "object" || given === null) {
    throw new UsageError(
      `--handlers ${module}: want a default export with handlers, as { onRcptTo() {} }`,
    );
  }
  try {
    HANDLERS_RULE.check(given, { path: "", of: module, secret: false });
  } catch (error) {
    throw new UsageError(`--handlers: ${(error as Error).message}`);
  }
  return url;
}
