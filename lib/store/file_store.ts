/**
 * The store that keeps messages in plain files: one `.eml` file for each message
 * in a folder, or one file that each message overwrites or extends.
 *
 * Never shows a half-written file under its final name, and never writes
 * through a symbolic link.
 */

import { dirname, join, resolve } from "node:path";
import {
  makeFolder,
  makeFolderAgain,
  syncFolder,
  writeAll,
  writeNewFile,
} from "../files/durable.ts";
import { lookAt, type MailboxOwners } from "../files/trust.ts";
import type { Message, MessageStore } from "../message/message.ts";
import { checkOptions, flag, path, type Rules } from "../options.ts";
import { type AppendOptions, appendToFile } from "./append_file.ts";
import {
  type ContentOptions,
  MessageContent,
  NEWLINE_RULE,
} from "./content.ts";
import { failureOfOne, OWNERS_RULE, Underway } from "./per_recipient.ts";
import { LOCK_RULES, lockOptions, type LockSettings } from "./lock.ts";
import { safeComponent } from "./mailbox_name.ts";
import { rebuildable } from "./rebuildable.ts";
import { uniqueName } from "./unique_name.ts";

/** Options of {@linkcode FileStore}: exactly one of `folder` and `path`. */
export interface FileStoreOptions extends LockSettings {
  /**
   * Folder for one file per message, `TIME.ID.RANDOM.eml`; made where missing.
   * Default: none; give this or `path`.
   */
  readonly folder?: string | undefined;
  /**
   * The one file; its folder is made where missing. Default: none; give this or
   * `folder`.
   */
  readonly path?: string | undefined;
  /**
   * Whether messages are appended to `path`, under locks; else each message
   * replaces the one before.
   *
   * @default {false}
   */
  readonly append?: boolean | undefined;
  /**
   * Whether a message begins with the separator line of an mbox, has its own
   * lines of that form quoted, and ends in a blank line. Without it a reader
   * cannot find where a message in an appended file begins.
   *
   * @default {append}
   */
  readonly fromLine?: boolean | undefined;
  /**
   * Whether a message begins with a Return-Path field (RFC 5321 section 4.4).
   *
   * @default {true}
   */
  readonly returnPath?: boolean | undefined;
  /**
   * Line ends: `"crlf"` as received, `"lf"` as Unix programs want them.
   *
   * @default {"crlf"}
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
   * User ids whose file mail may be appended to, besides those of this process,
   * of root and of the owner of the file's folder; `"any"` for every user's file.
   *
   * @default {[]}
   */
  readonly owners?: MailboxOwners | undefined;
}

const RULES: Rules<FileStoreOptions> = {
  ...LOCK_RULES,
  folder: path,
  path,
  append: flag,
  fromLine: flag,
  returnPath: flag,
  owners: OWNERS_RULE,
  newline: NEWLINE_RULE,
  sync: flag,
};

/**
 * Keeps messages in plain files. Requires `allow-read` and `allow-write`.
 *
 * @example One file a message
 * ```ts
 * import { FileStore } from "@smtp/server";
 *
 * const store = new FileStore({ folder: "./mail" });
 * console.assert(store.kind === "file");
 * ```
 * @example All messages in one file
 * ```ts
 * import { FileStore } from "@smtp/server";
 *
 * const store = new FileStore({ path: "./mail/all.mbox", append: true });
 * console.assert(store.kind === "file");
 * ```
 */
export class FileStore implements MessageStore {
  /** `"file"`. */
  readonly kind = "file";
  readonly #folder: string | undefined;
  readonly #path: string;
  readonly #append: AppendOptions | undefined;
  readonly #content: ContentOptions;
  readonly #sync: boolean;
  readonly #underway = new Underway();

  /**
   * Makes a store. Opens no file until the first message.
   *
   * @param options Where messages go, and in which form
   * @throws {TypeError} If not exactly one of `folder` and `path` is given, or `append` with `folder`
   */
  constructor(options: FileStoreOptions) {
    checkOptions("FileStore", options, RULES, '{ folder: "./mail" }');
    const { folder, path, append = false, fromLine = append } = options;
    const { newline = "crlf", returnPath = true, sync = true } = options;
    if ((folder === undefined) === (path === undefined)) {
      throw new TypeError(
        'Cannot make a file store: want either "folder" or "path"',
      );
    }
    if (append && path === undefined) {
      throw new TypeError(
        'Cannot make a file store that appends: want "path"',
      );
    }
    this.#folder = folder === undefined ? undefined : resolve(folder);
    this.#path = resolve(path ?? "");
    this.#content = { newline, returnPath, mbox: fromLine };
    this.#sync = sync;
    if (append) {
      this.#append = {
        sync,
        separator: fromLine ? newline === "lf" ? "\n" : "\r\n" : undefined,
        owners: options.owners,
        ...lockOptions(options),
      };
    }
    rebuildable(this, {
      ...options,
      folder: this.#folder,
      path: path === undefined ? undefined : this.#path,
    });
  }

  /**
   * Keeps one copy for all recipients.
   *
   * @throws {StoreError} If the message could not be kept; the file is then as it was before
   */
  save(message: Message): Promise<void> {
    return this.#underway.track(this.#save(message));
  }

  async #save(message: Message): Promise<void> {
    const content = new MessageContent(message, this.#content);
    try {
      if (this.#append !== undefined) {
        await appendToFile(this.#path, content, this.#append);
      } else if (this.#folder !== undefined) {
        await this.#place(content, join(this.#folder, fileName(message)));
      } else {
        await this.#place(content, this.#path);
      }
    } catch (reason) {
      throw failureOfOne(message, reason);
    }
  }

  /** Writes under a temporary name and renames: half a message never has the final name. */
  async #place(content: MessageContent, path: string): Promise<void> {
    const folder = dirname(path);
    const temporary = join(folder, `.${uniqueName()}.tmp`);
    const options = { sync: this.#sync };
    const before = await lookAt(path, "file", `keep mail in "${path}"`);
    await makeFolder(folder, options);
    const write = () =>
      writeNewFile(
        temporary,
        (file) => content.writeTo((bytes) => writeAll(file, bytes)),
        options,
      );
    try {
      await write();
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      await makeFolderAgain(folder, options);
      await write();
    }
    if (before === undefined) await this.#put(temporary, path);
    else await this.#exchange(temporary, path);
  }

  /** Gives a new message its name; removes it if the name cannot be made durable. */
  async #put(temporary: string, path: string): Promise<void> {
    await renameOrRemove(temporary, path);
    if (!this.#sync) return;
    try {
      await syncFolder(dirname(path));
    } catch (error) {
      await Deno.remove(path).catch(() => {});
      throw error;
    }
  }

  /** As {@linkcode FileStore.#put}, but replaces an older message; restores it on a failure. */
  async #exchange(temporary: string, path: string): Promise<void> {
    if (!this.#sync) return await renameOrRemove(temporary, path);
    const older = `${temporary}.older`;
    // Some file systems have no hard links: there the older message cannot be
    // restored.
    const isKept = await Deno.link(path, older).then(() => true, () => false);
    try {
      await renameOrRemove(temporary, path);
      await syncFolder(dirname(path));
    } catch (error) {
      if (isKept) await Deno.rename(older, path).catch(() => {});
      throw error;
    } finally {
      if (isKept) await Deno.remove(older).catch(() => {});
    }
  }

  /** Waits for all calls of `save` under way. */
  close(): Promise<void> {
    return this.#underway.settled();
  }
}

/** A name that sorts by time and has the message's id; a random part keeps mail from replacing mail. */
function fileName(message: Message): string {
  const time = message.receivedAt.toISOString().replace(/[-:]/g, "");
  const random = crypto.getRandomValues(new Uint32Array(1))[0]!;
  const suffix = random.toString(16).padStart(8, "0");
  return `${time}.${safeComponent(message.id)}.${suffix}.eml`;
}

async function renameOrRemove(from: string, to: string): Promise<void> {
  try {
    await Deno.rename(from, to);
  } catch (error) {
    await Deno.remove(from).catch(() => {});
    throw error;
  }
}
