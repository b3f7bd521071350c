/**
 * The end of a message: tells the program, writes the notices that the sender is
 * owed, and lets the message go. Owns the order of these steps and nothing else;
 * what they ask of the queue, it gives back.
 *
 * Danger: a crash may come between any two of them. A notice is safe in the
 * spool before the message is marked as reported, and that is safe before the
 * message is removed; so a crash repeats a notice at worst, and never loses one.
 */

import { describeError } from "../log.ts";
import type { DsnSender } from "../dsn/sender.ts";
import {
  delayedRecipients,
  type DsnKind,
  hasOpenReports,
  openReports,
} from "../dsn/policy.ts";
import type { QueueConfig } from "./options.ts";
import { lossResults } from "./job_runner.ts";
import type { RelayTasks } from "./relay.ts";
import { expiresAt, type RelayTask } from "./tasks.ts";
import { applyChange, type SpoolEntry } from "../spool/envelope.ts";

/** Milliseconds for which notices wait, so that one tells of many recipients. */
export const GATHER_MS = 60_000;
/**
 * Milliseconds in line after which a message is stuck: one that is late
 * because nothing ran here may be delivered in a moment.
 */
const STUCK_MS = 900_000;
/** Milliseconds until notices that could not be written are tried again. */
const RETRY_MS = 60_000;

/** Permanent failures that may be those of the content: not of an address, mailbox or host. */
const MAY_BE_CONTENT = /^5\.(?:2\.3|3\.4|6|7)/;
/** Replies without such a status that are often about content. */
const CONTENT_REPLY = /^55[24][ -]/;

/** What the completion of a message asks of its queue. */
export type CompletionStep =
  /** A notice is safe in the spool: it is to be delivered. */
  | { readonly kind: "admit"; readonly entry: SpoolEntry }
  /** Something is to be done for the message at a time, in milliseconds since 1970. */
  | { readonly kind: "wake"; readonly at: number }
  /** Recipients are to be tried again: it is to be looked when. */
  | { readonly kind: "reschedule" }
  /** The message has left the spool. */
  | { readonly kind: "forget" };

/** Steps in the order in which they are to be carried out. */
export type CompletionSteps = AsyncGenerator<CompletionStep, void, void>;

/** What a {@linkcode Completion} works with. */
export interface CompletionParts {
  /** Makes the notices. */
  readonly notifier: DsnSender;
  /** The messages. */
  readonly tasks: RelayTasks;
}

/** Completes messages: gives step by step what the queue is to do. */
export class Completion {
  readonly #config: QueueConfig;
  readonly #parts: CompletionParts;

  constructor(config: QueueConfig, parts: CompletionParts) {
    this.#config = config;
    this.#parts = parts;
  }

  /** Does what the progress of a message asks for. Never rejects. */
  async *complete(task: RelayTask): CompletionSteps {
    if (task.removed) return;
    // Results that come while a notice is being written must not be passed over.
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
      const { log, clock } = this.#config;
      log({
        level: "error",
        event: "error",
        message: "Cannot report on a message; tried again in a minute",
        fields: { id: task.entry.envelope.id },
        error: describeError(error),
      });
      yield { kind: "wake", at: clock.now() + RETRY_MS };
    } finally {
      task.isCompleting = false;
    }
  }

  /** Lets a message go whose recipients are all dealt with. */
  async *finish(task: RelayTask): CompletionSteps {
    if (task.removed) return;
    task.leave();
    try {
      await this.#config.spool.remove(task.entry.envelope.id);
    } finally {
      yield { kind: "forget" };
    }
    const { recipients } = task.entry.progress;
    if (recipients.some(({ status }) => status === "failed")) return;
    try {
      this.#config.onRelayDone?.(this.#parts.tasks.relayOf(task));
    } catch (error) {
      this.#logHook(error);
    }
  }

  /** Tells the sender that a message is late; nothing if nobody is to be told. */
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

  /** Tells the sender of a message that it was accepted and is lost. Never rejects. */
  async reportLoss(entry: SpoolEntry): Promise<void> {
    const { spool, clock, log } = this.#config;
    const { id } = entry.envelope;
    const now = clock.now();
    applyChange(entry.progress, {
      kind: "result",
      results: lossResults(entry.progress, now),
    });
    const indices = openReports(entry).toReturn;
    if (indices.length === 0) return;
    try {
      const notice = await this.#parts.notifier.make(entry, {
        kind: "failed",
        indices,
        now,
        expiresAt: now,
      });
      await spool.add(notice);
      log({
        level: "info",
        event: "bounce",
        message: "Told the sender: lost",
        fields: { id, notice: notice.envelope.id, recipients: indices.length },
      });
    } catch (error) {
      log({
        level: "error",
        event: "error",
        message: "Cannot tell the sender of a lost message",
        error: describeError(error),
      });
    }
  }

  async *#report(task: RelayTask): CompletionSteps {
    const open = openReports(task.entry);
    const indices = [...open.failed, ...open.succeeded];
    if (indices.length === 0) return;
    const now = this.#config.clock.now();
    if (task.isBusy && (task.noticeAt === 0 || now < task.noticeAt)) {
      if (task.noticeAt === 0) task.noticeAt = now + GATHER_MS;
      yield { kind: "wake", at: task.noticeAt };
      return;
    }
    task.noticeAt = 0;
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

  /** Asks the program about failed recipients; whether it wants to keep them. */
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
      this.#logHook(error);
    }
    if (verdict !== "hold" || task.removed) return false;
    const { id } = task.entry.envelope;
    const { spool, clock } = this.#config;
    await spool.change(id, { kind: "hold", held: true });
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
    const { spool, clock, log } = this.#config;
    const notice = await this.#parts.notifier.make(task.entry, {
      kind,
      indices,
      now: clock.now(),
      expiresAt: expiresAt(task, this.#config.expireAfterMs),
    });
    yield { kind: "admit", entry: await spool.add(notice) };
    log({
      level: "info",
      event: "bounce",
      message: `Told the sender: ${kind}`,
      fields: {
        id: task.entry.envelope.id,
        notice: notice.envelope.id,
        recipients: indices.length,
      },
    });
  }

  /** A notice that was refused for what is in it goes again with less. */
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
    const { spool, clock, log } = this.#config;
    const notice = await this.#parts.notifier.makeSmaller(
      task.entry,
      clock.now(),
    );
    if (notice === undefined) return;
    yield { kind: "admit", entry: await spool.add(notice) };
    log({
      level: "info",
      event: "bounce",
      message: "A notice was refused; it goes again with less in it",
      fields: { id: envelope.id, notice: notice.envelope.id },
    });
  }

  #logHook(error: unknown): void {
    this.#config.log({
      level: "error",
      event: "error",
      message: "A relay hook failed",
      error: describeError(error),
    });
  }
}
