/**
 * The module that a worker runs: joins the port of its thread to a server. An
 * entry point, like the command line: no file imports it.
 */

import type { SharedMemory } from "../threads/shared_memory.ts";
import { records } from "./log.ts";
import { WorkerServer } from "./worker_server.ts";

/** What a worker finds around it. */
interface WorkerScope {
  onmessage: ((event: MessageEvent<unknown>) => void) | null;
  postMessage(message: unknown, transfer: Transferable[]): void;
  close(): void;
}

const scope = globalThis as unknown as WorkerScope;
let server: WorkerServer | undefined;
// The first message brings the memory that is shared from then on.
scope.onmessage = ({ data }) => {
  const { port } = server = new WorkerServer(scope, data as SharedMemory);
  scope.onmessage = ({ data }) => port.posted(data);
};

/** Where the server's own modules are. */
const OWN = new URL("..", import.meta.url).href;
/** The place of a module in a stack. */
const MODULE = /\b(?:file|https?|data|blob|jsr|npm):[^\s()]*/g;

/**
 * Whether only the server's own modules were running when it was thrown. Then
 * nothing is known of the state of this thread; else it is about a connection
 * of the platform's, or the handlers' own.
 */
function isOwnFault(error: unknown): boolean {
  if (!(error instanceof Error) || error.stack === undefined) return false;
  const modules = error.stack.slice(error.message.length).match(MODULE) ?? [];
  return modules.length > 0 &&
    modules.every((module) => module.startsWith(OWN));
}

/** Logs what is thrown outside of every promise, by handlers and the platform; a fault of our own ends the thread. */
function keepGoing(event: Event, error: unknown): void {
  if (server === undefined || isOwnFault(error)) return;
  event.preventDefault();
  server.channel.notify("log", records.uncaught(error));
}

globalThis.addEventListener("error", (event) => keepGoing(event, event.error));
globalThis.addEventListener(
  "unhandledrejection",
  (event) => keepGoing(event, event.reason),
);

/** The main thread does not see by itself that a worker ends without an error. */
function announce(what: string): void {
  server?.channel.notify("ending", what);
  server?.channel.flush();
}

const close = scope.close.bind(scope);
scope.close = () => {
  announce("close() was called");
  close();
};
const exit = Deno.exit;
Deno.exit = (code) => {
  announce("Deno.exit() was called");
  return exit(code);
};
