/**
 * The store that keeps one Maildir a recipient below a folder: written to
 * `tmp`, synced, renamed into `new`, the folder synced.
 *
 * Owns the order of these steps over all recipients of a message. Never locks
 * anything: a Maildir needs no locks, and any number of programs and machines
 * may deliver to one at a time.
 */

import { join, resolve } from "node:path";
import type { Message } from "../message/message.ts";
import {
  type ContentOptions,
  MessageContent,
  type Newline,
} from "./content.ts";
import {
  makeFolder,
  requireKind,
  syncFolder,
  writeNewFile,
} from "./durable.ts";
import {
  type Delivery,
  failureOf,
  failureOfAll,
  forEachDelivery,
  hasFailure,
  type MailboxOptions,
  planDeliveries,
  Underway,
} from "./keeping.ts";
import { noteOrigin } from "./origin.ts";
import type { MessageStore, SaveOptions } from "./store.ts";
import { hostName, safeHost, uniqueName } from "./unique_name.ts";

/** Options of {@linkcode MaildirStore}. */
export interface MaildirStoreOptions extends MailboxOptions {
  /** The folder of the Maildirs, each named after its address; made where missing. */
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
  readonly newline?: Newline | undefined;
  /**
   * Whether a message is on the disk before it counts as kept. Without it a
   * crash may lose mail that the client was told is safe: for tests.
   *
   * @default {true}
   */
  readonly sync?: boolean | undefined;
  /** The host's name in file names; this machine's when not given. */
  readonly hostname?: string | undefined;
}

/** Mailboxes known to be there: enough to spare most messages the look. */
const MAX_KNOWN = 10_000;

/** Where one mailbox's copy is on its way. */
interface Copy {
  readonly temporary: string;
  readonly final: string;
  placed: boolean;
}

/**
 * Keeps one Maildir a recipient. File names tell the size (`,S=`) and, where
 * line ends were turned into LF, the size with CRLF (`,W=`), which spares
 * Dovecot the reading.
 *
 * All copies of a message are written and synced before the first is shown, so
 * that a failure leaves none. Requires `allow-read` and `allow-write`, and
 * `allow-sys=hostname` unless `hostname` is given.
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
  readonly #known = new Set<string>();
  readonly #underway = new Underway();

  /**
   * Makes a store; touches nothing until the first message.
   *
   * @param options Where messages go, and in which form
   */
  constructor(options: MaildirStoreOptions) {
    const { newline = "lf", returnPath = true, sync = true } = options;
    this.#folder = resolve(options.folder);
    this.#mailboxes = options;
    this.#content = { newline, returnPath, mbox: false };
    this.#sync = sync;
    this.#hostname = options.hostname === undefined
      ? hostName()
      : safeHost(options.hostname);
    noteOrigin(this, { ...options, folder: this.#folder });
  }

  /**
   * Puts a copy into the Maildir of each recipient; recipients of one Maildir
   * share a copy.
   *
   * @throws {StoreError} If some recipients' copies could not be kept
   */
  save(message: Message, options: SaveOptions): Promise<void> {
    return this.#underway.track(this.#save(message, options.partial));
  }

  async #save(message: Message, partial: boolean): Promise<void> {
    const content = new MessageContent(message, this.#content);
    const deliveries = planDeliveries(message.recipients, this.#mailboxes);
    const copies = new Map<Delivery, Copy>();
    const steps: readonly ((delivery: Delivery) => Promise<void>)[] = [
      async (delivery) => {
        copies.set(delivery, await this.#write(delivery.mailbox, content));
      },
      (delivery) => this.#place(copies.get(delivery)!),
      (delivery) => this.#settle(delivery.mailbox),
    ];
    for (const step of steps) {
      await forEachDelivery(deliveries, step);
      if (partial || !hasFailure(deliveries)) continue;
      await Promise.all([...copies.values()].map(withdraw));
      throw failureOfAll(message, deliveries);
    }
    const failure = failureOf(message, deliveries);
    if (failure === undefined) return;
    for (const [delivery, copy] of copies) {
      if (delivery.failure !== undefined) await withdraw(copy);
    }
    throw failure;
  }

  /** Writes one copy into `tmp`, synced. */
  async #write(mailbox: string, content: MessageContent): Promise<Copy> {
    const root = join(this.#folder, mailbox);
    const name = uniqueName(this.#hostname);
    const temporary = join(root, "tmp", name);
    const options = { sync: this.#sync };
    const known = this.#known.has(mailbox);
    if (!known) await this.#prepare(mailbox, root);
    let size;
    try {
      size = await writeNewFile(temporary, content, options);
    } catch (error) {
      if (!known || !(error instanceof Deno.errors.NotFound)) throw error;
      // It has been there, and somebody has removed it since.
      await this.#prepare(mailbox, root);
      size = await writeNewFile(temporary, content, options);
    }
    const virtual = size.virtualSize === undefined
      ? ""
      : `,W=${size.virtualSize}`;
    const final = join(root, "new", `${name},S=${size.size}${virtual}`);
    return { temporary, final, placed: false };
  }

  /** Makes the Maildir where it is missing, and refuses what only looks like one. */
  async #prepare(mailbox: string, root: string): Promise<void> {
    const options = { sync: this.#sync };
    for (const part of ["", "tmp", "new", "cur"]) {
      const path = join(root, part);
      if (await requireKind(path, "folder")) continue;
      await makeFolder(path, options);
      await requireKind(path, "folder");
    }
    if (this.#known.size >= MAX_KNOWN) {
      for (const oldest of this.#known) {
        this.#known.delete(oldest);
        break;
      }
    }
    this.#known.add(mailbox);
  }

  async #place(copy: Copy): Promise<void> {
    await Deno.rename(copy.temporary, copy.final);
    copy.placed = true;
  }

  async #settle(mailbox: string): Promise<void> {
    if (this.#sync) await syncFolder(join(this.#folder, mailbox, "new"));
  }

  /** Waits for what is being saved. */
  close(): Promise<void> {
    return this.#underway.settled();
  }
}

/** Removes a copy wherever it is; one that its reader has moved already stays. */
async function withdraw(copy: Copy): Promise<void> {
  await Deno.remove(copy.placed ? copy.final : copy.temporary).catch(() => {});
}
