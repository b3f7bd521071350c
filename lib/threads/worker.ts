/**
 * What a worker runs: joins the port of its thread to a server. An entry point,
 * like the command line; nobody imports it.
 */

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
