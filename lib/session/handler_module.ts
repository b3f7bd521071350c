/**
 * Handlers in a module of their own: finds it by path or URL, loads it and gives
 * it a {@linkcode HandlerContext}. Each thread of a server loads the module.
 */

import { isAbsolute } from "node:path";
import { pathToFileURL } from "node:url";
import type { Message } from "../message/message.ts";
import type { OutgoingMail } from "../queue/outgoing.ts";
import type { RelayOptions } from "../queue/relay.ts";
import { isHandler, type SmtpHandlers } from "./handlers.ts";
import { HANDLERS_RULE } from "./handlers_rule.ts";

/**
 * What a handler module gets from its server, the same on every thread.
 *
 * @example Send everything on
 * ```ts
 * import type { HandlerContext, SmtpHandlers } from "@smtp/server";
 *
 * // In a module, write `export default` in place of `const handlers =`.
 * const handlers = ({ relays }: HandlerContext): SmtpHandlers => ({
 *   async onMessage(_session, message) {
 *     await relays.add(message);
 *   },
 * });
 * console.assert(handlers.length === 1);
 * ```
 */
export interface HandlerContext {
  /** Relays messages. */
  readonly relays: {
    /**
     * Hands a message, or one of the program's own, to the server's queue, with
     * the options of `server.relays.add`. Resolves with the message's id in the queue when it is
     * in the spool: the reply to the client may be 250.
     *
     * @throws {SmtpError} 452 4.3.1, if the queue cannot keep it
     */
    add(
      message: Message | OutgoingMail,
      options?: RelayOptions,
    ): Promise<string>;
  };
  /** The thread that has loaded the module: 0 is the main thread, which serves no client if there are others. */
  readonly thread: number;
}

/**
 * The default export of a handler module: the handlers, or a function that makes them.
 *
 * @example Handlers that know their thread
 * ```ts
 * import type { HandlerModule } from "@smtp/server";
 *
 * // In a module, write `export default` in place of `const handlers =`.
 * const handlers = (({ thread }) => ({
 *   onConnect: ({ id }) => console.log(`${id} is served by thread ${thread}`),
 * })) satisfies HandlerModule;
 * console.assert(handlers.length === 1);
 * ```
 */
export type HandlerModule =
  | SmtpHandlers
  | ((context: HandlerContext) => SmtpHandlers | Promise<SmtpHandlers>);

/** The URL of a handler module; a path is relative to the working directory. */
export function handlerModuleUrl(module: string | URL): string {
  const text = String(module);
  // A scheme has two letters or more: `C:` is a drive.
  if (!isAbsolute(text) && /^[a-z][a-z0-9+.-]+:/i.test(text)) return text;
  return pathToFileURL(text).href;
}

/**
 * Loads a handler module and makes its handlers.
 *
 * @throws {TypeError} If its default export neither is nor makes handlers, or
 * one of them has a name that no handler has
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

/** The result of the module's function; an error says that it failed and why. */
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

/** Whether a function is a class: it cannot be called without `new`. */
function isClass(given: object): boolean {
  return /^class\b/.test(Function.prototype.toString.call(given));
}

/** A position in a file, as the platform writes it into messages and stacks. */
const PLACE = /(?:[a-z][a-z0-9+.-]+:\/\/)[^\s()]*:\d+:\d+/i;

/**
 * Why a module could not be loaded, in one line. It names file, line and column
 * if the platform knows them: for a syntax error in the module or in one that it
 * imports, and for an error that was thrown.
 */
export function moduleFault(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // deno-lint-ignore no-control-regex
  const plain = (text: string) => text.replace(/\x1b\[[\d;]*m/g, "");
  const { name } = error;
  const [reason = ""] = plain(error.message).split("\n");
  const text = /^\w*Error: /.test(reason) ? reason : `${name}: ${reason}`;
  const place = PLACE.exec(plain(error.message).slice(reason.length)) ??
    PLACE.exec(stackOf(error));
  return place === null ? text : `${text} (${pathOf(place[0])})`;
}

/** The URLs of this library's own modules. */
const OWN: readonly string[] = ["../", "../../cli.ts"].map((path) =>
  new URL(path, import.meta.url).href
);

/** The stack of an error without this library's own calls. */
function stackOf({ stack = "" }: Error): string {
  return stack.split("\n").slice(1)
    .filter((line) => !OWN.some((url) => line.includes(url))).join("\n");
}

function pathOf(place: string): string {
  return place.startsWith("file://")
    ? decodeURIComponent(place.slice("file://".length))
    : place;
}
