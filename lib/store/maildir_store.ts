/**
 * The store that keeps one Maildir for each recipient below a folder. It writes
 * a message to `tmp`, syncs it, renames it into `new`, and syncs the folder.
 *
 * Owns the order of these steps over all recipients of a message. Never takes a
 * lock: a Maildir needs none, and any number of programs and machines may
 * deliver to it at the same time.
 */

import { join, resolve } from "node:path";
import {
  identityOf,
  makeFolder,
  makeFolderAgain,
  makeOne,
  syncFolder,
  syncNames,
  writeAll,
  writeNewFile,
} from "../files/durable.ts";
import { lookAt, type MailboxOwners, requireTrusted } from "../files/trust.ts";
import type { Message, MessageStore, SaveOptions } from "../message/message.ts";
import type { Address } from "../protocol/address.ts";
import {
  checkOptions,
  flag,
  path,
  required,
  type Rules,
  text,
} from "../options.ts";
import {
  type ContentOptions,
  MessageContent,
  NEWLINE_RULE,
} from "./content.ts";
import {
  MaildirQuota,
  QUOTA_RULE,
  type QuotaOption,
  type Reservation,
} from "./maildir_quota.ts";
import {
  failureOf,
  failureOfAll,
  forEachCopy,
  hasFailure,
  MAILBOX_RULES,
  type MailboxCopy,
  mailboxesOf,
  mailboxOf,
  type MailboxOptions,
  OWNERS_RULE,
  planCopies,
  Underway,
} from "./per_recipient.ts";
import { rebuildable } from "./rebuildable.ts";
import { hostName, safeHost, uniqueName } from "./unique_name.ts";

/** Options of {@linkcode MaildirStore}. */
export interface MaildirStoreOptions extends MailboxOptions {
  /** Folder of the Maildirs, each named after its address; made where missing. */
  readonly folder: string;
  /**
   * Whether a message begins with a Return-Path field (RFC 5321 section 4.4).
   *
   * @default {true}
   */
  readonly returnPath?: boolean | undefined;
  /**
   * Line ends: `"lf"` as Unix programs want them, `"crlf"` as received. A
   * BODY=BINARYMIME message is kept as received either way.
   *
   * @default {"lf"}
   */
  readonly newline?: "lf" | "crlf" | undefined;
  /**
   * Whether a message is on the disk before it counts as kept. `false` is for
   * tests: a crash may then lose mail that the server has accepted.
   *
   * @default {true}
   */
  readonly sync?: boolean | undefined;
  /** Host name in file names. Default: this machine's. */
  readonly hostname?: string | undefined;
  /**
   * User ids whose mailboxes are used, besides those of this process, of root
   * and of the owner of `folder`; `"any"` for mailboxes of every user. Mail for
   * any other user's mailbox is refused with 451.
   *
   * @default {[]}
   */
  readonly owners?: MailboxOwners | undefined;
  /**
   * What a mailbox may hold: bytes, `{ bytes, messages }`, or a function that
   * gives the quota of an address, `undefined` for none. A full mailbox refuses
   * mail with 452 4.2.2 at RCPT and when the message is stored; a message that
   * alone is larger than the quota is refused with 552 5.2.2 when it is stored.
   * With `threads` the main thread asks a function. The sum is kept in the file
   * `maildirsize` of each Maildir, as Maildir++ wants it.
   *
   * @default {no quota}
   */
  readonly quota?: QuotaOption | undefined;
}

/** Most mailboxes remembered as durable and trusted. */
const MAX_KNOWN = 10_000;
/** Marks that identify the folders `tmp` and `new` of a Maildir. */
interface KnownMailbox {
  readonly tmp: string;
  readonly new: string;
}

/** The file of one mailbox's copy: under `placed` it has its final name. */
interface WrittenFile {
  readonly temporary: string;
  readonly final: string;
  readonly size: number;
  placed: boolean;
  isWithdrawn?: true;
  /** Its room in the mailbox, where that has a quota. */
  reservation: Reservation | undefined;
}

const RULES: Rules<MaildirStoreOptions> = {
  ...MAILBOX_RULES,
  folder: required(path),
  returnPath: flag,
  owners: OWNERS_RULE,
  newline: NEWLINE_RULE,
  sync: flag,
  hostname: text(),
  quota: QUOTA_RULE,
};

/**
 * Keeps one Maildir for each recipient. File names have the size (`,S=`) and,
 * where line ends became LF, the size with CRLF (`,W=`). So Dovecot need not
 * read the file to know them.
 *
 * All copies of a message are written and synced before the first becomes
 * visible, so a failure leaves no copy behind. Requires `allow-read` and
 * `allow-write`, and `allow-sys=hostname` unless `hostname` is given.
 *
 * @example A Maildir for each recipient
 * ```ts
 * import { MaildirStore } from "@smtp/server";
 *
 * const store = new MaildirStore({ folder: "./mail" });
 * console.assert(store.kind === "maildir");
 * ```
 */
export class MaildirStore implements MessageStore {
  /** `"maildir"`. */
  readonly kind = "maildir";
  readonly #folder: string;
  readonly #mailboxes: MailboxOptions;
  readonly #content: ContentOptions;
  readonly #sync: boolean;
  readonly #hostname: string;
  readonly #owners: MailboxOwners | undefined;
  readonly #quota: MaildirQuota | undefined;
  readonly #known = new Map<string, KnownMailbox>();
  readonly #underway = new Underway();
  /**
   * With the option `quota`: whether the mailbox of an address has room for a
   * message of so many bytes. Not there without it.
   */
  readonly hasRoom?: (address: Address, size: number) => Promise<boolean>;

  /**
   * Makes a store. Opens no file until the first message.
   *
   * @param options Where messages go, and in which form
   */
  constructor(options: MaildirStoreOptions) {
    checkOptions("MaildirStore", options, RULES, '{ folder: "./mail" }');
    const { newline = "lf", returnPath = true, sync = true } = options;
    this.#folder = resolve(options.folder);
    this.#mailboxes = options;
    this.#content = { newline, returnPath, mbox: false };
    this.#sync = sync;
    this.#hostname = options.hostname === undefined
      ? hostName()
      : safeHost(options.hostname);
    this.#owners = options.owners;
    const { quota } = options;
    if (quota !== undefined) {
      const { owners } = options;
      const sums = new MaildirQuota({ quota, folder: this.#folder, owners });
      this.#quota = sums;
      this.hasRoom = (address, size) =>
        sums.hasRoom(this.folderOf(address), { address, size });
    }
    rebuildable(this, { ...options, folder: this.#folder });
  }

  /**
   * The folder of the Maildir of an address, for programs that read it. It may
   * not exist yet.
   *
   * @throws {TypeError} If the address is the null sender, which has no mailbox
   */
  folderOf(address: Address): string {
    return join(this.#folder, mailboxOf(address, this.#mailboxes));
  }

  /**
   * Puts a copy into the Maildir of each recipient; recipients of one Maildir
   * share a copy. Resolves with the name of each recipient's Maildir.
   *
   * @throws {StoreError} If some recipients' copies could not be kept
   */
  save(message: Message, options: SaveOptions): Promise<readonly string[]> {
    return this.#underway.track(this.#save(message, options.partial));
  }

  /** Keeps the copies, and ends what they were promised of their quotas. */
  async #save(
    message: Message,
    partial: boolean,
  ): Promise<readonly string[]> {
    const content = new MessageContent(message, this.#content);
    const copies = planCopies(message.recipients, this.#mailboxes);
    const written = new Map<MailboxCopy, WrittenFile>();
    const work = { content, written, partial };
    if (this.#quota === undefined) return this.#keep(message, copies, work);
    try {
      return await this.#keep(message, copies, work);
    } finally {
      await this.#settle(written);
    }
  }

  async #keep(
    message: Message,
    copies: readonly MailboxCopy[],
    work: {
      readonly content: MessageContent;
      readonly written: Map<MailboxCopy, WrittenFile>;
      readonly partial: boolean;
    },
  ): Promise<readonly string[]> {
    const { content, written, partial } = work;
    const quota = this.#quota;
    const steps: readonly ((copy: MailboxCopy) => Promise<void>)[] = [
      async (copy) => {
        written.set(copy, await this.#write(copy.mailbox, content));
      },
      ...(quota === undefined ? [] : [async (copy: MailboxCopy) => {
        const file = written.get(copy)!;
        const { address } = copy.recipients[0]!;
        file.reservation = await quota.reserve(
          join(this.#folder, copy.mailbox),
          { address, size: file.size },
        );
      }]),
      (copy) => this.#place(written.get(copy)!),
      (copy) => this.#syncNew(copy.mailbox),
    ];
    for (const step of steps) {
      await forEachCopy(copies, step);
      if (partial || !hasFailure(copies)) continue;
      await Promise.all([...written.values()].map(withdraw));
      throw failureOfAll(message, copies);
    }
    const failure = failureOf(message, copies);
    if (failure === undefined) return mailboxesOf(message, copies);
    for (const [copy, file] of written) {
      if (copy.failure !== undefined) await withdraw(file);
    }
    throw failure;
  }

  /** Writes one copy into `tmp`, synced. */
  async #write(mailbox: string, content: MessageContent): Promise<WrittenFile> {
    const root = join(this.#folder, mailbox);
    const name = uniqueName(this.#hostname);
    const temporary = join(root, "tmp", name);
    // Examined for each message: another program may have replaced the folder,
    // or the Maildir.
    const known = this.#known.get(mailbox);
    if (known === undefined || !await isStill(join(root, "tmp"), known.tmp)) {
      await this.#prepare(mailbox, root);
    }
    const { new: target } = this.#known.get(mailbox) ?? { new: "" };
    const [{ size, virtualSize }, isSame] = await Promise.all([
      writeNewFile(
        temporary,
        (file) => content.writeTo((bytes) => writeAll(file, bytes)),
        { sync: this.#sync },
      ),
      isStill(join(root, "new"), target),
    ]);
    if (!isSame) await this.#prepareAgain(mailbox, root, temporary);
    const virtual = virtualSize === undefined ? "" : `,W=${virtualSize}`;
    const final = join(root, "new", `${name},S=${size}${virtual}`);
    return { temporary, final, size, placed: false, reservation: undefined };
  }

  /** Prepares a Maildir that has changed since the copy was begun; removes the copy on a failure. */
  async #prepareAgain(
    mailbox: string,
    root: string,
    temporary: string,
  ): Promise<void> {
    try {
      await this.#prepare(mailbox, root);
    } catch (error) {
      await Deno.remove(temporary).catch(() => {});
      throw error;
    }
  }

  /** Makes the Maildir where it is missing; throws if it is not a trusted folder. */
  async #prepare(mailbox: string, root: string): Promise<void> {
    const sync = this.#sync;
    this.#known.delete(mailbox);
    await makeFolder(this.#folder, { sync });
    try {
      await Deno.stat(this.#folder);
    } catch {
      await makeFolderAgain(this.#folder, { sync });
    }
    const made: string[] = [];
    for (const part of ["", "tmp", "new", "cur"]) {
      const path = join(root, part);
      const isMade = await makeOne(path);
      if (isMade) made.push(part);
      const info = await look(path);
      if (isMade || info === undefined) continue;
      await requireTrusted(path, info, {
        folder: this.#folder,
        owners: this.#owners,
      });
    }
    // Even if all folders were there: the program that made them may not have
    // synced them yet.
    if (sync) {
      await Promise.all([
        syncNames(this.#folder, { isMade: made.includes("") }),
        syncNames(root, { isMade: made.some((part) => part !== "") }),
      ]);
    }
    if (this.#known.size >= MAX_KNOWN) {
      for (const oldest of this.#known.keys()) {
        this.#known.delete(oldest);
        break;
      }
    }
    const [tmp, target] = await Promise.all(
      ["tmp", "new"].map((part) => look(join(root, part))),
    );
    if (tmp === undefined || target === undefined) return;
    this.#known.set(mailbox, { tmp: marksOf(tmp), new: marksOf(target) });
  }

  async #place(file: WrittenFile): Promise<void> {
    const place = async () => {
      await Deno.rename(file.temporary, file.final);
      file.placed = true;
    };
    const { reservation } = file;
    await (reservation === undefined
      ? place()
      : this.#quota!.count(reservation, place));
  }

  /** Ends what the copies were promised of their mailboxes' quotas. */
  async #settle(written: ReadonlyMap<unknown, WrittenFile>): Promise<void> {
    for (const { reservation, isWithdrawn } of written.values()) {
      if (reservation === undefined) continue;
      await this.#quota!.settle(reservation, { kept: !isWithdrawn });
    }
  }

  async #syncNew(mailbox: string): Promise<void> {
    if (this.#sync) await syncFolder(join(this.#folder, mailbox, "new"));
  }

  /** Waits for all calls of `save` under way. */
  close(): Promise<void> {
    return this.#underway.settled();
  }
}

/** Removes a copy from `tmp` or `new`; one that its reader has moved already stays. */
async function withdraw(file: WrittenFile): Promise<void> {
  try {
    await Deno.remove(file.placed ? file.final : file.temporary);
    file.isWithdrawn = true;
  } catch {
    // Its reader has moved it: it stays, and counts.
  }
}

/** A folder of a Maildir; `undefined` if there is nothing; throws if there is something else. */
function look(path: string): Promise<Deno.FileInfo | undefined> {
  return lookAt(path, "folder", `keep mail in "${path}"`);
}

function marksOf(info: Deno.FileInfo): string {
  return `${identityOf(info)}:${info.uid}`;
}

/** Whether the folder at `path` is still the one with these marks. */
async function isStill(path: string, marks: string): Promise<boolean> {
  try {
    const info = await Deno.lstat(path);
    return info.isDirectory && marksOf(info) === marks;
  } catch {
    return false;
  }
}
