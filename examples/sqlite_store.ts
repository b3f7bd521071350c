/**
 * A store of your own: a row of SQLite for each message. One statement keeps it
 * with all its recipients; the client gets 250 once it is on disk.
 *
 * ```sh
 * deno run -A examples/sqlite_store.ts
 * sqlite3 mail.sqlite "SELECT value ->> 'address', envelope ->> 'from' \
 *   FROM message, json_each(envelope, '$.recipients')"
 * ```
 *
 * The arguments may be a port other than 2525, and a file other than mail.sqlite.
 */

import { SmtpServer } from "@smtp/server";
import { DatabaseSync } from "node:sqlite";

const [port = "2525", path = "mail.sqlite"] = Deno.args;
const database = new DatabaseSync(path);
database.exec(`
  PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
  CREATE TABLE IF NOT EXISTS message (id TEXT PRIMARY KEY, envelope, content);
`);
const insert = database.prepare("INSERT INTO message VALUES (?, ?, ?)");

const server = new SmtpServer({
  listen: `127.0.0.1:${port}`,
  store: {
    kind: "sqlite",
    // If it throws, the client gets 451 and keeps the message.
    async save(message) {
      const { id, from, recipients, receivedAt } = message;
      const envelope = JSON.stringify({ from, recipients, receivedAt });
      insert.run(id, envelope, await message.bytes());
    },
  },
});
await server.start();
console.log(`listening on port ${server.addresses[0]!.port}`);
