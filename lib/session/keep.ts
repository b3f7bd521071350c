/**
 * Keeps a complete message in all its stores, and turns what went wrong into
 * the reply that is true: 250 only when every store has it safely.
 */

import { describeError, type Logger } from "../log.ts";
import type { Message } from "../message/message.ts";
import { replies } from "../protocol/replies.ts";
import type { SmtpReply } from "../protocol/reply.ts";
import { FileStore } from "../store/file_store.ts";
import { type MessageStore, StoreError } from "../store/store.ts";

/** What keeping needs to know. */
export interface KeepContext {
  /** The server's store, for messages that have none of their own. */
  readonly store: MessageStore;
  /** Whether each recipient has a reply of its own (LMTP). */
  readonly partial: boolean;
  /** Takes the record of a failure. */
  readonly log: Logger;
  /** The session's name. */
  readonly session: string;
}

/** The stores a message goes to. */
export function storesOf(
  message: Message,
  store: MessageStore,
): readonly MessageStore[] {
  const chosen = message.store;
  const named = message.filename === undefined ? [] : [
    new FileStore({ path: message.filename, append: message.append }),
  ];
  if (chosen === undefined) return named.length > 0 ? named : [store];
  return [...(isSeveral(chosen) ? chosen : [chosen]), ...named];
}

function isSeveral(
  store: MessageStore | readonly MessageStore[],
): store is readonly MessageStore[] {
  return Array.isArray(store);
}

/**
 * Keeps the message; resolves with the reply that refuses it, or with nothing.
 * In LMTP a recipient whose copy failed gets its own reply.
 */
export async function keep(
  message: Message,
  context: KeepContext,
): Promise<SmtpReply | undefined> {
  for (const store of storesOf(message, context.store)) {
    try {
      await store.save(message, { partial: context.partial });
    } catch (error) {
      context.log({
        level: "error",
        event: "error",
        message: `Store "${store.kind}" failed for message ${message.id}`,
        session: context.session,
        error: describeError(error),
      });
      if (!context.partial || !(error instanceof StoreError)) {
        return replyOf(error);
      }
      for (const [recipient, cause] of error.failures) {
        recipient.reply = replyOf(cause);
      }
    }
  }
  return undefined;
}

/** 452 where there is no room, 451 for everything else: the client tries again. */
function replyOf(error: unknown): SmtpReply {
  return isStorageFull(error) ? replies.storageFull : replies.localError;
}

/** Whether an error, or what caused it, is a full disk or an exceeded quota. */
function isStorageFull(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    const { code } = cause as { code?: unknown };
    if (
      code === "ENOSPC" || code === "EDQUOT" ||
      /\b(?:os error 28|os error 122|no space left)\b/i.test(cause.message)
    ) {
      return true;
    }
    if (cause instanceof StoreError) {
      return [...cause.failures.values()].every(isStorageFull);
    }
  }
  return false;
}
