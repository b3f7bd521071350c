/**
 * Handlers that are a module of their own: found by path or URL, loaded, and
 * told what the server has for them. Every thread of a server loads its own.
 */

import { isAbsolute } from "node:path";
import { pathToFileURL } from "node:url";
import type { Message } from "../message/message.ts";
import type { RelayOptions } from "../queue/relay.ts";
import { HANDLERS_RULE, isHandler, type SmtpHandlers } from "./handlers.ts";

/**
 * What a handler module gets of its server, the same on every thread.
 *
 * @example Send everything on
 * ```ts
 * import type { HandlerContext, SmtpHandlers } from "@smtp/server";
 *
 * // A module says `export default` in place of `const handlers =`.
 * const handlers = ({ relays }: HandlerContext): SmtpHandlers => ({
 *   async onMessage(_session, message) {
 *     await relays.add(message);
 *   },
 * });
 * console.assert(handlers.length === 1);
 * ```
 */
export interface HandlerContext {
  /** The messages to be relayed. */
  readonly relays: {
    /**
     * Hands a message to the server's queue, with its options as
     * `server.relays.add` takes them. Resolves with the name that it has there,
     * when it is safe: the client may be told 250.
     *
     * @throws {SmtpError} If it could not be kept: 452 4.3.1 to the client
     */
    add(message: Message, options?: RelayOptions): Promise<string>;
  };
  /** Which thread has loaded the module: 0 is the main one, which serves nobody where there are others. */
  readonly thread: number;
}

/** What a handler module exports as default: the handlers, or what makes them. */
export type HandlerModule =
  | SmtpHandlers
  | ((context: HandlerContext) => SmtpHandlers | Promise<SmtpHandlers>);

/** The URL of a handler module; a path is taken from the working directory. */
export function handlerModuleUrl(module: string | URL): string {
  const text = String(module);
  // A drive letter is no scheme.
  if (!isAbsolute(text) && /^[a-z][a-z0-9+.-]+:/i.test(text)) return text;
  return pathToFileURL(text).href;
}

/**
 * Loads a handler module and makes its handlers.
 *
 * @param url Where it is
 * @param context What it gets
 * @throws {TypeError} If it has no default export that is handlers or makes
 * them, or one of them has a name that no handler has
 */
export async function loadHandlerModule(
  url: string,
  context: HandlerContext,
): Promise<SmtpHandlers> {
  let loaded: { readonly default?: unknown };
  try {
    loaded = await import(url);
  } catch (error) {
    throw new TypeError(
      `Cannot load the handler module "${url}": ${moduleFault(error)}`,
      { cause: error },
    );
  }
  const { default: given } = loaded;
  const aside = Object.keys(loaded).find(isHandler);
  if (aside !== undefined) {
    throw new TypeError(
      `Cannot use the export "${aside}" of the handler module "${url}": want it in the default export, as { ${aside}() {} }`,
    );
  }
  const handlers = typeof given !== "function"
    ? given
    : isClass(given)
    ? undefined
    : await made(url, () => given(context));
  if (typeof handlers !== "object" || handlers === null) {
    throw new TypeError(
      `Cannot use the handler module "${url}": want a default export with handlers, as { onRcptTo() {} }, or a function that makes them`,
    );
  }
  const of = `the handler module "${url}"`;
  HANDLERS_RULE.check(handlers, { path: "", of, secret: false });
  return handlers;
}

/** What the function of a module makes, or why it makes nothing. */
async function made(
  url: string,
  make: () => unknown | Promise<unknown>,
): Promise<unknown> {
  try {
    return await make();
  } catch (error) {
    throw new TypeError(
      `Cannot make the handlers of the module "${url}": ${moduleFault(error)}`,
      { cause: error },
    );
  }
}

/** Whether a function is a class, which is not called but made an instance of. */
function isClass(given: object): boolean {
  return /^class\b/.test(Function.prototype.toString.call(given));
}

/** A place in a file, as the platform writes it into messages and stacks. */
const PLACE = /(?:[a-z][a-z0-9+.-]+:\/\/)[^\s()]*:\d+:\d+/i;

/**
 * Why a module could not be loaded, in one line, with file, line and column
 * where the platform knows them: of a syntax error, in the module or in one
 * that it imports, and of what threw.
 */
export function moduleFault(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // deno-lint-ignore no-control-regex
  const plain = (text: string) => text.replace(/\x1b\[[\d;]*m/g, "");
  const { name } = error;
  const [reason = ""] = plain(error.message).split("\n");
  const told = /^\w*Error: /.test(reason) ? reason : `${name}: ${reason}`;
  const place = PLACE.exec(plain(error.message).slice(reason.length)) ??
    PLACE.exec(stackOf(error));
  return place === null ? told : `${told} (${pathOf(place[0])})`;
}

/** Where this program's own modules are. */
const OWN: readonly string[] = ["../", "../../cli.ts"].map((path) =>
  new URL(path, import.meta.url).href
);

/** The calls of an error that are not this program's own. */
function stackOf({ stack = "" }: Error): string {
  return stack.split("\n").slice(1)
    .filter((line) => !OWN.some((url) => line.includes(url))).join("\n");
}

function pathOf(place: string): string {
  return place.startsWith("file://")
    ? decodeURIComponent(place.slice("file://".length))
    : place;
}
