/**
 * Forwards the mail of a domain to addresses elsewhere, from a queue that survives
 * restarts. No mail is kept here, and nothing else is relayed.
 *
 * ```sh
 * deno run -A examples/forwarder.ts
 * ```
 *
 * The arguments may be a port other than 2525, and host and port of a smarthost.
 */

import { SmtpServer } from "@smtp/server";

const [port = "2525", host, hostPort = "25"] = Deno.args;
const server = new SmtpServer({
  listen: `127.0.0.1:${port}`,
  domains: ["example.com"],
  localRecipients: [],
  aliases: { ann: ["ann@example.net", "ann@example.org"], postmaster: "ann" },
  // The sender stays (no SRS): it gets the DSNs, and a bounce stays a bounce. Where
  // its domain's SPF rejects other hosts, only its DKIM signature lets mail pass.
  relay: {
    spool: "./spool",
    ...(host && { smarthosts: [{ host, port: Number(hostPort) }] }),
  },
});
await server.start();
console.log(`listening on port ${server.addresses[0]!.port}`);
