/**
 * Checks where mail comes from. The server rejects an address that is on a
 * blocklist (RFC 5782). An address without a name that leads back to it may send
 * small messages only. These lookups run once per session, before the greeting, and
 * delay no other session. Then SPF, DKIM and DMARC say whether the author's domain
 * vouches for the message: where it asks for that, mail without it is refused, or
 * goes to a folder of its own.
 *
 * ```sh
 * deno run -A examples/spam_check.ts
 * ```
 *
 * The arguments may be a port other than 2525, and a name server other than the
 * system's.
 */

import {
  MaildirStore,
  type SmtpHandlers,
  SmtpReply,
  SmtpServer,
} from "@smtp/server";

/** Blocklists to query; read their terms of use first. */
const BLOCKLISTS = ["dnsbl.example"];

/** Most bytes of a message from a client without a name. */
const SMALL = 100_000;

/** Result of the lookups for a client. */
interface Standing {
  readonly confirmed: boolean;
}

const handlers: SmtpHandlers = {
  async onConnect(session) {
    const { remoteAddress } = session;
    const [reverse, ...listings] = await Promise.all([
      server.dns.confirmReverse(remoteAddress),
      ...BLOCKLISTS.map((zone) =>
        server.dns.lookupBlocklist(remoteAddress, zone)
      ),
    ]);
    const listing = listings.find(({ status }) => status === "listed");
    if (listing !== undefined) {
      const text = `Address ${remoteAddress} is on a blocklist`;
      return new SmtpReply(554, text, { enhanced: "5.7.1" });
    }
    // A name server that does not answer is not the client's fault.
    const confirmed = reverse.status === "confirmed" ||
      reverse.status === "failed";
    session.tag = { confirmed } satisfies Standing;
  },
  onMessage(session, message) {
    const { confirmed } = session.tag as Standing;
    const { result, policy } = message.authentication?.dmarc ?? {};
    if (result === "fail" && policy === "quarantine") message.store = suspects;
    if (confirmed || message.size <= SMALL) return;
    return new SmtpReply(
      554,
      "Too much for a host whose name does not lead back to it",
      { enhanced: "5.7.25" },
    );
  },
};

const suspects = new MaildirStore({ folder: "./suspects" });
const [port = "2525", nameServer] = Deno.args;
const server = new SmtpServer({
  listen: `127.0.0.1:${port}`,
  handlers,
  verify: { dmarc: "enforce" },
  store: new MaildirStore({ folder: "./mail" }),
  dns: nameServer === undefined
    ? { timeoutMs: 3000 }
    : { nameServers: [nameServer] },
});
await server.start();
console.log(`listening on port ${server.addresses[0]!.port}`);
