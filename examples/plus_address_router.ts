/**
 * Mail to a name with a number. `orders+17@example.com` goes to a function, and
 * `ticket+17@example.com` to the agent of the ticket. The Maildirs below
 * ./mail keep both. All other recipients are refused.
 *
 * ```sh
 * deno run -A examples/plus_address_router.ts
 * ```
 *
 * The argument may be a port other than 2525.
 */

import { MaildirStore, type Message, redirect, SmtpServer } from "@smtp/server";

const TAGGED = /^(?:orders|ticket)\+\d{1,15}$/i;
const AGENTS = ["ann@example.com", "bob@example.com"];

/** Takes a message for an order. If it throws, the client sends the message again. */
async function takeOrder(number: string, message: Message): Promise<void> {
  const text = await message.text();
  console.log(`order ${number}: ${text.length} characters`);
}

const [port = "2525"] = Deno.args;
const server = new SmtpServer({
  listen: `127.0.0.1:${port}`,
  domains: ["example.com"],
  localRecipients: ({ localPart }) => TAGGED.test(localPart),
  store: new MaildirStore({
    folder: "./mail",
    mailboxOf: ({ localPart }) => localPart.toLowerCase().split("+")[0]!,
  }),
  handlers: {
    onRcptTo(_session, { localPart }) {
      const [name, id] = localPart.toLowerCase().split("+");
      if (name !== "ticket") return;
      return redirect(AGENTS[Number(id) % AGENTS.length]!);
    },
    // With the option recipientDelimiter two orders would become one recipient.
    async onMessage(_session, message) {
      for (const { address } of message.recipients) {
        const [name, number] = address.localPart.toLowerCase().split("+");
        if (name === "orders") await takeOrder(number!, message);
      }
    },
  },
});
await server.start();
console.log(`listening on port ${server.addresses[0]!.port}`);
