/**
 * How full a Maildir is: the file `maildirsize` of Maildir++, which all programs
 * that use the Maildir share. Owns its format, when it is made again, and the room
 * that is promised to copies on their way.
 *
 * The first line is the quota, as `1000000S,1000C`; each further line is a change
 * of bytes and messages. Messages in the folder Trash, and those that are marked
 * as deleted, do not count. The file is made again from the folders where it is
 * missing, cannot be read, has another quota, or has 5120 bytes; and, before mail
 * is refused, if it has more than one change or is 15 minutes old.
 *
 * Takes no lock that other programs see, as the format wants it: several of them
 * may together go over a quota a little. Within this thread that cannot happen.
 * Never writes through a symbolic link, nor to another user's file.
 *
 * {@link https://www.courier-mta.org/imap/README.maildirquota.html | Maildir++}
 */

import { join } from "node:path";
import { isSameFile, writeAll, writeNewFile } from "../files/durable.ts";
import { lookAt, type MailboxOwners, requireTrusted } from "../files/trust.ts";
import {
  anything,
  object,
  optionError,
  type Rule,
  type Rules,
  whole,
} from "../options.ts";
import type { Address } from "../protocol/address.ts";
import { replies } from "../protocol/replies.ts";
import { SmtpError } from "../protocol/reply.ts";
import { uniqueName } from "./unique_name.ts";

/**
 * What a mailbox may hold, all its folders together.
 *
 * @example More room for one mailbox, and none without end
 * ```ts
 * import {
 *   type MailboxQuota,
 *   MaildirStore,
 *   type QuotaOption,
 * } from "@smtp/server/store";
 *
 * const usual: MailboxQuota = { bytes: 1_000_000_000, messages: 100_000 };
 * const quota: QuotaOption = ({ localPart }) =>
 *   localPart === "archive" ? 50_000_000_000 : usual;
 * const store = new MaildirStore({ folder: "./mail", quota });
 * console.assert(store.hasRoom !== undefined);
 * ```
 */
export interface MailboxQuota {
  /**
   * Bytes of all messages as they are stored; 0 for no limit.
   *
   * @default {0}
   */
  readonly bytes?: number | undefined;
  /**
   * Number of messages; 0 for no limit.
   *
   * @default {0}
   */
  readonly messages?: number | undefined;
}

/** The quota of all mailboxes, or a function that gives that of an address. */
export type QuotaOption =
  | number
  | MailboxQuota
  | ((
    address: Address,
  ) =>
    | number
    | MailboxQuota
    | undefined
    | Promise<number | MailboxQuota | undefined>);

const RULES: Rules<MailboxQuota> = { bytes: whole(), messages: whole() };
const WANT =
  "bytes, as 1_000_000_000, { bytes, messages }, or a function that gives an address its quota";
const OBJECT_RULE = object(RULES, "{ bytes: 1_000_000_000, messages: 10_000 }");

/** The rule for a store's option `quota`. */
export const QUOTA_RULE: Rule = {
  want: WANT,
  check(value, at) {
    if (typeof value === "function") return anything.check(value, at);
    if (typeof value === "number") return whole().check(value, at);
    if (typeof value !== "object" || value === null) {
      throw optionError(at, value, { want: WANT });
    }
    OBJECT_RULE.check(value, at);
  },
};

/** What a Maildir holds, or may hold; 0 stands for no limit. */
interface Amount {
  readonly bytes: number;
  readonly messages: number;
}

/** Room that a copy on its way has been promised. */
export interface Reservation {
  /** Folder of the Maildir. */
  readonly root: string;
  /** Bytes of the copy. */
  readonly size: number;
  /** `counted`: the copy is in `maildirsize`; `over`: it is stored and counted, or gone. */
  state: "reserved" | "counted" | "over";
}

/** Options of {@linkcode MaildirQuota}. */
export interface MaildirQuotaOptions {
  readonly quota: QuotaOption;
  /** The store's folder, and whose files in it are trusted. */
  readonly folder: string;
  readonly owners: MailboxOwners | undefined;
}

/** The name of the file. */
const FILE = "maildirsize";
/** A file of this size is made again, in bytes. */
const MOST_BYTES = 5120;
/** A file of this age is not believed when it says that the Maildir is full, in ms. */
const STALE_MS = 15 * 60 * 1000;
/** How often a recalculation begins again because the Maildir has changed meanwhile. */
const TRIES = 3;
const NONE: Amount = { bytes: 0, messages: 0 };

/** The quotas of a store's Maildirs. */
export class MaildirQuota {
  readonly #options: MaildirQuotaOptions;
  /** By Maildir: the room promised to copies that are not counted yet. */
  readonly #reserved = new Map<string, Amount>();
  /** By Maildir: settles when all work on its file so far is done. */
  readonly #queues = new Map<string, Promise<void>>();

  constructor(options: MaildirQuotaOptions) {
    this.#options = options;
  }

  /**
   * Whether a message of so many bytes has room now. Promises nothing, and never
   * rejects: of a fault the delivery itself will tell.
   */
  async hasRoom(
    root: string,
    { address, size }: { readonly address: Address; readonly size: number },
  ): Promise<boolean> {
    try {
      const limits = await this.#limits(address);
      if (limits === undefined) return true;
      if (isOver({ bytes: size, messages: 1 }, limits)) return false;
      return await this.#exclusive(root, async () => {
        const more = { bytes: Math.max(1, size), messages: 1 };
        return await this.#fits(root, limits, more);
      });
    } catch {
      return true;
    }
  }

  /**
   * Promises a copy its room; `undefined` if its mailbox has no quota. The caller
   * ends the promise by {@linkcode MaildirQuota.settle}.
   *
   * @throws {SmtpError} 452 4.2.2 if the Maildir is full, 552 5.2.2 if the copy alone is larger than the quota
   */
  async reserve(
    root: string,
    { address, size }: { readonly address: Address; readonly size: number },
  ): Promise<Reservation | undefined> {
    const limits = await this.#limits(address);
    if (limits === undefined) return undefined;
    const more = { bytes: size, messages: 1 };
    if (isOver({ bytes: size, messages: 0 }, limits)) {
      throw new SmtpError(replies.overQuota);
    }
    return await this.#exclusive(root, async () => {
      if (!await this.#fits(root, limits, more)) {
        throw new SmtpError(replies.mailboxFull);
      }
      this.#promise(root, more);
      return { root, size, state: "reserved" };
    });
  }

  /** Runs `place`, which makes the copy visible, and counts the copy. */
  async count(
    reservation: Reservation,
    place: () => Promise<void>,
  ): Promise<void> {
    const { root, size } = reservation;
    await this.#exclusive(root, async () => {
      await place();
      reservation.state = "counted";
      this.#promise(root, { bytes: -size, messages: -1 });
      await this.#append(root, `${size} 1\n`);
    });
  }

  /** Ends a promise. A copy that was counted and is not `kept` is taken out of the count. */
  async settle(
    reservation: Reservation,
    { kept }: { readonly kept: boolean },
  ): Promise<void> {
    const { root, size, state } = reservation;
    reservation.state = "over";
    if (state === "reserved") {
      this.#promise(root, { bytes: -size, messages: -1 });
    } else if (state === "counted" && !kept) {
      await this.#exclusive(root, () => this.#append(root, `${-size} -1\n`));
    }
  }

  async #limits(address: Address): Promise<Amount | undefined> {
    const { quota } = this.#options;
    const found = typeof quota === "function" ? await quota(address) : quota;
    if (found === undefined) return undefined;
    if (found !== quota) {
      QUOTA_RULE.check(found, {
        ...{ path: "quota", of: "MaildirStore", secret: false },
      });
    }
    const { bytes = 0, messages = 0 } = typeof found === "number"
      ? { bytes: found }
      : found;
    return bytes === 0 && messages === 0 ? undefined : { bytes, messages };
  }

  #promise(root: string, more: Amount): void {
    const sum = plus(this.#reserved.get(root) ?? NONE, more);
    if (sum.messages === 0) this.#reserved.delete(root);
    else this.#reserved.set(root, sum);
  }

  /** Runs work on the file of a Maildir, after all that was asked for before. */
  async #exclusive<T>(root: string, work: () => Promise<T>): Promise<T> {
    const before = this.#queues.get(root);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#queues.set(root, promise);
    await before;
    try {
      return await work();
    } finally {
      resolve();
      if (this.#queues.get(root) === promise) this.#queues.delete(root);
    }
  }

  /** Whether so much more fits. Believes the file if it says so, and often if it does not. */
  async #fits(root: string, limits: Amount, more: Amount): Promise<boolean> {
    const promised = plus(this.#reserved.get(root) ?? NONE, more);
    const known = await this.#read(root, limits);
    if (known !== undefined) {
      if (!isOver(plus(known.used, promised), limits)) return true;
      if (!known.mayBeWrong) return false;
    }
    const used = await this.#recalculate(root, limits);
    return !isOver(plus(used, promised), limits);
  }

  /** Opens the file of a Maildir; `undefined` if it has no such file, or loses it. */
  async #open(
    root: string,
    options: Deno.OpenOptions,
  ): Promise<Deno.FsFile | undefined> {
    const path = join(root, FILE);
    const info = await lookAt(path, "file", `use "${path}"`);
    if (info === undefined) return undefined;
    const { folder, owners } = this.#options;
    await requireTrusted(path, info, { folder, owners });
    let file: Deno.FsFile;
    try {
      file = await Deno.open(path, options);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
    // Danger: another file may have taken its place after the look. A symbolic
    // link would lead the next write out of the Maildir.
    if (await isSameFile(file, path)) return file;
    file.close();
    return undefined;
  }

  /** What the file says; `undefined` if it must be made again. */
  async #read(
    root: string,
    limits: Amount,
  ): Promise<
    { readonly used: Amount; readonly mayBeWrong: boolean } | undefined
  > {
    using file = await this.#open(root, { read: true });
    if (file === undefined) return undefined;
    const buffer = new Uint8Array(MOST_BYTES);
    let size = 0;
    while (size < MOST_BYTES) {
      const count = await file.read(buffer.subarray(size));
      if (count === null) break;
      size += count;
    }
    if (size >= MOST_BYTES) return undefined;
    const parsed = parse(new TextDecoder().decode(buffer.subarray(0, size)));
    if (
      parsed === undefined || parsed.limits.bytes !== limits.bytes ||
      parsed.limits.messages !== limits.messages
    ) return undefined;
    const { mtime } = await file.stat();
    const isStale = mtime === null || Date.now() - mtime.getTime() >= STALE_MS;
    return { used: parsed.used, mayBeWrong: parsed.changes > 1 || isStale };
  }

  /** Appends a change. A file that cannot be changed goes: the next delivery makes it again. */
  async #append(root: string, line: string): Promise<void> {
    try {
      using file = await this.#open(root, { read: true, append: true });
      if (file === undefined) return;
      await writeAll(file, new TextEncoder().encode(line));
    } catch {
      await Deno.remove(join(root, FILE)).catch(() => {});
    }
  }

  /** Adds up all messages of the Maildir, and makes the file again. */
  async #recalculate(root: string, limits: Amount): Promise<Amount> {
    for (let tries = 1;; tries++) {
      const { used, latest, folders } = await sumUp(root);
      if (!await writeFile(root, { limits, used })) return used;
      const { latest: now } = await look(folders);
      if (now <= latest) return used;
      if (tries < TRIES) continue;
      await Deno.remove(join(root, FILE)).catch(() => {});
      return used;
    }
  }
}

function plus(one: Amount, other: Amount): Amount {
  return {
    bytes: one.bytes + other.bytes,
    messages: one.messages + other.messages,
  };
}

function isOver({ bytes, messages }: Amount, limits: Amount): boolean {
  return (limits.bytes > 0 && bytes > limits.bytes) ||
    (limits.messages > 0 && messages > limits.messages);
}

/** The quota as the first line has it. */
function formatLimits({ bytes, messages }: Amount): string {
  return [
    ...(bytes > 0 ? [`${bytes}S`] : []),
    ...(messages > 0 ? [`${messages}C`] : []),
  ].join(",");
}

/** Reads the text of the file; `undefined` if it is not of the form, or its sum is below 0. */
function parse(text: string): {
  readonly limits: Amount;
  readonly used: Amount;
  readonly changes: number;
} | undefined {
  const [first, ...rest] = text.split("\n");
  // An append that was cut short has no end of line.
  if (rest.pop() !== "" || rest.length === 0) return undefined;
  let limits = NONE;
  for (const part of first!.trim().split(",")) {
    const match = /^(\d{1,15})([SC])$/.exec(part);
    if (match === null) return undefined;
    const value = Number(match[1]);
    limits = match[2] === "S"
      ? { ...limits, bytes: value }
      : { ...limits, messages: value };
  }
  let used = NONE;
  for (const line of rest) {
    const match = /^\s*(-?\d{1,15})\s+(-?\d{1,15})\s*$/.exec(line);
    if (match === null) return undefined;
    used = plus(used, { bytes: Number(match[1]), messages: Number(match[2]) });
  }
  if (used.bytes < 0 || used.messages < 0) return undefined;
  return { limits, used, changes: rest.length };
}

/** Writes the file again; `false` if there is no Maildir, or it cannot be written. */
async function writeFile(
  root: string,
  { limits, used }: { readonly limits: Amount; readonly used: Amount },
): Promise<boolean> {
  const temporary = join(root, "tmp", `${uniqueName()}.${FILE}`);
  const text = `${formatLimits(limits)}\n${used.bytes} ${used.messages}\n`;
  try {
    // Not synced: what a crash leaves of it is made again.
    await writeNewFile(
      temporary,
      (file) => writeAll(file, new TextEncoder().encode(text)),
      { sync: false },
    );
  } catch {
    return false;
  }
  try {
    await Deno.rename(temporary, join(root, FILE));
    return true;
  } catch {
    await Deno.remove(temporary).catch(() => {});
    return false;
  }
}

/** The folders of a Maildir that have messages which count. */
async function messageFolders(root: string): Promise<string[]> {
  const roots = [root];
  for (const entry of await listed(root)) {
    const { name, isDirectory } = entry;
    if (isDirectory && name.startsWith(".") && name !== ".Trash") {
      roots.push(join(root, name));
    }
  }
  return roots.flatMap((one) => [join(one, "new"), join(one, "cur")]);
}

/** The time of the latest change of the folders, in ms. */
async function look(
  folders: readonly string[],
): Promise<{ readonly latest: number }> {
  let latest = 0;
  for (const folder of folders) {
    try {
      const { mtime } = await Deno.stat(folder);
      latest = Math.max(latest, mtime?.getTime() ?? 0);
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
  }
  return { latest };
}

/** Adds up the messages of a Maildir. */
async function sumUp(root: string): Promise<{
  readonly used: Amount;
  readonly latest: number;
  readonly folders: readonly string[];
}> {
  const folders = await messageFolders(root);
  const { latest } = await look(folders);
  let bytes = 0;
  let messages = 0;
  for (const folder of folders) {
    for (const { name } of await listed(folder)) {
      // A dot hides a file, and the flag T marks a message as deleted.
      if (name.startsWith(".") || /:2,[^,]*T[^,]*$/.test(name)) continue;
      const size = await sizeOf(folder, name);
      if (size === undefined) continue;
      bytes += size;
      messages++;
    }
  }
  return { used: { bytes, messages }, latest, folders };
}

/** The size of a message: its name has it, else the file is asked; `undefined` if it is gone. */
async function sizeOf(
  folder: string,
  name: string,
): Promise<number | undefined> {
  const match = /,S=(\d{1,15})(?:[:,]|$)/.exec(name);
  if (match !== null) return Number(match[1]);
  try {
    return (await Deno.lstat(join(folder, name))).size;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** The entries of a folder; none if it is missing. */
async function listed(folder: string): Promise<Deno.DirEntry[]> {
  try {
    return await Array.fromAsync(Deno.readDir(folder));
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound ||
    error instanceof Deno.errors.NotADirectory;
}
