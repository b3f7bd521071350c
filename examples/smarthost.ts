/**
 * The mail of a few machines goes out through the server of a provider: taken
 * from this network only, kept in a spool until the provider has it, tried
 * again for two days. Mail for example.com stays here.
 *
 * ```sh
 * SMARTHOST_SECRET=... deno run -A examples/smarthost.ts 2525 smtp.example.net 587
 * ```
 *
 * Without the variable, nobody logs in.
 */

import { MaildirStore, SmtpServer } from "@smtp/server";

const [port = "2525", host = "smtp.example.net", hostPort = "587"] = Deno.args;
const secret = Deno.env.get("SMARTHOST_SECRET");
const server = new SmtpServer({
  listen: `127.0.0.1:${port}`,
  domains: ["example.com"],
  store: new MaildirStore({ folder: "./mail" }),
  relay: {
    from: ["127.0.0.0/8", "192.168.0.0/16"],
    spool: "./spool",
    smarthosts: [{ host, port: Number(hostPort) }],
    // With a log-in, TLS and a certificate that is right are asked for.
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
