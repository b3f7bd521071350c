/**
 * The module that a worker runs: connects the worker's message port to a server.
 * An entry point, like the command line: no file imports it.
 */

import type { SharedMemory } from "../threads/shared_memory.ts";
import { records } from "./log.ts";
import { WorkerServer } from "./worker_server.ts";

/** The part of the worker's global scope that is used here. */
interface WorkerScope {
  onmessage: ((event: MessageEvent<unknown>) => void) | null;
  postMessage(message: unknown, transfer: Transferable[]): void;
  close(): void;
}

const scope = globalThis as unknown as WorkerScope;
let server: WorkerServer | undefined;
// The first message brings the shared memory.
scope.onmessage = ({ data }) => {
  const { port } = server = new WorkerServer(scope, data as SharedMemory);
  scope.onmessage = ({ data }) => port.posted(data);
};

/** The URL of the server's own modules. */
const OWN = new URL("..", import.meta.url).href;
/** A module's URL in a stack trace. */
const MODULE = /\b(?:file|https?|data|blob|jsr|npm):[^\s()]*/g;

/**
 * Whether only the server's own modules were running when it was thrown. Then
 * the state of this thread is unknown. Otherwise the error concerns a connection
 * of the platform's, or the program's handlers.
 */
function isOwnFault(error: unknown): boolean {
  if (!(error instanceof Error) || error.stack === undefined) return false;
  const modules = error.stack.slice(error.message.length).match(MODULE) ?? [];
  return modules.length > 0 &&
    modules.every((module) => module.startsWith(OWN));
}

/** Logs an exception outside of every promise, from handlers or the platform; an own fault ends the thread. */
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

/** Reports the end of the worker: without an error the main thread does not notice it. */
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
