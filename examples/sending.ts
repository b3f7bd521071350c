/**
 * Sends a message in two ways. Directly: the provider's reply is known at once, and
 * what fails is the program's to repeat. By a queue: it tries for days, and what it
 * has accepted is on the disk, whatever becomes of the program.
 *
 * ```sh
 * deno run -A examples/sending.ts smtp.example.net:25
 * ```
 */

import { SmtpServer } from "@smtp/server";
import { SmtpClient } from "@smtp/server/client";

const [provider = "smtp.example.net:25"] = Deno.args;
const data = "Subject: hello\r\n\r\nIt works.\r\n";
const message = { from: "me@example.com", to: ["you@example.org"], data };

await using client = await SmtpClient.connect(provider);
const { recipients } = await client.send(message);
console.log(`replied ${recipients[0]!.reply}`);

// A server without listeners is a queue.
const relay = { spool: "./spool", smarthosts: [provider] };
const server = new SmtpServer({ listen: [], relay });
await server.start();
const { id } = await server.relays.add(message);
console.log(`queued as ${id}`);
