/**
 * What `serve` looks at before it serves, and `serve --check` without serving:
 * the handlers, the listeners, whether mail can be kept where it is to be kept,
 * and which settings have no effect. Leaves nothing behind.
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
} from "../server/mod.ts";
import type {
  ListenOptions,
  SmtpHandlers,
  SmtpServerOptions,
} from "../../mod.ts";
import { dirname, join, resolve } from "node:path";
import { flag, type RawSettings } from "./arguments.ts";
import { RELAYING } from "./options.ts";
import type { ServeSettings, StorePlace } from "./settings.ts";
import { reasonOf, RunError, UsageError } from "./output.ts";

/** The options that are looked at, the listeners parsed. */
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

/** What the settings have become, as far as others depend on it. */
export interface ServeFacts {
  /** The server's options. */
  readonly options: CheckedOptions;
  /** What `--handlers` exports; `undefined` without it. */
  readonly handlers: unknown;
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

/** Makes the handlers as the start does, to find what is wrong with them. */
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

/** What is wrong with a listener or the threads, before anything is open. */
export function checkListeners(
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
}

/**
 * Writes to the folder or file of a store or spool, and takes that back.
 * Folders that are missing are made and removed again. A full disk is no
 * reason to refuse: mail is then deferred, and the queue may still go out.
 *
 * @param what What is checked, for the error: `--store maildir:./mail`
 * @throws {RunError} If it cannot be written to
 */
export async function checkPlace(
  what: string,
  place: StorePlace,
): Promise<void> {
  const path = resolve(place.path);
  try {
    if (place.isFile) await checkFile(path);
    await checkFolder(place.isFile ? dirname(path) : path).catch((error) => {
      // Another program that checks the same folder has removed it.
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
    // One that another program has filled meanwhile stays.
    for (const folder of made.reverse()) {
      await Deno.remove(folder).catch(() => {});
    }
  }
}

/**
 * Makes the folder and those above it where they are missing; tells which.
 * Looks at no folder above one that is there: it may be out of bounds.
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

/** Settings of relaying that tell how mail goes, not that it does. */
const HOW_TO_RELAY: readonly string[] = Object.keys(RELAYING)
  .filter((name) => !["relay", "relay-from", "spool", "dns"].includes(name));

/** The settings that have no effect, or not the one that was wanted: a sentence each. */
export function withoutEffect(
  raw: RawSettings,
  { options, handlers }: ServeFacts,
): string[] {
  const found: string[] = [];
  const mayAsk = authenticates(handlers);
  const hasAccounts = options.accounts !== undefined;
  const account = raw.has("user") ? "--user" : "--users";
  const mayRelay = flag(raw, "relay") || raw.has("relay-from") ||
    handlers !== undefined;
  if (!mayRelay) {
    for (const name of HOW_TO_RELAY.filter((it) => raw.has(it))) {
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
  if (flag(raw, "allow-insecure-auth") && noLogin !== undefined) {
    found.push(`--allow-insecure-auth: no client can log in ${noLogin}`);
  }
  if (hasAccounts && loginIsOff) {
    found.push(`${account}: no client can log in with --auth none`);
  } else if (hasAccounts && !hasTls(options) && !options.allowInsecureAuth) {
    found.push(
      `${account}: no client can log in without TLS: want --cert or --self-signed, or --allow-insecure-auth`,
    );
  }
  if (options.certificate !== undefined && !hasTls(options)) {
    const name = raw.has("cert") ? "--cert" : "--self-signed";
    found.push(`${name}: TLS is not offered with --security none`);
  }
  return found;
}

/** Whether the export of a handler module judges log-ins, or may turn out to. */
export function authenticates(exported: unknown): boolean {
  return typeof exported === "function" ||
    (exported as SmtpHandlers | undefined)?.onAuthenticate !== undefined;
}

/** Whether a listener offers TLS. */
function hasTls({ certificate, security, listen }: CheckedOptions): boolean {
  if (certificate === undefined) return false;
  return security !== "none" ||
    listen.some((it) => it.security === "implicit");
}
