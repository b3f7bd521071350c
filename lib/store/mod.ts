/**
 * Where messages are kept: Maildir, mbox, files, memory, a stream, another server
 * by LMTP, or a store of your own.
 *
 * Without a store a server accepts messages and discards them, with a warning.
 * `message.store` chooses another store for one message, or several.
 *
 * | store                       | keeps                                                    |
 * | --------------------------- | -------------------------------------------------------- |
 * | {@linkcode MaildirStore}    | a Maildir for each recipient                             |
 * | {@linkcode MboxStore}       | an mbox file for each recipient, or one for all          |
 * | {@linkcode LmtpStore}       | nothing: it hands each message to a server, as Dovecot   |
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
 * is the whole address in lower case. A program of your own finds the folder of
 * an address by `folderOf`, and an mbox by `fileOf` of its store:
 *
 * ```ts
 * import { Address } from "@smtp/server";
 * import { MaildirStore, MboxStore } from "@smtp/server/store";
 *
 * const store = new MaildirStore({ folder: "/var/mail/vhosts" });
 * // What a POP3 server shows to a user.
 * async function newMail(user: string): Promise<string[]> {
 *   const folder = store.folderOf(Address.parse(user));
 *   try {
 *     const files = Deno.readDir(`${folder}/new`);
 *     return await Array.fromAsync(files, ({ name }) => name);
 *   } catch (error) {
 *     if (error instanceof Deno.errors.NotFound) return [];
 *     throw error;
 *   }
 * }
 * console.assert((await newMail("ann@example.com")).length === 0);
 *
 * const files = new MboxStore({ folder: "/var/mail" });
 * const file = files.fileOf(Address.parse("Ann@example.com"));
 * console.assert(file.endsWith("ann@example.com"));
 * ```
 *
 * ### Quota
 *
 * ```ts
 * import { MaildirStore } from "@smtp/server/store";
 *
 * const store = new MaildirStore({
 *   folder: "/var/mail/vhosts",
 *   quota: { bytes: 1_000_000_000, messages: 100_000 },
 * });
 * console.assert(store.hasRoom !== undefined);
 * ```
 *
 * `quota` is what each mailbox may hold with all its folders: a number of bytes,
 * `{ bytes, messages }`, or a function that gives an address its quota. Sizes are
 * those of the files. Only a Maildir can have one.
 *
 * | what                                         | reply                            |
 * | -------------------------------------------- | -------------------------------- |
 * | RCPT for a full mailbox                      | 452 4.2.2                        |
 * | RCPT with a SIZE that does not fit           | 452 4.2.2                        |
 * | a message that does not fit                  | 452 4.2.2, in LMTP per recipient |
 * | a message that alone is larger than the quota | 552 5.2.2, in LMTP per recipient |
 *
 * A full mailbox is a temporary failure: its owner may make room, and the sender's
 * server tries again for days before it gives up. In SMTP a message is kept for
 * all recipients or for no one, so 552 needs that all of them refuse it so; else
 * the client gets 451, or the 452 of a full mailbox.
 *
 * Each Maildir has its sum in the file `maildirsize`, in the form of Maildir++.
 * Programs that know it count with it and into it. The folder Trash and
 * messages that are marked as deleted do not count. Dovecot takes the quota from
 * the file:
 *
 * ```
 * mail_plugins = quota
 * plugin {
 *   quota = maildir:User quota
 *   quota_rule = Trash:ignore
 * }
 * ```
 *
 * The form has no locks: several processes or `threads` that deliver to one
 * mailbox at the same moment may go over its quota by what each has under way.
 * What a program removed without counting is noticed at the latest 15 minutes
 * after the mailbox was full.
 *
 * ### LMTP
 *
 * ```ts
 * import { SmtpServer } from "@smtp/server";
 * import { LmtpStore } from "@smtp/server/store";
 *
 * const store = new LmtpStore({ path: "/run/dovecot/lmtp" });
 * const server = new SmtpServer({ store, domains: ["example.com"] });
 * console.assert(!server.active);
 * ```
 *
 * `{ host, port }` in place of `path` connects by TCP, with TLS where the server
 * offers it. At most 10 connections are open at the same time (`pool.max`), and
 * are kept for 5 seconds (`pool.idleMs`).
 *
 * A recipient is refused as the server refused it: 4xx or 5xx. 451 stands for a
 * failed connection, and for a server that answers as if it were another kind.
 * SMTP has one reply for all recipients: 250 if all of them have the message, 5xx
 * if all were refused for good, else 4xx. After 4xx the client sends the message
 * again, and the store does not hand it over twice: for an hour it remembers the
 * recipients that have it, up to 10 000, with the sender and a digest of the
 * content. So a recipient that is refused for good beside others keeps the
 * client trying until it gives up; refuse such recipients at RCPT. The memory is
 * lost at a restart, and does not know a message again that the server itself
 * completes with a date or a Message-ID. Then, and if the connection breaks after
 * the content, some recipients get a message twice; no message is lost.
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
 * without a copy. The method `hasRoom`, where there is one, is asked at RCPT.
 * `examples/sqlite_store.ts` keeps mail in a database.
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

export { LmtpStore, type LmtpStoreOptions } from "../delivery/lmtp_store.ts";
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
