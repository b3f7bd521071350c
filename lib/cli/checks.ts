/**
 * The checks of `serve` before it serves, and of `serve --check`: the handlers,
 * the listeners, whether store and spool can be written to, and which settings
 * have no effect. Leaves no file behind.
 */

import {
  checkThreads,
  formatHostPort,
  handlerModuleUrl,
  HANDLERS_RULE,
  kindName,
  KINDS,
  loadHandlerModule,
  moduleFault,
  policyOf,
  userLimitRows,
} from "../server/mod.ts";
import type {
  ListenOptions,
  SmtpHandlers,
  SmtpServerOptions,
} from "../../mod.ts";
import { dirname, join, resolve } from "node:path";
import { flag, one, type RawSettings } from "./arguments.ts";
import { RELAYING, TRUST } from "./serve_options.ts";
import type { ServeSettings, StorePlace } from "./settings.ts";
import { reasonOf, RunError, UsageError } from "./output.ts";

/** The server options that the checks read, with parsed listeners. */
export type CheckedOptions =
  & Pick<
    SmtpServerOptions,
    | "accounts"
    | "allowInsecureAuth"
    | "authentication"
    | "certificate"
    | "security"
  >
  & { readonly listen: readonly ListenOptions[] };

/** Facts made from the settings that the checks read. */
export interface ServeFacts {
  /** The server's options. */
  readonly options: CheckedOptions;
  /** The default export of the module of `--handlers`; `undefined` without it. */
  readonly handlers: unknown;
}

/** Longest time for the top level of a handler module, in ms. */
const LOAD_MS = 30_000;

/**
 * Loads a module. Without the time limit, one that waits forever at its top level
 * would end the process silently.
 */
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
 * Loads the module of `--handlers` to find its faults. The server, and each of
 * its threads, loads it again.
 */
export async function handlersOf(
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

/** Makes the handlers as the start does, to find their faults. */
export async function tryHandlers(
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

/** Finds faults of listeners and threads before any port is open. */
export function checkListeners(
  options: CheckedOptions & Pick<SmtpServerOptions, "threads">,
  exported: unknown,
): void {
  const { listen, threads = 0, authentication } = options;
  const mayLogIn = authenticates(exported) || options.accounts !== undefined;
  const handlers = mayLogIn ? { onAuthenticate: () => false } : {};
  for (const listener of listen) {
    if (listener.security === "implicit" && options.certificate === undefined) {
      throw new RunError(
        `${
          optionOf(listener)
        }: no certificate is set, want --cert or --self-signed`,
      );
    }
    try {
      policyOf(listener, { ...options, handlers });
    } catch (error) {
      const { requiresLogin } = KINDS[listener.kind ?? "smtp"];
      const option = !requiresLogin && authentication === "required"
        ? "--auth required"
        : optionOf(listener);
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

/** The option of a listener as text, for the error. */
function optionOf(
  { host = "", port = 25, path, kind = "smtp", security = "none" }:
    ListenOptions,
): string {
  const at = host === "" && path === undefined
    ? `:${port}`
    : formatHostPort({ address: host, port, path });
  return `--listen ${at}/${kindName({ kind, security })}`;
}

/** Checks that store and spool can be written to. */
export async function checkPlaces(
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
  for (const { path } of options.listen) {
    if (path !== undefined) await checkSocketPlace(path);
  }
}

/** Checks that a unix socket can be made: in a folder that exists. */
async function checkSocketPlace(path: string): Promise<void> {
  const what = `--listen unix:${path}`;
  const folder = dirname(resolve(path));
  try {
    const { isDirectory } = await Deno.stat(folder);
    if (!isDirectory) {
      throw new TypeError(`The path "${folder}" is not a folder`);
    }
  } catch (error) {
    throw new RunError(`${what}: cannot use its folder: ${reasonOf(error)}`);
  }
  await checkPlace(what, { path: folder, isFile: false });
}

/**
 * Writes to the folder or file of a store or spool, and undoes it. Makes missing
 * folders and removes them again. A full disk is no error: the server then defers
 * mail, and the queue can still send.
 *
 * @param what The option, for the error: `--store maildir:./mail`
 * @throws {RunError} If the place cannot be written to
 */
export async function checkPlace(
  what: string,
  place: StorePlace,
): Promise<void> {
  const path = resolve(place.path);
  try {
    if (place.isFile) await checkFile(path);
    await checkFolder(place.isFile ? dirname(path) : path).catch((error) => {
      // Another program that checks the same folder may have removed it.
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      return checkFolder(place.isFile ? dirname(path) : path);
    });
  } catch (error) {
    if (isFull(error)) return;
    throw new RunError(`${what}: cannot write to it: ${reasonOf(error)}`);
  }
}

async function checkFile(path: string): Promise<void> {
  try {
    (await Deno.open(path, { append: true })).close();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

async function checkFolder(path: string): Promise<void> {
  const made: string[] = [];
  try {
    await makeMissing(path, made);
    const probe = join(path, `.check-${crypto.randomUUID()}`);
    (await Deno.open(probe, { createNew: true, write: true, mode: 0o600 }))
      .close();
    await Deno.remove(probe);
  } finally {
    // A folder that another program has filled meanwhile stays.
    for (const folder of made.reverse()) {
      await Deno.remove(folder).catch(() => {});
    }
  }
}

/**
 * Makes the folder and those above it where they are missing, and adds them to
 * `made`. Reads no folder above one that exists: it may be forbidden.
 */
async function makeMissing(path: string, made: string[]): Promise<void> {
  const make = async () => {
    await Deno.mkdir(path, { mode: 0o700 });
    made.push(path);
  };
  try {
    await make();
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) {
      if ((await Deno.stat(path)).isDirectory) return;
      throw new TypeError(`The path "${path}" is not a folder`);
    }
    const parent = dirname(path);
    if (!(error instanceof Deno.errors.NotFound) || parent === path) {
      throw error;
    }
    await makeMissing(parent, made);
    await make().catch((error) => {
      if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    });
  }
}

/** Whether a disk or a quota is full. */
function isFull(error: unknown): boolean {
  const { code } = error as { readonly code?: unknown };
  return code === "ENOSPC" || code === "EDQUOT";
}

/** Settings that say how mail is relayed, not that it is relayed. */
const HOW_TO_RELAY: readonly string[] = Object.keys(RELAYING)
  .filter((name) => !["relay", "relay-from", "spool", "dns"].includes(name));

/** Settings that say how mail is checked, not that it is checked. */
const ABOUT_VERIFY: readonly string[] = Object.keys(TRUST)
  .filter((name) => name !== "verify");

/** A sentence for each setting that has no effect, or not the wanted one. */
export function withoutEffect(
  raw: RawSettings,
  { options, handlers }: ServeFacts,
): string[] {
  const found: string[] = [];
  const mayAsk = authenticates(handlers);
  const hasAccounts = options.accounts !== undefined;
  const account = raw.has("user") ? "--user" : "--users";
  const mayRelay = flag(raw, "relay") || raw.has("relay-from") ||
    raw.has("aliases") ||
    handlers !== undefined;
  if (!mayRelay) {
    for (const name of HOW_TO_RELAY.filter((option) => raw.has(option))) {
      found.push(
        `--${name}: nothing is taken for other domains without --relay or --relay-from`,
      );
    }
  }
  const loginIsOff = options.authentication === "none" &&
    !options.listen.some(({ kind = "smtp" }) => KINDS[kind].requiresLogin);
  const noLogin = !hasAccounts && !mayAsk
    ? "without --user or --users"
    : loginIsOff
    ? "with --auth none"
    : undefined;
  if (flag(raw, "relay") && !raw.has("relay-from") && noLogin !== undefined) {
    found.push(
      `--relay: no client can log in ${noLogin}, and --relay-from is not given: nothing is relayed`,
    );
  }
  if (noLogin !== undefined) {
    for (const name of forUsers(raw)) {
      found.push(`--${name}: no client can log in ${noLogin}`);
    }
  }
  if (hasAccounts && loginIsOff) {
    found.push(`${account}: no client can log in with --auth none`);
  } else if (hasAccounts && !hasTls(options) && !options.allowInsecureAuth) {
    found.push(
      `${account}: no client can log in without TLS: want --cert or --self-signed, or --allow-insecure-auth`,
    );
  }
  if ((one(raw, "verify") ?? "none") === "none") {
    for (const name of ABOUT_VERIFY.filter((option) => raw.has(option))) {
      found.push(`--${name}: no mail is checked without --verify`);
    }
  }
  if (options.certificate !== undefined && !hasTls(options)) {
    const name = raw.has("cert") ? "--cert" : "--self-signed";
    found.push(`${name}: TLS is not offered with --security none`);
  }
  return found;
}

/** The names of settings that concern clients that have logged in only. */
function forUsers(raw: RawSettings): string[] {
  const limits = userLimitRows().map(([, row]) => row.flag);
  return [
    ...flag(raw, "allow-insecure-auth") ? ["allow-insecure-auth"] : [],
    ...one(raw, "sender-policy") === "own" ? ["sender-policy"] : [],
    ...limits.filter((name) => raw.has(name)),
  ];
}

/** Whether the export of a handler module checks logins; a function may do so. */
function authenticates(exported: unknown): boolean {
  return typeof exported === "function" ||
    (exported as SmtpHandlers | undefined)?.onAuthenticate !== undefined;
}

/** Whether a listener offers TLS. */
function hasTls({ certificate, security, listen }: CheckedOptions): boolean {
  if (certificate === undefined) return false;
  return security !== "none" ||
    listen.some((listener) => listener.security === "implicit");
}
