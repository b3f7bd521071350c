/**
 * An inbox for development: takes the mail of a program under development, for
 * any address, keeps it in memory, and shows it at http://127.0.0.1:8025/. None
 * of it goes further.
 *
 * ```sh
 * deno run -A examples/dev_inbox.ts
 * ```
 *
 * The arguments may be ports other than 2525 and 8025. `/messages` is the list as
 * JSON, `/messages/ID` the source of one message.
 */

import { MemoryStore, SmtpServer } from "@smtp/server";

const [port = "2525", webPort = "8025"] = Deno.args;
const inbox = new MemoryStore({ maxMessages: 500 });
const server = new SmtpServer({ listen: `127.0.0.1:${port}`, store: inbox });
await server.start();
console.log(`listening on port ${server.addresses[0]!.port}`);

const escapeHtml = (text: unknown) =>
  `${text}`.replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`);

const web = { hostname: "127.0.0.1", port: Number(webPort) };
Deno.serve(web, ({ url }) => {
  const [, folder, id] = new URL(url).pathname.split("/");
  const source = inbox.messages.find((message) => message.id === id);
  // A text is text/plain: a browser runs no script that is in it.
  if (source !== undefined) return new Response(source.text);
  const list = inbox.messages.toReversed().map((message) => ({
    id: message.id,
    from: message.from,
    to: message.recipients.map(({ address }) => address),
    subject: message.headers.text("Subject") ?? "(no subject)",
  }));
  if (folder === "messages") return Response.json(list);
  const items = list.map(({ id, from, to, subject }) =>
    `<li><a href="/messages/${id}">${escapeHtml(subject)}</a>
      from ${escapeHtml(from)} to ${escapeHtml(to.join(", "))}`
  );
  const html = `<!DOCTYPE html><title>Inbox</title><ul>${items.join("")}</ul>`;
  const headers = { "content-type": "text/html; charset=utf-8" };
  return new Response(html, { headers });
});
