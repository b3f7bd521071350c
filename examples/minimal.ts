/**
 * The smallest server: it keeps a Maildir for every recipient below ./mail.
 *
 * ```sh
 * deno run -A examples/minimal.ts
 * ```
 *
 * The argument may be a port other than 2525.
 */

import { MaildirStore, SmtpServer } from "@smtp/server";

const [port = "2525"] = Deno.args;
const server = new SmtpServer({
  listen: `127.0.0.1:${port}`,
  store: new MaildirStore({ folder: "./mail" }),
});
await server.start();
console.log(`listening on port ${server.addresses[0]!.port}`);
