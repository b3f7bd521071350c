/**
 * Forwards the mail of a domain to addresses elsewhere, from a queue that survives
 * restarts. The sender becomes one of the domain's own, so that SPF passes, and
 * bounces to it find their way back (SRS); a seal says what this server has found
 * (ARC). No mail is kept here, and nothing else is relayed.
 *
 * ```sh
 * SRS_SECRET=$(openssl rand -hex 16) deno run -A examples/forwarder.ts 2525 arc.pem
 * ```
 *
 * `cli.ts dkim create` makes the key of the seals, and the record that the DNS needs;
 * without it no seal is made. Two more arguments are host and port of a smarthost.
 */

import { SmtpServer } from "@smtp/server";

const [port = "2525", keyFile, host, hostPort = "25"] = Deno.args;
const domain = "example.com";
const key = keyFile && await Deno.readTextFile(keyFile);
const server = new SmtpServer({
  listen: `127.0.0.1:${port}`,
  domains: [domain],
  localRecipients: [],
  aliases: { ann: ["ann@example.net", "ann@example.org"], postmaster: "ann" },
  verify: true,
  relay: {
    spool: "./spool",
    ...(host && { smarthosts: [{ host, port: Number(hostPort) }] }),
    forwarding: {
      // A new secret at each start would forget where bounces go.
      srs: { domain, secrets: [Deno.env.get("SRS_SECRET")!] },
      ...(key && { arc: { domain, selector: "s2026a", key } }),
    },
  },
});
await server.start();
console.log(`listening on port ${server.addresses[0]!.port}`);
