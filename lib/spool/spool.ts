/**
 * What a spool is: the one interface behind which the queue keeps messages
 * safe. Says what must be durable when; says nothing of files, so that a log
 * with group commit, a database or plain memory can stand behind it. Says also
 * what an action from outside means for a message, for the running queue and
 * for the command line beside a stopped one. Pure.
 */

import type { Login } from "../client/next_hop.ts";
import { having, type Rule } from "../options.ts";
import { SmtpError } from "../protocol/reply.ts";
import {
  initialProgress,
  type Progress,
  type SpoolChange,
  type SpoolEntry,
  type StoredEnvelope,
} from "./envelope.ts";

/**
 * Keeps the messages of a queue. One owner at a time.
 *
 * @example A spool that keeps everything in memory
 * ```ts
 * import { MemorySpool, type Spool } from "@smtp/server/queue";
 *
 * const spool: Spool = new MemorySpool();
 * await spool.open();
 * console.assert(spool.entries.size === 0);
 * await spool.close();
 * ```
 */
export interface Spool extends AsyncDisposable {
  /** What it is, for logs: `"file"`. */
  readonly kind: string;
  /** All messages, oldest first as far as that is known. Complete after {@linkcode Spool.open}. */
  readonly entries: ReadonlyMap<string, SpoolEntry>;
  /**
   * Takes possession and recovers what a crash left behind. What was not whole
   * is set aside and reported, never guessed at.
   *
   * @returns What was found wrong
   * @throws {SpoolError} If another process has the spool, or it cannot be read
   */
  open(): Promise<readonly SpoolProblem[]>;
  /**
   * Takes a message. Resolves when it is safe: it will be in
   * {@linkcode Spool.entries} after any crash from here on.
   *
   * @throws {SpoolError} If it could not be kept; then there is no trace of it
   */
  add(message: SpoolAddition): Promise<SpoolEntry>;
  /**
   * Takes a step of progress: in {@linkcode Spool.entries} at once, durable
   * when it resolves. Where the disk refuses, it waits until the disk is well
   * again, so that no result is ever lost while the process lives.
   */
  change(id: string, change: SpoolChange): Promise<void>;
  /** Forgets a message for good. Resolves when no crash can bring it back. */
  remove(id: string): Promise<void>;
  /** The log-in for the next hop that came with the message. */
  login(id: string): Promise<Login | undefined>;
  /** The content in order. Each call begins at the beginning. */
  content(id: string): AsyncGenerator<Uint8Array<ArrayBuffer>>;
  /** What was asked from outside and is not done yet, in order. */
  requests?(): Promise<readonly SpoolRequest[]>;
  /**
   * Writes down what is left and gives the spool free, whatever the disk says:
   * does not wait for one that gives no answer. A step that could not be
   * written rejects for its caller. Idempotent.
   *
   * @throws {SpoolError} If something could not be written
   */
  close(): Promise<void>;
}

/** What a {@linkcode Spool} must be, inside other options. */
export const SPOOL_RULE: Rule = having(
  'a spool, as new FileSpool("./spool")',
  "open",
  "add",
  "change",
  "remove",
  "content",
  "close",
);

/** A message to be added. */
export interface SpoolAddition {
  /** The envelope; its `size` is the bytes of the content. */
  readonly envelope: StoredEnvelope;
  /** The log-in for the next hop. */
  readonly login?: Login | undefined;
  /** What the program keeps with the message: any JSON value. */
  readonly tag?: unknown;
  /** Whether it is to be held from the start. */
  readonly held?: boolean;
  /** The content. */
  readonly content: AsyncIterable<Uint8Array>;
}

/** The progress that a message to be added begins with. */
export function firstProgress(message: SpoolAddition): Progress {
  const progress = initialProgress(message.envelope);
  progress.held = message.held ?? false;
  progress.tag = message.tag;
  return progress;
}

/** Something in the spool that was not as it should be. */
export interface SpoolProblem {
  /** What it is about: a file name or a message's name. */
  readonly name: string;
  /** What is wrong, and what was done with it. */
  readonly reason: string;
  /**
   * Messages that are lost by it and whose envelope could be read: their senders
   * are to be told.
   *
   * @default {[]}
   */
  readonly lost?: readonly SpoolEntry[];
}

/**
 * The spool could not do what was asked: disk full, no permission, in use.
 * Thrown at a session it is the reply 452 4.3.1, so the client comes back.
 *
 * @example What the client is told
 * ```ts
 * import { SpoolError } from "@smtp/server/queue";
 *
 * const error = new SpoolError('Cannot write message "a1": disk full');
 * console.assert(error.reply.code === 452);
 * console.assert(error.reply.enhanced === "4.3.1");
 * ```
 */
export class SpoolError extends SmtpError {
  /** The class's name, `"SpoolError"`. */
  override readonly name: string = "SpoolError";
  /** What could not be done, for the operator. The client gets the reply instead. */
  override readonly message: string;
  /** Whether another owner has the spool. */
  readonly isInUse: boolean;
  /** Whether what is stored of a message is not whole any more. */
  readonly isDamaged: boolean;

  /**
   * Makes the error.
   *
   * @param message What could not be done; for the operator, the client never sees it
   * @param options The cause, and whether another owner or damage is it
   */
  constructor(message: string, options: SpoolErrorOptions = {}) {
    super(452, "Insufficient system storage", {
      ...options,
      enhanced: "4.3.1",
    });
    this.message = message;
    this.isInUse = options.isInUse ?? false;
    this.isDamaged = options.isDamaged ?? false;
  }
}

/** Options of {@linkcode SpoolError}. */
export interface SpoolErrorOptions extends ErrorOptions {
  /**
   * Whether another owner has the spool.
   *
   * @default {false}
   */
  readonly isInUse?: boolean;
  /**
   * Whether what is stored of a message is not whole any more: reading it
   * again will not help, and its sender is told.
   *
   * @default {false}
   */
  readonly isDamaged?: boolean;
}

/** An action that was asked for from outside the process. */
export interface SpoolRequest {
  /** What to do. */
  readonly action: SpoolAction;
  /** The message's name, or `"all"`. */
  readonly id: string;
  /** To be called when it is done; a request that is not done comes again. */
  done(): Promise<void>;
}

/** What can be done to a message from outside. */
export type SpoolAction = "retry" | "hold" | "release" | "remove";

/**
 * The steps of progress that an action means for a message. A retry lifts the
 * hold of a message that is named, but not of all: `retry all` is no release.
 */
export function changesFor(
  entry: SpoolEntry,
  action: Exclude<SpoolAction, "remove">,
  circumstances: { readonly now: number; readonly isAll: boolean },
): readonly SpoolChange[] {
  const { held } = entry.progress;
  if (action === "hold") return held ? [] : [{ kind: "hold", held: true }];
  const release: readonly SpoolChange[] = held
    ? [{ kind: "hold", held: false }]
    : [];
  if (action === "release") return release;
  if (held && circumstances.isAll) return [];
  return [...release, { kind: "retry", at: circumstances.now }];
}
