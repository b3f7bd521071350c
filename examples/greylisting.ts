/**
 * Greylisting and a blocklist. A client on the blocklist is refused. The first
 * message from a network, by a sender, to a recipient is refused for five minutes:
 * servers try again, most programs that send spam do not.
 *
 * ```sh
 * deno run -A examples/greylisting.ts
 * ```
 *
 * The arguments may be a port other than 2525, a delay in seconds, and a name
 * server other than the system's.
 */

import { MaildirStore, SmtpReply, SmtpServer } from "@smtp/server";
import { parseIp } from "@smtp/server/dns";

const [port = "2525", seconds = "300", nameServer] = Deno.args;
const notYet = new SmtpReply(451, "Try again later", { enhanced: "4.7.1" });

/** When each triple first came, in ms; those used last are at the end. */
const triples = new Map<string, number>();

const server = new SmtpServer({
  listen: `127.0.0.1:${port}`,
  domains: ["example.com"],
  store: new MaildirStore({ folder: "./mail" }),
  ...(nameServer && { dns: { nameServers: [nameServer] } }),
  handlers: {
    async onConnect({ remoteAddress: ip }) {
      // Read the terms of use of a list first.
      const { status } = await server.dns.lookupBlocklist(ip, "dnsbl.example");
      if (status === "listed") return false;
    },
    onRcptTo({ remoteAddress: ip, envelope }, recipient) {
      // A /24 of IPv4, a /64 of IPv6: a large sender has many hosts.
      const network = parseIp(ip)?.slice(0, ip.includes(":") ? 8 : 3);
      const triple = `${network} ${envelope?.from} ${recipient}`.toLowerCase();
      const first = triples.get(triple) ?? Date.now();
      const isNew = !triples.delete(triple);
      triples.set(triple, first);
      if (triples.size > 100_000) triples.delete(triples.keys().next().value!);
      if (isNew || Date.now() - first < Number(seconds) * 1000) return notYet;
    },
  },
});
await server.start();
console.log(`listening on port ${server.addresses[0]!.port}`);
