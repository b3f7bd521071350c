/**
 * As many threads as there are processors, all on one port. Each thread accepts
 * and serves its own connections, with handlers that it has loaded itself. The
 * queue and the log stay on the main thread.
 *
 * ```sh
 * deno run -A examples/threads.ts
 * ```
 *
 * The arguments may be a port other than 2525, and a number of threads.
 */

import { MaildirStore, SmtpServer } from "@smtp/server";

const [port = "2525", threads = `${navigator.hardwareConcurrency}`] = Deno.args;
const server = new SmtpServer({
  listen: `127.0.0.1:${port}`,
  threads: Number(threads),
  handlers: new URL("./threads_handlers.ts", import.meta.url),
  store: new MaildirStore({ folder: "./mail" }),
});
await server.start();
console.log(`listening on port ${server.addresses[0]!.port}`);
