/**
 * Decides how much each user that has logged in may send, and owns these counts.
 * It makes no reply and looks at no bytes. Each thread has a
 * {@linkcode UserLimiter} of its own on the same memory.
 *
 * A count of a minute is of attempts: it is never taken back, and so bounds what
 * a user costs. A count of a day is of accepted mail: what is reserved at MAIL and
 * RCPT is given back if the message is not accepted. A thread that ends in the
 * middle gives nothing back.
 *
 * Also puts the counts of the day into text and takes them from it, for a file
 * that survives a restart. That text has digests in place of names, and ages in
 * place of times: while a server runs, no clock of the machine counts. Between two
 * runs the time of day tells how much older the counts are. Set back it makes
 * them no older, set forward it may end them; none lasts for longer than a day of
 * a running server.
 */

import { encodeUtf8 } from "../sasl/encoding.ts";
import { countedAccount } from "../sasl/accounts.ts";
import { hmac } from "../sasl/digest.ts";
import type { Limits } from "./limit_options.ts";
import { USER_LIMITS, type UserLimitName } from "./user_limit_options.ts";
import {
  type DayCounts,
  HOUR,
  type HourCounts,
  HOURS,
  MINUTE_FIELD,
  SECRET_LENGTH,
  type UserKey,
  UserTable,
} from "./user_table.ts";

/** A limit that refuses something to a user. */
export interface UserBreach {
  readonly limit: UserLimitName;
  /** The value of the limit. */
  readonly most: number;
  /** Whether it is the first refusal of this user by this limit in this minute. */
  readonly isFirst: boolean;
}

/** What a message has reserved: it counts until it is given back. */
export interface Reservation {
  readonly key: UserKey;
  /** The hour in which it counts. */
  readonly hour: number;
  recipients: number;
  bytes: number;
}

const LIMIT_NAMES = Object.keys(USER_LIMITS) as UserLimitName[];

/** The counts of one server. */
export class UserLimiter {
  readonly #source: { readonly limits: Limits };
  readonly #now: () => number;
  readonly #memory: SharedArrayBuffer | undefined;
  #lazyTable: UserTable | undefined;

  /**
   * @param source Holds the limits in force, which may be replaced at any time
   * @param options `now`: a monotonic time in ms from 0 on, the same on all
   * threads; `memory`: the counts, if other threads use them too
   */
  constructor(
    source: { readonly limits: Limits },
    options: {
      readonly now?: (() => number) | undefined;
      readonly memory?: SharedArrayBuffer | undefined;
    } = {},
  ) {
    this.#source = source;
    this.#now = options.now ?? (() => performance.now());
    this.#memory = options.memory;
  }

  /** Created on first use: a server without logins never needs it. */
  get #table(): UserTable {
    return this.#lazyTable ??= new UserTable(this.#memory);
  }

  /** Differs after a change of any count; 0 before the first. */
  get changes(): number {
    if (this.#memory === undefined && this.#lazyTable === undefined) return 0;
    return this.#table.changes;
  }

  #second(): number {
    return Math.floor(this.#now() / 1000);
  }

  /** The key under which a user is counted. */
  keyOf(username: string): UserKey {
    const digest = hmac("sha256", {
      key: this.#table.secret,
      data: encodeUtf8(countedAccount(username)),
    });
    return new Uint32Array(digest.buffer.slice(0, 16));
  }

  /** Reserves a message of `bytes`, or returns the limit that refuses it. */
  message(key: UserKey, bytes: number): UserBreach | Reservation {
    const { perUser } = this.#source.limits;
    const table = this.#table;
    const at = this.#lock(key);
    const day = table.day(at);
    const tried = table.get(at, MINUTE_FIELD.messages);
    const limit = isAt(perUser.messagesPerMinute, tried)
      ? "messagesPerMinute"
      : isAt(perUser.messagesPerDay, day.messages)
      ? "messagesPerDay"
      : isAt(perUser.bytesPerDay, day.bytes) ||
          isPast(perUser.bytesPerDay, day.bytes + bytes)
      ? "bytesPerDay"
      : undefined;
    const result = limit === undefined
      ? { key, hour: table.hour(at), recipients: 0, bytes }
      : this.#breach(at, limit);
    if (limit === undefined) {
      table.set(at, MINUTE_FIELD.messages, tried + 1);
      table.add(at, table.hour(at), { messages: 1, recipients: 0, bytes });
    }
    table.unlock();
    return result;
  }

  /** Reserves a recipient more, or returns the limit that refuses it. */
  recipient(reserved: Reservation): UserBreach | undefined {
    const { perUser } = this.#source.limits;
    const table = this.#table;
    const at = this.#lock(reserved.key);
    const tried = table.get(at, MINUTE_FIELD.recipients);
    const limit = isAt(perUser.recipientsPerMinute, tried)
      ? "recipientsPerMinute"
      : isAt(perUser.recipientsPerDay, table.day(at).recipients)
      ? "recipientsPerDay"
      : undefined;
    if (limit === undefined) {
      table.set(at, MINUTE_FIELD.recipients, tried + 1);
      table.add(at, reserved.hour, { messages: 0, recipients: 1, bytes: 0 });
      reserved.recipients++;
    }
    const breach = limit && this.#breach(at, limit);
    table.unlock();
    return breach;
  }

  /**
   * Puts the real size in place of the declared one, or returns the limit that
   * refuses the message.
   */
  size(reserved: Reservation, bytes: number): UserBreach | undefined {
    const { bytesPerDay } = this.#source.limits.perUser;
    const table = this.#table;
    const at = this.#lock(reserved.key);
    const more = bytes - reserved.bytes;
    const isRefused = more > 0 &&
      isPast(bytesPerDay, table.day(at).bytes + more);
    const breach = isRefused ? this.#breach(at, "bytesPerDay") : undefined;
    if (!isRefused) {
      table.add(at, reserved.hour, { messages: 0, recipients: 0, bytes: more });
      reserved.bytes = bytes;
    }
    table.unlock();
    return breach;
  }

  /** Takes off a recipient that was not accepted. */
  giveBackRecipient(reserved: Reservation): void {
    if (reserved.recipients === 0) return;
    reserved.recipients--;
    this.#takeOff(reserved, { messages: 0, recipients: 1, bytes: 0 });
  }

  /** Takes off a message that was not accepted. */
  giveBack(reserved: Reservation): void {
    const { recipients, bytes } = reserved;
    this.#takeOff(reserved, { messages: 1, recipients, bytes });
  }

  #takeOff(
    { key, hour }: Reservation,
    { messages, recipients, bytes }: DayCounts,
  ): void {
    const table = this.#table;
    table.lock();
    const at = table.find(key, this.#second());
    if (at !== undefined) {
      table.add(at, hour, {
        messages: -messages,
        recipients: -recipients,
        bytes: -bytes,
      });
    }
    table.unlock();
  }

  /** Locks the table and returns the entry of a user. */
  #lock(key: UserKey): number {
    this.#table.lock();
    return this.#table.take(key, this.#second());
  }

  #breach(at: number, limit: UserLimitName): UserBreach {
    const bit = 1 << LIMIT_NAMES.indexOf(limit);
    const reported = this.#table.get(at, MINUTE_FIELD.reported);
    this.#table.set(at, MINUTE_FIELD.reported, reported | bit);
    const most = this.#source.limits.perUser[limit];
    return { limit, most, isFirst: (reported & bit) === 0 };
  }

  /**
   * The counts of the day as lines of text; {@linkcode UserLimiter.restore} reads
   * them.
   *
   * @param time The time of day, in ms since 1970
   */
  *lines(time: number): Generator<string> {
    const table = this.#table;
    const second = table.secondOfHour(this.#second());
    yield `${TITLE} ${time} ${second} ${hex(table.secret)}\n`;
    let count = 0;
    for (let at = 0; at < table.size; at++) {
      table.lock();
      const { key, hours } = table.row(at, this.#second());
      table.unlock();
      if (hours.length === 0) continue;
      count++;
      yield `${hex(new Uint8Array(key.buffer))} ${
        hours.map(formatHour).join(" ")
      }\n`;
    }
    yield `end ${count}\n`;
  }

  /**
   * Takes over the counts of another run, before anything is counted.
   *
   * @param time The time of day, in ms since 1970
   * @throws {SyntaxError} If the text is not whole; then nothing is taken over
   */
  restore(text: string, time: number): void {
    const { secret, savedAt, second, users } = parseCounts(text);
    const table = this.#table;
    const passed = second + Math.max(0, Math.floor((time - savedAt) / 1000));
    const older = Math.floor(passed / HOUR);
    const now = this.#second();
    table.lock();
    // The hours go on where they were: a server that is often restarted forgets as well.
    table.begin(secret, (passed % HOUR) + HOUR - (now % HOUR));
    for (const { key, hours } of users) {
      const at = hours.some(({ age }) => age + older < HOURS)
        ? table.take(key, now)
        : undefined;
      if (at === undefined) continue;
      for (const { age, ...counts } of hours) {
        table.add(at, table.hour(at) - age - older, counts);
      }
    }
    table.unlock();
  }
}

/** Whether a count has reached its limit; 0 is no limit. */
function isAt(limit: number, count: number): boolean {
  return limit > 0 && count >= limit;
}

/** Whether a count is beyond its limit. */
function isPast(limit: number, count: number): boolean {
  return limit > 0 && count > limit;
}

/** The beginning of the text. */
const TITLE = "smtp-user-counts 1";
const TITLE_LINE = /^smtp-user-counts 1 (\d{1,15}) (\d{1,4}) ([\da-f]{64})$/;
const USER_LINE = /^([\da-f]{32})((?: \d{1,2}:\d{1,10}:\d{1,10}:\d{1,15})+)$/;

function formatHour(
  { age, messages, recipients, bytes }: HourCounts,
): string {
  return `${age}:${messages}:${recipients}:${bytes}`;
}

/** The counts in a text. */
interface SavedCounts {
  readonly secret: Uint8Array;
  readonly savedAt: number;
  /** Seconds since the hour began. */
  readonly second: number;
  readonly users: readonly {
    readonly key: UserKey;
    readonly hours: readonly HourCounts[];
  }[];
}

function parseCounts(text: string): SavedCounts {
  const lines = text.split("\n");
  const title = TITLE_LINE.exec(lines[0]!);
  const end = lines.length - 2;
  if (title === null) throw damaged(1);
  if (lines[end] !== `end ${end - 1}` || lines[end + 1] !== "") {
    throw damaged(end + 1);
  }
  const users = lines.slice(1, end).map((line, index) => {
    const match = USER_LINE.exec(line);
    if (match === null) throw damaged(index + 2);
    const hours = match[2]!.slice(1).split(" ").map((part) => {
      const [age, messages, recipients, bytes] = part.split(":").map(Number);
      return { age, messages, recipients, bytes } as HourCounts & DayCounts;
    });
    return { key: new Uint32Array(unhex(match[1]!).buffer), hours };
  });
  return {
    secret: unhex(title[3]!).subarray(0, SECRET_LENGTH),
    savedAt: Number(title[1]),
    second: Number(title[2]),
    users,
  };
}

function damaged(line: number): SyntaxError {
  return new SyntaxError(
    `Cannot read the counts of users: line ${line} is not as this server writes it`,
  );
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0"))
    .join("");
}

function unhex(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(
    text.match(/../g)!,
    (pair) => Number.parseInt(pair, 16),
  );
}
