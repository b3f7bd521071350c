/**
 * The completion of a message: calls the program's hooks, sends the DSNs that
 * the sender is owed, and removes the message. Owns only the order of these
 * steps. It does not change the queue: it yields the steps for the queue to do.
 *
 * Danger: a crash may come between any two of them. A notice is safe in the
 * spool before the message is marked as reported, and that is safe before the
 * message is removed; so a crash repeats a notice at worst, and never loses one.
 */

import type { DsnSender } from "../dsn/sender.ts";
import {
  delayedRecipients,
  type DsnKind,
  hasOpenReports,
  openReports,
} from "../dsn/policy.ts";
import type { QueueConfig } from "./options.ts";
import { lossResults } from "./job_runner.ts";
import {
  logAction,
  logDelivery,
  logDsn,
  logFault,
  logSmallerDsn,
} from "./log.ts";
import type { RelayTasks } from "./relay.ts";
import { expiresAt, type RelayTask } from "./tasks.ts";
import { applyChange, type SpoolEntry } from "../spool/envelope.ts";

/** Milliseconds for which a DSN waits, so that it can report several recipients. */
const GATHER_MS = 60_000;
/**
 * Milliseconds in line after which a message is reported as delayed. A message
 * that is late because the queue did not run may be delivered in a moment.
 */
const STUCK_MS = 900_000;
/** Milliseconds until a failed completion is tried again. */
const RETRY_MS = 60_000;

/** Permanent failures that may be caused by the content, not by an address, mailbox or host. */
const MAY_BE_CONTENT = /^5\.(?:2\.3|3\.4|6|7)/;
/** Replies without such a status code that are often caused by the content. */
const CONTENT_REPLY = /^55[24][ -]/;

/** A step that the queue does for the completion of a message. */
export type CompletionStep =
  /** Deliver a DSN that is durable in the spool. */
  | { readonly kind: "admit"; readonly entry: SpoolEntry }
  /** Examine the message at a time, in milliseconds since 1970. */
  | { readonly kind: "wake"; readonly at: number }
  /** Compute the next try again: recipients are pending once more. */
  | { readonly kind: "reschedule" }
  /** Forget the message: it has left the spool. */
  | { readonly kind: "forget" };

/** Steps in the order in which the queue does them. */
export type CompletionSteps = AsyncGenerator<CompletionStep, void, void>;

/** The parts that a {@linkcode Completion} uses. */
export interface CompletionParts {
  /** Makes the DSNs. */
  readonly dsnSender: DsnSender;
  /** The messages in the queue. */
  readonly tasks: RelayTasks;
}

/** Completes messages: yields the queue's steps one by one. */
export class Completion {
  readonly #config: QueueConfig;
  readonly #parts: CompletionParts;

  constructor(config: QueueConfig, parts: CompletionParts) {
    this.#config = config;
    this.#parts = parts;
  }

  /** Does what the progress of a message requires. Never rejects. */
  async *complete(task: RelayTask): CompletionSteps {
    if (task.removed) return;
    // Results that arrive while a DSN is being written must not be missed.
    task.isChanged = true;
    if (task.isCompleting) return;
    task.isCompleting = true;
    try {
      while (task.isChanged) {
        task.isChanged = false;
        yield* this.#report(task);
      }
      if (!task.isPending && !task.isBusy && !hasOpenReports(task.entry)) {
        yield* this.finish(task);
      }
    } catch (error) {
      const what = "Cannot report on a message; tried again in a minute";
      logFault(this.#config, what, error, task.entry);
      yield { kind: "wake", at: this.#config.clock.now() + RETRY_MS };
    } finally {
      task.isCompleting = false;
    }
  }

  /** Removes a message whose recipients all have a final status. */
  async *finish(task: RelayTask): CompletionSteps {
    if (task.removed) return;
    task.leave();
    try {
      await this.#config.spool.remove(task.entry.envelope.id);
      logAction(this.#config, task.entry, { event: "removed", by: "queue" });
    } finally {
      yield { kind: "forget" };
    }
    const { recipients } = task.entry.progress;
    if (recipients.some(({ status }) => status === "failed")) return;
    try {
      this.#config.onRelayDone?.(this.#parts.tasks.relayOf(task));
    } catch (error) {
      logFault(this.#config, "A relay hook failed", error, task.entry);
    }
  }

  /** Sends a delay DSN, if one is due to the sender. */
  async *reportDelay(task: RelayTask): CompletionSteps {
    const { dueSince } = task;
    const inLine = dueSince === 0 ? 0 : this.#config.clock.now() - dueSince;
    const indices = delayedRecipients(task.entry, inLine >= STUCK_MS);
    if (indices.length === 0) return;
    yield* this.#send(task, "delayed", indices);
    await this.#config.spool.change(task.entry.envelope.id, {
      kind: "delay-reported",
    });
  }

  /** Sends a failure DSN for a message that was accepted and is lost. Never rejects. */
  async reportLoss(entry: SpoolEntry): Promise<void> {
    const { spool, clock } = this.#config;
    const now = clock.now();
    const results = lossResults(entry.progress, now);
    applyChange(entry.progress, { kind: "result", results });
    for (const result of results) {
      logDelivery(this.#config, entry, result, { isExpired: false });
    }
    const indices = openReports(entry).toReturn;
    if (indices.length === 0) return;
    try {
      const notice = await this.#parts.dsnSender.make(entry, {
        kind: "failed",
        indices,
        now,
        expiresAt: now,
      });
      await spool.add(notice);
      const { envelope } = notice;
      logDsn(this.#config, entry, { kind: "lost", notice: envelope, indices });
    } catch (error) {
      const what = "Cannot tell the sender of a lost message";
      logFault(this.#config, what, error, entry);
    }
  }

  async *#report(task: RelayTask): CompletionSteps {
    const open = openReports(task.entry);
    const indices = [...open.failed, ...open.succeeded];
    if (indices.length === 0) return;
    const now = this.#config.clock.now();
    if (task.isBusy && (task.dsnAt === 0 || now < task.dsnAt)) {
      if (task.dsnAt === 0) task.dsnAt = now + GATHER_MS;
      yield { kind: "wake", at: task.dsnAt };
      return;
    }
    task.dsnAt = 0;
    if (open.failed.length > 0 && await this.#isKept(task, open.failed)) {
      yield { kind: "reschedule" };
      return;
    }
    if (task.removed) return;
    yield* this.#sendSmaller(task, open.failed);
    yield* this.#send(task, "failed", open.toReturn);
    yield* this.#send(task, "succeeded", open.succeeded);
    await this.#config.spool.change(task.entry.envelope.id, {
      kind: "reported",
      indices,
    });
  }

  /** Calls `onRelayError` for failed recipients; whether the program keeps them. */
  async #isKept(task: RelayTask, failed: readonly number[]): Promise<boolean> {
    const relay = this.#parts.tasks.relayOf(task);
    const { recipients } = relay;
    let verdict: "hold" | void = undefined;
    try {
      verdict = await this.#config.onRelayError?.(
        relay,
        failed.map((index) => recipients[index]!),
      );
    } catch (error) {
      logFault(this.#config, "A relay hook failed", error, task.entry);
    }
    if (verdict !== "hold" || task.removed) return false;
    const { id } = task.entry.envelope;
    const { spool, clock } = this.#config;
    await spool.change(id, { kind: "hold", held: true });
    logAction(this.#config, task.entry, { event: "held", by: "program" });
    const nextTryAt = clock.now();
    await spool.change(id, {
      kind: "result",
      results: failed.map((index) => ({
        index,
        status: "pending",
        attempts: task.entry.progress.recipients[index]!.attempts,
        nextTryAt,
      })),
    });
    return true;
  }

  async *#send(
    task: RelayTask,
    kind: DsnKind,
    indices: readonly number[],
  ): CompletionSteps {
    if (indices.length === 0) return;
    const { spool, clock } = this.#config;
    const notice = await this.#parts.dsnSender.make(task.entry, {
      kind,
      indices,
      now: clock.now(),
      expiresAt: expiresAt(task, this.#config.expireAfterMs),
    });
    yield { kind: "admit", entry: await spool.add(notice) };
    const { envelope } = notice;
    logDsn(this.#config, task.entry, { kind, notice: envelope, indices });
  }

  /** Sends a DSN again with less content, if its content was refused. */
  async *#sendSmaller(
    task: RelayTask,
    failed: readonly number[],
  ): CompletionSteps {
    const { envelope, progress } = task.entry;
    if (envelope.from !== "" || envelope.recipients.length !== 1) return;
    const answer = progress.recipients[failed[0] ?? -1]?.answer;
    if (answer === undefined) return;
    const mayBeContent = MAY_BE_CONTENT.test(answer.status) ||
      (answer.isReply && answer.status === "5.0.0" &&
        CONTENT_REPLY.test(answer.text));
    if (!mayBeContent) return;
    const { spool, clock } = this.#config;
    const notice = await this.#parts.dsnSender.makeSmaller(
      task.entry,
      clock.now(),
    );
    if (notice === undefined) return;
    yield { kind: "admit", entry: await spool.add(notice) };
    logSmallerDsn(this.#config, task.entry, notice.envelope);
  }
}
