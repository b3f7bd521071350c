/**
 * Posts each message to a URL, as a form: `envelope` is JSON, `{ id, from, to }`, and
 * `message` the message as a file. The client gets 250 once the message is in the
 * folder ./spool. It leaves that when the URL has replied 2xx; without a reply, and
 * after others, the program tries again. What the URL refuses with 4xx, or has not
 * taken in five days, is held until an operator decides:
 *
 * ```sh
 * deno run -A examples/webhook.ts 2525 https://app.example/mail
 * deno run -A cli.ts queue list --held
 * deno run -A cli.ts queue retry all --held
 * ```
 *
 * A restart loses nothing. After a crash the URL may get a message again, with the
 * same id.
 */

import { logLines, SmtpServer } from "@smtp/server";
import { FileSpool, RelayQueue } from "@smtp/server/queue";

const [port = "2525", url = "http://127.0.0.1:8000/mail"] = Deno.args;
const POST = { method: "POST", redirect: "error" } as const;

const queue = new RelayQueue({
  spool: new FileSpool("./spool"),
  schedule: "1s 10s 1m 10m 1h",
  log: logLines("text", { level: "info" }),
  commonDestination: url,
  // No DSNs: the queue would post them, too.
  delayNoticeMs: Infinity,
  onRelayError: () => "hold",
  async deliver({ id, from, recipients: to, content }, signal) {
    const body = new FormData();
    body.set("envelope", JSON.stringify({ id, from, to }));
    body.set("message", new Blob(await Array.fromAsync(content())));
    // If it throws, the queue logs why and tries again.
    const reply = await fetch(url, { ...POST, body, signal });
    // 408, 425 and 429 say "later".
    const isRefused = /^4(?!08|25|29)/.test(`${reply.status}`);
    const status = reply.ok ? "delivered" : isRefused ? "failed" : "deferred";
    return { status, reason: await reply.text() };
  },
});
await queue.start();

const server = new SmtpServer({
  listen: `127.0.0.1:${port}`,
  disabledExtensions: ["DSN"],
  store: { kind: "url", save: async (msg) => void await queue.relays.add(msg) },
});
await server.start();
console.log(`listening on port ${server.addresses[0]!.port}`);
