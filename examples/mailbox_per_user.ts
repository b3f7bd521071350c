/**
 * A Maildir for each user of a domain: further names, extensions as in
 * `alice+shop@example.com`, and a quota for each mailbox. All other recipients are
 * refused. What the author's domain does not vouch for, and wants apart
 * (DMARC, quarantine), is in a second Maildir of each user, below `junk`.
 *
 * ```sh
 * deno run -A examples/mailbox_per_user.ts
 * ```
 *
 * The arguments may be a port other than 2525, and a quota other than a gigabyte,
 * in bytes.
 */

import { MaildirStore, SmtpServer } from "@smtp/server";

const [port = "2525", quota = "1000000000"] = Deno.args;
const junk = new MaildirStore({ folder: "./junk", quota: Number(quota) });
const server = new SmtpServer({
  listen: `127.0.0.1:${port}`,
  domains: ["example.com"],
  localRecipients: ["alice", "bob"],
  aliases: { info: ["alice", "bob"], postmaster: "bob" },
  recipientDelimiter: "+",
  // A full mailbox is 452: its owner may make room, and the sender tries again.
  store: new MaildirStore({ folder: "./mail", quota: Number(quota) }),
  verify: { dmarc: "enforce" },
  handlers: {
    onMessage(_session, message) {
      const { result, policy } = message.authentication?.dmarc ?? {};
      if (result === "fail" && policy === "quarantine") message.store = junk;
    },
  },
});
await server.start();
console.log(`listening on port ${server.addresses[0]!.port}`);
