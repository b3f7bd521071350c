/**
 * Mail for the users of one domain. Each user has an mbox file, some have further
 * names; the server refuses all other recipients. It also checks sizes and
 * senders.
 *
 * ```sh
 * deno run -A examples/mailbox_per_user.ts
 * ```
 *
 * The argument may be a port other than 2525.
 */

import {
  type Address,
  MboxStore,
  type SmtpHandlers,
  SmtpReply,
  SmtpServer,
} from "@smtp/server";

/** The mailbox of each local part. */
const MAILBOXES: ReadonlyMap<string, string> = new Map([
  ["alice", "alice"],
  ["bob", "bob"],
  ["info", "alice"],
  ["postmaster", "bob"],
]);

/** The mailbox of an address: `alice+lists` is `alice`. */
function mailboxOf(address: Address): string | undefined {
  const [name = ""] = address.localPart.toLowerCase().split("+");
  return MAILBOXES.get(name);
}

const noSuchUser = new SmtpReply(550, "No such user", { enhanced: "5.1.1" });

const handlers: SmtpHandlers = {
  onMailFrom: (_session, address) => address.domain !== "spam.example",
  onRcptTo(_session, address) {
    if (mailboxOf(address) === undefined) return noSuchUser;
  },
  onHeaders: (_session, _message, headers) =>
    headers.get("Subject") === undefined
      ? new SmtpReply(554, "A subject, please", { enhanced: "5.6.0" })
      : undefined,
  onMessage(session, message) {
    const to = message.recipients.map(({ address }) => address).join(", ");
    console.log(`${session.remoteAddress}: ${message.size} bytes to ${to}`);
  },
};

const [port = "2525"] = Deno.args;
const server = new SmtpServer({
  listen: `127.0.0.1:${port}`,
  domains: ["example.com"],
  limits: { maxSize: 10_000_000 },
  handlers,
  store: new MboxStore({
    folder: "./mail",
    // Called only for addresses that onRcptTo has accepted.
    mailboxOf: (address) => mailboxOf(address)!,
  }),
});
await server.start();
console.log(`listening on port ${server.addresses[0]!.port}`);
