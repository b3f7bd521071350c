/**
 * What a worker runs: joins the port of its thread to a server. An entry point,
 * like the command line; nobody imports it.
 */

import { describeError } from "../log.ts";
import type { SharedMemory } from "./shared_port.ts";
import { ThreadServer } from "./thread_server.ts";

/** What a worker finds around it. */
interface WorkerScope {
  onmessage: ((event: MessageEvent<unknown>) => void) | null;
  postMessage(message: unknown, transfer: Transferable[]): void;
  close(): void;
}

const scope = globalThis as unknown as WorkerScope;
let server: ThreadServer | undefined;
// The first message brings the memory that is shared from then on.
scope.onmessage = ({ data }) => {
  const { port } = server = new ThreadServer(scope, data as SharedMemory);
  scope.onmessage = ({ data }) => port.posted(data);
};

/**
 * Whether no module was running when it was thrown, neither a handler's nor the
 * server's: then it is about one of the platform's objects, as a connection.
 */
function isPlatformOnly(error: unknown): boolean {
  return error instanceof Error && error.stack !== undefined &&
    !/\b(?:file|https?|data|blob|jsr|npm):/.test(
      error.stack.slice(error.message.length),
    );
}

/** Logs what the platform throws outside of every promise; all else ends the thread. */
function keepGoing(event: Event, error: unknown): void {
  if (server === undefined || !isPlatformOnly(error)) return;
  event.preventDefault();
  server.channel.note("log", {
    level: "error",
    event: "error",
    message: "Going on after an exception of the platform",
    error: describeError(error),
  });
}

globalThis.addEventListener("error", (event) => keepGoing(event, event.error));
globalThis.addEventListener(
  "unhandledrejection",
  (event) => keepGoing(event, event.reason),
);

/** The main thread does not see by itself that a worker ends without an error. */
function announce(what: string): void {
  server?.channel.note("ending", what);
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
