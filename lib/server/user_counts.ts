/**
 * Keeps the counts of users over a restart: reads them from the spool folder at
 * the start, writes them once a second if they have changed, and at the stop. A
 * file that cannot be read or written is a log record and stops nothing: the
 * counts go on in memory.
 */

import { describeError, type Logger } from "../log.ts";
import type { UserLimiter } from "../session/user_limits.ts";
import { UserCountsFile } from "../spool/user_counts.ts";

/** Least time between two writes, in ms. */
const WRITE_MS = 1000;
/** How many times as long as a write the server does without one: a large file takes long. */
const REST = 50;

/** The counts of users on the disk. */
export class SavedUserCounts {
  readonly #users: UserLimiter;
  readonly #file: UserCountsFile;
  readonly #log: Logger;
  readonly #time: () => number;
  /** The state of the counts that the file has. */
  #saved = 0;
  #isRead = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #writing: Promise<void> | undefined;
  /** Whether the last write has failed; only the first of several is reported. */
  #hasFailed = false;

  /**
   * @param folder The spool folder
   * @param time The time of day, in ms since 1970
   */
  constructor(
    users: UserLimiter,
    init: {
      readonly folder: string;
      readonly log: Logger;
      readonly time?: (() => number) | undefined;
    },
  ) {
    this.#users = users;
    this.#file = new UserCountsFile(init.folder);
    this.#log = init.log;
    this.#time = init.time ?? Date.now;
  }

  /** Reads the file, once, and begins to write. The spool is open. Never rejects. */
  async start(): Promise<void> {
    if (!this.#isRead) await this.#read();
    this.#isRead = true;
    this.#saved = this.#users.changes;
    this.#wait(WRITE_MS);
  }

  async #read(): Promise<void> {
    try {
      const text = await this.#file.read();
      if (text !== undefined) this.#users.restore(text, this.#time());
    } catch (error) {
      this.#log({
        level: "warn",
        event: "warning",
        message:
          `Cannot take over the counts of users in "${this.#file.path}": they begin anew`,
        error: describeError(error),
      });
    }
  }

  #wait(ms: number): void {
    this.#timer = setTimeout(async () => {
      const since = performance.now();
      await this.#write();
      if (this.#timer === undefined) return;
      const took = performance.now() - since;
      this.#wait(Math.max(WRITE_MS, REST * took));
    }, ms);
  }

  #write(): Promise<void> {
    return this.#writing = this.#writeNow();
  }

  async #writeNow(): Promise<void> {
    const { changes } = this.#users;
    if (changes === this.#saved) return;
    try {
      await this.#file.write(this.#users.lines(this.#time()));
      this.#saved = changes;
      this.#hasFailed = false;
    } catch (error) {
      if (this.#hasFailed) return;
      this.#hasFailed = true;
      this.#log({
        level: "warn",
        event: "warning",
        message: `Cannot write the counts of users to "${this.#file.path}"`,
        error: describeError(error),
      });
    }
  }

  /** Writes the counts and ends. The spool is open still. Never rejects. */
  async stop(): Promise<void> {
    if (this.#timer === undefined) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    await this.#writing;
    await this.#write();
  }
}
