/**
 * Relays the mail of a few machines to the server of a provider. The server takes
 * mail from this network only, keeps it in a spool until the provider accepts it,
 * and tries again for two days. It keeps mail for example.com here.
 *
 * ```sh
 * SMARTHOST_SECRET=... deno run -A examples/smarthost.ts 2525 smtp.example.net:587
 * ```
 *
 * Without the variable, the server does not log in.
 */

import { MaildirStore, SmtpServer } from "@smtp/server";

const [port = "2525", provider = "smtp.example.net:587"] = Deno.args;
const secret = Deno.env.get("SMARTHOST_SECRET");
const server = new SmtpServer({
  listen: `127.0.0.1:${port}`,
  domains: ["example.com"],
  store: new MaildirStore({ folder: "./mail" }),
  relay: {
    from: ["127.0.0.0/8", "192.168.0.0/16"],
    spool: "./spool",
    smarthosts: [provider],
    // A login requires TLS with a verified certificate.
    ...(secret && { login: { username: "example.com", password: secret } }),
    schedule: "1m 5m*3 30m 1h*6 4h",
    expireAfterMs: 2 * 24 * 60 * 60 * 1000,
  },
  handlers: {
    onRelayDone: (relay) => console.log(`${relay.id}: delivered`),
    onRelayError: (relay) => console.log(`${relay.id}: returned`),
  },
});
await server.start();
console.log(`listening on port ${server.addresses[0]!.port}`);
