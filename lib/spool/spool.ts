/**
 * The interface of a spool, behind which the queue stores messages safely. It
 * defines what must be durable when, and says nothing of files: a log with group
 * commit, a database or plain memory can implement it. Also defines what an
 * action from outside the process means for a message, for the running queue
 * and for the command line beside a stopped one. Pure.
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
 * Stores the messages of a queue. One owner at a time.
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
  /** The kind of spool, for logs: `"file"`. */
  readonly kind: string;
  /** All messages, oldest first as far as the order is known. Complete after {@linkcode Spool.open}. */
  readonly entries: ReadonlyMap<string, SpoolEntry>;
  /**
   * Takes ownership and recovers what a crash left behind. Incomplete data is set
   * aside and reported, never guessed.
   *
   * @returns The problems found
   * @throws {SpoolError} If another process owns the spool, or it cannot be read
   */
  open(): Promise<readonly SpoolProblem[]>;
  /**
   * Adds a message. Resolves when it is durable: from then on it will be in
   * {@linkcode Spool.entries} after any crash.
   *
   * @throws {SpoolError} If it could not be stored; no trace of it remains then
   */
  add(message: SpoolAddition): Promise<SpoolEntry>;
  /**
   * Applies a change: in {@linkcode Spool.entries} at once, durable when it
   * resolves. If the disk refuses the write, it waits until the disk accepts it,
   * so that no result is lost while the process lives.
   */
  change(id: string, change: SpoolChange): Promise<void>;
  /** Removes a message for good. Resolves when no crash can bring it back. */
  remove(id: string): Promise<void>;
  /** The login at the next hop that came with the message. */
  login(id: string): Promise<Login | undefined>;
  /** The content, in order. Each call starts at the beginning. */
  content(id: string): AsyncGenerator<Uint8Array<ArrayBuffer>>;
  /** The requests from outside the process that are not done yet, in order. */
  requests?(): Promise<readonly SpoolRequest[]>;
  /**
   * Writes pending changes and releases the spool. Releases it even if the disk
   * refuses writes, and does not wait for a disk that does not answer. A change
   * that could not be written rejects for its caller. Idempotent.
   *
   * @throws {SpoolError} If something could not be written
   */
  close(): Promise<void>;
}

/** Rule for a {@linkcode Spool} inside other options. */
export const SPOOL_RULE: Rule = having(
  'a spool, as new FileSpool("./spool")',
  "open",
  "add",
  "change",
  "remove",
  "content",
  "close",
);

/**
 * A message to be added.
 *
 * @example The life of a message in a spool
 * ```ts
 * import {
 *   type EnvelopeOptions,
 *   type EnvelopeRecipient,
 *   MemorySpool,
 *   type Progress,
 *   type RecipientProgress,
 *   type RecipientResult,
 *   type RecipientStatus,
 *   type SpoolAddition,
 *   type SpoolChange,
 *   type SpoolEntry,
 *   type StoredEnvelope,
 * } from "@smtp/server/queue";
 *
 * const content = new TextEncoder().encode("Subject: hello\r\n\r\n");
 * const bob: EnvelopeRecipient = { address: "bob@example.org", parameters: {} };
 * const options: EnvelopeOptions = { schedule: "1m 1h" };
 * const envelope: StoredEnvelope = {
 *   ...{ id: "a1", from: "ann@example.com", parameters: {}, options },
 *   ...{ recipients: [bob], size: content.length, acceptedAt: Date.now() },
 * };
 * const message: SpoolAddition = {
 *   envelope,
 *   content: ReadableStream.from([content]),
 * };
 *
 * await using spool = new MemorySpool();
 * await spool.open();
 * const entry: SpoolEntry = await spool.add(message);
 * const progress: Progress = entry.progress;
 * const status: RecipientStatus = "delivered";
 * const result: RecipientResult = { index: 0, status, attempts: 1, nextTryAt: 0 };
 * const change: SpoolChange = { kind: "result", results: [result] };
 * await spool.change(envelope.id, change);
 * const isOver = ({ status }: RecipientProgress) => status !== "pending";
 * if (progress.recipients.every(isOver)) await spool.remove(envelope.id);
 * console.assert(spool.entries.size === 0);
 * ```
 */
export interface SpoolAddition {
  /** The envelope; its `size` is the bytes of the content. */
  readonly envelope: StoredEnvelope;
  /** The login at the next hop. */
  readonly login?: Login | undefined;
  /** A JSON value that the program stores with the message. */
  readonly tag?: unknown;
  /** Whether the message starts held. */
  readonly held?: boolean;
  /** The content. */
  readonly content: AsyncIterable<Uint8Array>;
}

/** The initial progress of a message to be added. */
export function firstProgress(message: SpoolAddition): Progress {
  const progress = initialProgress(message.envelope);
  progress.held = message.held ?? false;
  progress.tag = message.tag;
  return progress;
}

/** A problem found in the spool. */
export interface SpoolProblem {
  /** The file or message concerned. */
  readonly name: string;
  /** What is wrong, and how it was handled. */
  readonly reason: string;
  /**
   * The lost messages whose envelope could be read. The queue reports the loss to
   * their senders.
   *
   * @default {[]}
   */
  readonly lost?: readonly SpoolEntry[];
}

/**
 * The spool cannot do what was asked: disk full, no permission, in use. In a
 * session it is the reply 452 4.3.1, so that the client tries again.
 *
 * @example The client's reply
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
  /** What failed, for the operator. The client gets the reply instead. */
  override readonly message: string;
  /** Whether another owner has the spool. */
  readonly isInUse: boolean;
  /** Whether stored data of a message is damaged. */
  readonly isDamaged: boolean;

  /**
   * Makes the error.
   *
   * @param message What failed, for the operator; the client never sees it
   * @param options The cause, and whether it is another owner or damage
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
   * Whether stored data of a message is damaged: reading it again does not help,
   * and the queue returns the message to its sender.
   *
   * @default {false}
   */
  readonly isDamaged?: boolean;
}

/**
 * An action requested from outside the process.
 *
 * @example Ask a spool from outside, and answer
 * ```ts
 * import {
 *   controlSpool,
 *   FileSpool,
 *   type FileSpoolOptions,
 *   type SpoolAction,
 *   type SpoolProblem,
 *   type SpoolRequest,
 * } from "@smtp/server/queue";
 *
 * const folder = await Deno.makeTempDir();
 * const options: FileSpoolOptions = { onTrouble: (error) => console.warn(error) };
 * const line = ({ name, reason }: SpoolProblem) => `${name}: ${reason}`;
 * await using spool = new FileSpool(folder, options);
 * for (const problem of await spool.open()) console.log(line(problem));
 *
 * const action: SpoolAction = "retry";
 * const outcome = await controlSpool(folder, { action, id: "all" });
 * console.assert(outcome === "unknown");
 * const requests: readonly SpoolRequest[] = await spool.requests();
 * for (const request of requests) await request.done();
 * ```
 */
export interface SpoolRequest {
  /** The action. */
  readonly action: SpoolAction;
  /** The message's name, or `"all"`. */
  readonly id: string;
  /** To be called when the action is done; otherwise the request comes again. */
  done(): Promise<void>;
}

/** The actions that can be requested for a message. */
export type SpoolAction = "retry" | "hold" | "release" | "remove";

/**
 * The changes that an action means for a message. A retry of one named message
 * also lifts its hold; a retry of all does not: `retry all` is not a release.
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
