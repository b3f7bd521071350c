/**
 * Where messages are kept: Maildir, mbox, files, memory, a stream, or a store
 * of your own.
 *
 * Without a store a server accepts messages and discards them, with a warning.
 * `message.store` chooses another store for one message, or several.
 *
 * | store                       | keeps                                                    |
 * | --------------------------- | -------------------------------------------------------- |
 * | {@linkcode MaildirStore}    | a Maildir for each recipient                             |
 * | {@linkcode MboxStore}       | an mbox file for each recipient, or one for all          |
 * | {@linkcode FileStore}       | an `.eml` file for each message, or one file             |
 * | {@linkcode MemoryStore}     | the newest 1000 messages, or 64 MiB, in memory           |
 * | {@linkcode StreamStore}     | nothing: it writes each message to a `WritableStream`    |
 * | {@linkcode DiscardStore}    | nothing                                                  |
 *
 * **250 means safe.** Maildir and `.eml` files are written under a temporary
 * name, synced and renamed, and the folder is synced; only then does the
 * client get 250. What is appended to an mbox is synced, and removed again if
 * it fails half-way. A client that gets any other reply still has the message.
 * If the machine fails after that and before the 250 arrives, the client sends
 * the message again: a message may arrive twice, but is not lost.
 *
 * ### Maildir
 *
 * ```ts
 * import { MaildirStore } from "@smtp/server/store";
 *
 * const store = new MaildirStore({ folder: "/var/mail/vhosts" });
 * console.assert(store.kind === "maildir");
 * ```
 *
 * Dovecot reads these with `mail_location = maildir:/var/mail/vhosts/%u`; `%u`
 * is the whole address in lower case.
 *
 * ### mbox
 *
 * ```ts
 * import { MboxStore } from "@smtp/server/store";
 *
 * const store = new MboxStore({
 *   folder: "/var/mail",
 *   mailboxOf: (address) => address.localPart,
 *   owners: "any",
 * });
 * console.assert(store.kind === "mbox");
 * ```
 *
 * A mailbox that belongs to another user gets no mail: its owner could read
 * it. The store trusts this process, root, the owner of its folder, and the
 * user ids of `owners`. `"any"` trusts all, as here, where each mailbox
 * belongs to its reader. The same holds for Maildirs.
 *
 * `new MboxStore({ path: "./all.mbox" })` keeps all mail in one file. Lines
 * that look like the beginning of a message are quoted in a way that can be
 * undone (mboxrd). Each append holds a dot-lock and `flock`, in this order.
 * Dovecot needs
 *
 * ```
 * mail_location = mbox:~/mail:INBOX=/var/mail/%n
 * mbox_read_locks = flock
 * mbox_write_locks = dotlock flock
 * ```
 *
 * and any other program that writes to these files needs the same order. The
 * option `locks` chooses others.
 *
 * ### Files
 *
 * ```ts
 * import { FileStore } from "@smtp/server/store";
 *
 * const store = new FileStore({ folder: "./inbox" });
 * console.assert(store.kind === "file");
 * ```
 *
 * `{ path: "./last.eml" }` keeps the last message only, `{ path: "./log.eml",
 * append: true }` all of them in one file.
 *
 * ### Memory
 *
 * ```ts
 * import { MemoryStore } from "@smtp/server/store";
 *
 * const store = new MemoryStore({ maxMessages: 100, maxBytes: 10_000_000 });
 * console.assert(store.messages.length === 0);
 * ```
 *
 * `await store.next()` waits for the next message. This store is for tests, and
 * for programs that look at mail and let it go.
 *
 * ### Stream
 *
 * ```ts
 * import { StreamStore } from "@smtp/server/store";
 *
 * const store = new StreamStore({
 *   stream: Deno.stdout.writable,
 *   preventClose: true,
 *   newline: "lf",
 * });
 * console.assert(store.kind === "stream");
 * ```
 *
 * A function in place of the stream makes one for each message.
 *
 * ### Your own
 *
 * A store is an object with a name and one method. What it throws becomes 451,
 * or 452 where the disk is full. {@linkcode StoreError} names the recipients
 * without a copy.
 *
 * ```ts
 * import { SmtpServer } from "@smtp/server";
 * import type { MessageStore } from "@smtp/server/store";
 *
 * const store: MessageStore = {
 *   kind: "table",
 *   async save(message) {
 *     const row = { id: message.id, content: await message.bytes() };
 *     console.assert(row.content.length > 0);
 *   },
 * };
 * const server = new SmtpServer({ store });
 * console.assert(!server.active);
 * ```
 *
 * @module
 */

export type { MailboxOwners } from "../files/trust.ts";
export {
  type MessageStore,
  type SaveOptions,
  StoreError,
} from "../message/message.ts";
export { DiscardStore } from "./discard_store.ts";
export { FileStore, type FileStoreOptions } from "./file_store.ts";
export type { LockSettings } from "./lock.ts";
export { mailboxName } from "./mailbox_name.ts";
export type { MailboxQuota, QuotaOption } from "./maildir_quota.ts";
export { MaildirStore, type MaildirStoreOptions } from "./maildir_store.ts";
export { MboxStore, type MboxStoreOptions } from "./mbox_store.ts";
export {
  CollectedMessage,
  MemoryStore,
  type MemoryStoreOptions,
} from "./memory_store.ts";
export type { MailboxOptions } from "./per_recipient.ts";
export { StreamStore, type StreamStoreOptions } from "./stream_store.ts";
