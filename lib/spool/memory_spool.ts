/**
 * A spool in memory: for tests, and for programs that prefer losing mail to
 * using the disk. Its messages end with the process.
 */

import type { Login } from "../client/next_hop.ts";
import { checkOptions, number, type Rules } from "../options.ts";
import { applyChange, type SpoolChange, type SpoolEntry } from "./envelope.ts";
import { isSpoolId } from "./record.ts";
import {
  firstProgress,
  type Spool,
  type SpoolAddition,
  SpoolError,
  type SpoolProblem,
} from "./spool.ts";

const RULES: Rules<{ capacity: unknown }> = { capacity: number() };

interface Kept {
  readonly login: Login | undefined;
  readonly content: readonly Uint8Array<ArrayBuffer>[];
  readonly size: number;
}

/**
 * A spool that stores everything in memory. Its messages end with the process.
 *
 * @example An empty spool
 * ```ts
 * import { MemorySpool } from "@smtp/server/queue";
 *
 * await using spool = new MemorySpool({ capacity: 1024 * 1024 });
 * console.assert((await spool.open()).length === 0);
 * ```
 */
export class MemorySpool implements Spool {
  /** The kind of spool, for logs. */
  readonly kind: string = "memory";
  readonly #capacity: number;
  readonly #entries = new Map<string, SpoolEntry>();
  readonly #kept = new Map<string, Kept>();
  #used = 0;

  /**
   * Makes an empty spool.
   *
   * @param options Its capacity
   */
  constructor(
    options: {
      /**
       * Limit of content, in bytes; beyond it the spool is full, as a disk would be.
       *
       * @default {67108864}
       */
      readonly capacity?: number;
    } = {},
  ) {
    checkOptions("MemorySpool", options, RULES);
    this.#capacity = options.capacity ?? 64 * 1024 * 1024;
  }

  /** All messages, oldest first. */
  get entries(): ReadonlyMap<string, SpoolEntry> {
    return this.#entries;
  }

  /** Returns no problems; messages from before a close are still there. */
  open(): Promise<readonly SpoolProblem[]> {
    return Promise.resolve([]);
  }

  /**
   * Adds a message.
   *
   * @throws {SpoolError} If the spool is full
   * @throws {TypeError} If its name is invalid or taken
   */
  async add(message: SpoolAddition): Promise<SpoolEntry> {
    const { envelope, login } = message;
    const { id, size } = envelope;
    if (!isSpoolId(id) || this.#kept.has(id)) {
      throw new TypeError(
        `Cannot add message "${id}": want a name of letters, digits and "-" that is not taken`,
      );
    }
    if (this.#used + size > this.#capacity) {
      throw new SpoolError(
        `Cannot keep message "${id}" of ${size} bytes: ${this.#used} of ${this.#capacity} in use`,
      );
    }
    this.#used += size;
    const content: Uint8Array<ArrayBuffer>[] = [];
    this.#kept.set(id, { login, content, size });
    try {
      let found = 0;
      for await (const chunk of message.content) {
        content.push(chunk.slice());
        found += chunk.length;
      }
      if (found !== size) {
        throw new RangeError(
          `Cannot keep content of ${found} bytes: want the ${size} of the envelope`,
        );
      }
    } catch (cause) {
      this.#drop(id);
      throw new SpoolError(`Cannot keep message "${id}"`, { cause });
    }
    const entry: SpoolEntry = { envelope, progress: firstProgress(message) };
    this.#entries.set(id, entry);
    return entry;
  }

  /** Applies a change. */
  change(id: string, change: SpoolChange): Promise<void> {
    const entry = this.#entries.get(id);
    if (entry !== undefined) applyChange(entry.progress, change);
    return Promise.resolve();
  }

  /** Removes a message. */
  remove(id: string): Promise<void> {
    if (this.#entries.delete(id)) this.#drop(id);
    return Promise.resolve();
  }

  #drop(id: string): void {
    this.#used -= this.#kept.get(id)?.size ?? 0;
    this.#kept.delete(id);
  }

  /** The login that came with the message. */
  login(id: string): Promise<Login | undefined> {
    return Promise.resolve(this.#kept.get(id)?.login);
  }

  /**
   * The content, from the beginning.
   *
   * @throws {SpoolError} If there is no such message
   */
  async *content(id: string): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const kept = this.#kept.get(id);
    if (kept === undefined) {
      throw new SpoolError(`Cannot read message "${id}": it is not there`);
    }
    for (const chunk of kept.content) yield await Promise.resolve(chunk);
  }

  /** Does nothing: the messages stay, and a queue may open the spool again. */
  close(): Promise<void> {
    return Promise.resolve();
  }

  /** Same as {@linkcode MemorySpool.close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
