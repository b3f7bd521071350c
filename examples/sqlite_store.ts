/**
 * A store of your own: messages in one table of SQLite, recipients in another.
 * The client gets 250 once both are committed.
 *
 * ```sh
 * deno run -A examples/sqlite_store.ts
 * ```
 *
 * The arguments may be a port other than 2525, and a file other than mail.sqlite.
 */

import { type Message, SmtpServer } from "@smtp/server";
import type { MessageStore } from "@smtp/server/store";
import { DatabaseSync } from "node:sqlite";

/** Keeps messages in a database. */
class SqliteStore implements MessageStore {
  readonly kind = "sqlite";
  readonly #database: DatabaseSync;

  constructor(path: string) {
    this.#database = new DatabaseSync(path);
    this.#database.exec(`
      PRAGMA journal_mode = WAL;
      PRAGMA synchronous = FULL;
      CREATE TABLE IF NOT EXISTS message (
        id TEXT PRIMARY KEY,
        received TEXT NOT NULL,
        sender TEXT NOT NULL,
        subject TEXT,
        content BLOB NOT NULL
      ) STRICT;
      CREATE TABLE IF NOT EXISTS recipient (
        message TEXT NOT NULL REFERENCES message (id),
        address TEXT NOT NULL
      ) STRICT;
    `);
  }

  async save(message: Message): Promise<void> {
    const content = await message.bytes();
    this.#database.exec("BEGIN IMMEDIATE");
    try {
      this.#insert(message, content);
      this.#database.exec("COMMIT");
    } catch (error) {
      // After an error the client gets 451. It still has the message.
      this.#database.exec("ROLLBACK");
      throw error;
    }
  }

  #insert(message: Message, content: Uint8Array): void {
    this.#database
      .prepare("INSERT INTO message VALUES (?, ?, ?, ?, ?)")
      .run(
        message.id,
        message.receivedAt.toISOString(),
        message.from.toString(),
        message.headers.get("Subject") ?? null,
        content,
      );
    const recipient = this.#database
      .prepare("INSERT INTO recipient VALUES (?, ?)");
    for (const { address } of message.recipients) {
      recipient.run(message.id, address.toString());
    }
  }

  close(): Promise<void> {
    this.#database.close();
    return Promise.resolve();
  }
}

const [port = "2525", path = "mail.sqlite"] = Deno.args;
const server = new SmtpServer({
  listen: `127.0.0.1:${port}`,
  store: new SqliteStore(path),
});
await server.start();
console.log(`listening on port ${server.addresses[0]!.port}`);
