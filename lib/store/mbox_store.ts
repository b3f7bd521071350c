/**
 * The store that appends messages to mbox files: one for all recipients or one
 * for each. Owns the choice of the file. `content.ts` owns the form,
 * `append_file.ts` the locks and the transaction.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc4155 | RFC 4155}
 */

import { join, resolve } from "node:path";
import { lookAt, type MailboxOwners } from "../files/trust.ts";
import type { Message, MessageStore, SaveOptions } from "../message/message.ts";
import { checkOptions, flag, path, type Rules } from "../options.ts";
import type { Address } from "../protocol/address.ts";
import {
  type AppendOptions,
  type AppendReceipt,
  appendToFile,
  undoAppend,
} from "./append_file.ts";
import {
  type ContentOptions,
  MessageContent,
  NEWLINE_RULE,
} from "./content.ts";
import {
  failureOf,
  failureOfAll,
  failureOfOne,
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
import { LOCK_RULES, lockOptions, type LockSettings } from "./lock.ts";

/** Options of {@linkcode MboxStore}: exactly one of `folder` and `path`. */
export interface MboxStoreOptions extends MailboxOptions, LockSettings {
  /**
   * Folder for one file per recipient, named after the address; made where
   * missing. Default: none; give this or `path`.
   */
  readonly folder?: string | undefined;
  /**
   * One file for all recipients; its folder is made where missing. Default: none;
   * give this or `folder`.
   */
  readonly path?: string | undefined;
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
  /**
   * User ids whose mbox files are used, besides those of this process, of root
   * and of the owner of their folder; `"any"` for files of every user. Mail for
   * any other user's file is refused with 451.
   *
   * @default {[]}
   */
  readonly owners?: MailboxOwners | undefined;
}

const RULES: Rules<MboxStoreOptions> = {
  ...MAILBOX_RULES,
  ...LOCK_RULES,
  folder: path,
  path,
  returnPath: flag,
  owners: OWNERS_RULE,
  newline: NEWLINE_RULE,
  sync: flag,
};

/**
 * Appends messages to mbox files. The form is "mboxrd": lines that look like a
 * separator get one more `>`, which a reader can remove. A message is kept when
 * it is synced; one that fails leaves the length of the file unchanged.
 *
 * With one file per recipient a failure undoes the copies already made, unless
 * their files have changed since. Requires `allow-read` and `allow-write`, and
 * for breaking the locks of dead programs `allow-run` and `allow-sys=hostname`.
 *
 * @example One mbox for all mail
 * ```ts
 * import { MboxStore } from "@smtp/server";
 *
 * const store = new MboxStore({ path: "./mail/all.mbox" });
 * console.assert(store.kind === "mbox");
 * ```
 * @example One mbox for each recipient
 * ```ts
 * import { MboxStore } from "@smtp/server";
 *
 * const store = new MboxStore({
 *   folder: "./mail",
 *   mailboxOf: (address) => address.localPart,
 * });
 * console.assert(store.kind === "mbox");
 * ```
 */
export class MboxStore implements MessageStore {
  /** `"mbox"`. */
  readonly kind = "mbox";
  readonly #folder: string | undefined;
  readonly #path: string;
  readonly #mailboxes: MailboxOptions;
  readonly #content: ContentOptions;
  readonly #append: AppendOptions;
  readonly #underway = new Underway();

  /**
   * Makes a store. Opens no file until the first message.
   *
   * @param options Where messages go, and in which form
   * @throws {TypeError} If not exactly one of `folder` and `path` is given
   */
  constructor(options: MboxStoreOptions) {
    checkOptions("MboxStore", options, RULES, '{ folder: "./mail" }');
    const { folder, path, newline = "lf", returnPath = true } = options;
    if ((folder === undefined) === (path === undefined)) {
      throw new TypeError(
        'Cannot make an mbox store: want either "folder" or "path"',
      );
    }
    this.#folder = folder === undefined ? undefined : resolve(folder);
    this.#path = resolve(path ?? "");
    this.#mailboxes = options;
    this.#content = { newline, returnPath, mbox: true };
    this.#append = {
      sync: options.sync ?? true,
      separator: newline === "lf" ? "\n" : "\r\n",
      owners: options.owners,
      ...lockOptions(options),
    };
  }

  /**
   * The mbox file of an address, for programs that read it: with `path` the one
   * file. It may not exist yet.
   *
   * @throws {TypeError} If the address is the null sender, which has no mailbox
   */
  fileOf(address: Address): string {
    return this.#folder === undefined
      ? this.#path
      : join(this.#folder, mailboxOf(address, this.#mailboxes));
  }

  /**
   * Appends the message to the one file, or to the file of each recipient.
   * Resolves with the names of the recipients' files, if each has one.
   *
   * @throws {StoreError} If some recipients' copies could not be kept
   */
  save(
    message: Message,
    options: SaveOptions,
  ): Promise<void | readonly string[]> {
    const content = new MessageContent(message, this.#content);
    return this.#underway.track<void | readonly string[]>(
      this.#folder === undefined
        ? this.#saveOne(message, content)
        : this.#saveEach(message, content, this.#folder, options.partial),
    );
  }

  async #saveOne(message: Message, content: MessageContent): Promise<void> {
    try {
      await appendToFile(this.#path, content, this.#append);
    } catch (reason) {
      throw failureOfOne(message, reason);
    }
  }

  async #saveEach(
    message: Message,
    content: MessageContent,
    folder: string,
    partial: boolean,
  ): Promise<readonly string[]> {
    const copies = planCopies(message.recipients, this.#mailboxes);
    const pathOf = (copy: MailboxCopy) => join(folder, copy.mailbox);
    if (!partial && copies.length > 1) {
      // Failures that can be foreseen are found before the first copy is made.
      await forEachCopy(copies, async (copy) => {
        const path = pathOf(copy);
        await lookAt(path, "file", `keep mail in "${path}"`);
      });
      if (hasFailure(copies)) throw failureOfAll(message, copies);
    }
    const receipts = new Map<MailboxCopy, AppendReceipt>();
    await forEachCopy(copies, async (copy) => {
      const path = pathOf(copy);
      receipts.set(copy, await appendToFile(path, content, this.#append));
    });
    if (partial || !hasFailure(copies)) {
      const failure = failureOf(message, copies);
      if (failure !== undefined) throw failure;
      return mailboxesOf(message, copies);
    }
    for (const [copy, receipt] of receipts) {
      await undoAppend(pathOf(copy), receipt, this.#append).catch(() => {});
    }
    throw failureOfAll(message, copies);
  }

  /** Waits for all calls of `save` under way. */
  close(): Promise<void> {
    return this.#underway.settled();
  }
}
