/**
 * As many threads as there are processors, all on one port: each accepts and
 * serves connections of its own, with handlers that it has loaded itself. The
 * store, the queue and the log are the main thread's.
 *
 * ```sh
 * deno run -A examples/threads.ts
 * ```
 *
 * A port other than 2525 may follow, and a number of threads.
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
