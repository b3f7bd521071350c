/**
 * The end of things for a message: tells the program, sends the notices that
 * the sender is owed, and lets the message go. Owns the order of these steps
 * and nothing else.
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
import type { Relay } from "./relay.ts";
import { expiresAt, type RelayTask } from "./relay_task.ts";
import type { SpoolEntry } from "../spool/envelope.ts";

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

/** What a settlement asks of the queue. */
export interface SettlementHost {
  /** Begins to deliver a message that is new in the spool. */
  admit(entry: SpoolEntry): void;
  /** Has another look at the age of a message at a time. */
  wakeAt(task: RelayTask, at: number): void;
  /** Forgets a message that has left the spool. */
  forget(task: RelayTask): void;
  /** Forms the groups of a message anew and waits for their time. */
  reschedule(task: RelayTask): void;
  /** The program's handle on a message. */
  relayOf(task: RelayTask): Relay;
}

/** Settles messages. */
export class Settlement {
  readonly #config: QueueConfig;
  readonly #notifier: DsnSender;
  readonly #host: SettlementHost;

  /**
   * Makes a settlement for one queue.
   *
   * @param config The queue's options
   * @param parts The maker of notices, and the queue
   */
  constructor(
    config: QueueConfig,
    parts: { readonly notifier: DsnSender; readonly host: SettlementHost },
  ) {
    this.#config = config;
    this.#notifier = parts.notifier;
    this.#host = parts.host;
  }

  /** Does what the progress of a message asks for. Never rejects. */
  async settle(task: RelayTask): Promise<void> {
    if (task.removed) return;
    // Results that come while a notice is being written must not be passed over.
    task.unsettled = true;
    if (task.settling) return;
    task.settling = true;
    try {
      while (task.unsettled) {
        task.unsettled = false;
        await this.#report(task);
      }
      if (!task.isPending && !task.isBusy && !hasOpenReports(task.entry)) {
        await this.finish(task);
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
      this.#host.wakeAt(task, clock.now() + RETRY_MS);
    } finally {
      task.settling = false;
    }
  }

  /** Lets a message go whose recipients are all dealt with. */
  async finish(task: RelayTask): Promise<void> {
    if (task.removed) return;
    task.leave();
    try {
      await this.#config.spool.remove(task.entry.envelope.id);
    } finally {
      this.#host.forget(task);
    }
    const { recipients } = task.entry.progress;
    if (recipients.some(({ status }) => status === "failed")) return;
    this.#guard(() => this.#config.onRelayDone?.(this.#host.relayOf(task)));
  }

  /** Tells the sender that a message is late; nothing if nobody is to be told. */
  async reportDelay(task: RelayTask): Promise<void> {
    const { dueSince } = task;
    const inLine = dueSince === 0 ? 0 : this.#config.clock.now() - dueSince;
    const indices = delayedRecipients(task.entry, inLine >= STUCK_MS);
    if (indices.length === 0) return;
    await this.#send(task, "delayed", indices);
    await this.#config.spool.change(task.entry.envelope.id, {
      kind: "delay-reported",
    });
  }

  async #report(task: RelayTask): Promise<void> {
    const open = openReports(task.entry);
    const indices = [...open.failed, ...open.succeeded];
    if (indices.length === 0) return;
    const now = this.#config.clock.now();
    if (task.isBusy && (task.noticeAt === 0 || now < task.noticeAt)) {
      if (task.noticeAt === 0) task.noticeAt = now + GATHER_MS;
      this.#host.wakeAt(task, task.noticeAt);
      return;
    }
    task.noticeAt = 0;
    if (open.failed.length > 0 && await this.#isKept(task, open.failed)) return;
    if (task.removed) return;
    await this.#sendSmaller(task, open.failed);
    await this.#send(task, "failed", open.toReturn);
    await this.#send(task, "succeeded", open.succeeded);
    await this.#config.spool.change(task.entry.envelope.id, {
      kind: "reported",
      indices,
    });
  }

  /** Asks the program about failed recipients; whether it wants to keep them. */
  async #isKept(task: RelayTask, failed: readonly number[]): Promise<boolean> {
    const relay = this.#host.relayOf(task);
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
    this.#host.reschedule(task);
    return true;
  }

  async #send(
    task: RelayTask,
    kind: DsnKind,
    indices: readonly number[],
  ): Promise<void> {
    if (indices.length === 0) return;
    const { spool, clock, log } = this.#config;
    const notice = await this.#notifier.make(task.entry, {
      kind,
      indices,
      now: clock.now(),
      expiresAt: expiresAt(task, this.#config.expireAfterMs),
    });
    this.#host.admit(await spool.add(notice));
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
  async #sendSmaller(
    task: RelayTask,
    failed: readonly number[],
  ): Promise<void> {
    const { envelope, progress } = task.entry;
    if (envelope.from !== "" || envelope.recipients.length !== 1) return;
    const answer = progress.recipients[failed[0] ?? -1]?.answer;
    if (answer === undefined) return;
    const mayBeContent = MAY_BE_CONTENT.test(answer.status) ||
      (answer.isReply && answer.status === "5.0.0" &&
        CONTENT_REPLY.test(answer.text));
    if (!mayBeContent) return;
    const { spool, clock, log } = this.#config;
    const notice = await this.#notifier.makeSmaller(task.entry, clock.now());
    if (notice === undefined) return;
    this.#host.admit(await spool.add(notice));
    log({
      level: "info",
      event: "bounce",
      message: "A notice was refused; it goes again with less in it",
      fields: { id: envelope.id, notice: notice.envelope.id },
    });
  }

  #guard(hook: () => void): void {
    try {
      hook();
    } catch (error) {
      this.#logHook(error);
    }
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
