/**
 * Sends a message in two ways. The client sends at once, and says what the server
 * replied. The queue tries for days, and a restart loses nothing: what it has
 * accepted is on the disk.
 *
 * ```sh
 * deno run -A examples/sending.ts smtp.example.net 25
 * ```
 */

import { SmtpServer } from "@smtp/server";
import { SmtpClient } from "@smtp/server/client";

const [host = "smtp.example.net", port = "25"] = Deno.args;
const hop = { host, port: Number(port) };
const data = "Subject: hello\r\n\r\nIt works.\r\n";
const message = { from: "me@example.com", to: ["you@example.org"], data };

// At once.
await using client = await SmtpClient.connect(hop);
const { recipients } = await client.send(message);
console.log(`client: ${recipients[0]!.reply}`);

// By the queue: a server of our own, which this user and group alone can reach.
const relay = { from: ["unix"], spool: "./spool", smarthosts: [hop] };
const server = new SmtpServer({ listen: "unix:./queue.sock", relay });
await server.start();
await using queue = await SmtpClient.connect({
  host: "localhost",
  path: "./queue.sock",
});
await queue.send(message);
console.log(`queue: ${server.relays.count} waiting`);
