/**
 * Two tenants on one server, each with mailboxes, a limit of size, users and a
 * provider of its own. Users may send from their own addresses only; their mail
 * goes out by the provider of their tenant.
 *
 * ```sh
 * deno run -A examples/tenants.ts 2525 smtp.one.example:25 smtp.two.example:25
 * ```
 *
 * Without providers, mail goes to the mail exchangers of its recipients.
 */

import { AccountList, MaildirStore, SmtpServer } from "@smtp/server";
import { Certificate } from "@smtp/server/tls";

const [port = "2525", ...providers] = Deno.args;
const [one, two] = providers.map((provider) => ({ smarthosts: [provider] }));
const tenants = {
  "one.example": {
    store: new MaildirStore({ folder: "./mail/one" }),
    relay: one,
  },
  "two.example": {
    store: new MaildirStore({ folder: "./mail/two" }),
    maxSize: 100_000,
    relay: two,
  },
};
const accounts = new AccountList({
  "ann@one.example": { secret: "a secret of Ann", addresses: ["@one.example"] },
  "bob@two.example": "a secret of Bob",
});

const server = new SmtpServer({
  listen: `127.0.0.1:${port}/submission`,
  // For a name of your own: Certificate.load({ certificateFile, keyFile }).
  certificate: await Certificate.selfSigned({ names: ["localhost"] }),
  domains: tenants,
  accounts,
  senderPolicy: "own",
  relay: { allow: "authenticated", spool: "./spool" },
});
await server.start();
console.log(`listening on port ${server.addresses[0]!.port}`);
