/**
 * Keeps a complete message: in all its stores for the recipients that are this
 * server's own, in the queue for the others. Turns what went wrong into the
 * reply that is true: 250 only when all of them have it safely.
 */

import { SmtpError, type SmtpReply } from "../protocol/reply.ts";
import {
  type Message,
  type MessageStore,
  type Recipient,
  StoreError,
} from "../message/message.ts";
import { replies } from "../protocol/replies.ts";
import { FileStore } from "../store/file_store.ts";
import type { SessionContext } from "./context.ts";
import { noteStoreFailure } from "./log.ts";
import type { SmtpSession } from "./session.ts";

/** The stores a message goes to. */
function storesOf(
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
 *
 * The stores come first: what they refuse must not be on its way to others,
 * while a second copy in a mailbox is the lesser evil when the queue refuses.
 */
export async function commitMessage(
  message: Message,
  context: SessionContext,
  session: SmtpSession,
): Promise<SmtpReply | undefined> {
  const { isLocal } = context;
  const { recipients } = message;
  const foreign = isLocal === undefined
    ? []
    : recipients.filter(({ address }) =>
      !isLocal(address, session.localAddress)
    );
  if (foreign.length === 0) return await keep(message, context, session);
  const local = recipients.filter((one) => !foreign.includes(one));
  const failure = local.length === 0
    ? undefined
    : await keep(message.forRecipients(local), context, session);
  return failure ?? await relay(message, foreign, { context, session });
}

/** Keeps the message in all its stores. */
async function keep(
  message: Message,
  context: SessionContext,
  session: SmtpSession,
): Promise<SmtpReply | undefined> {
  const partial = isPartial(context);
  for (const store of storesOf(message, context.store)) {
    try {
      await store.save(message, { partial });
    } catch (error) {
      const what = `Store "${store.kind}"`;
      noteStoreFailure(context, session, { what, message, error });
      if (!partial || !(error instanceof StoreError)) return replyOf(error);
      for (const [recipient, cause] of error.failures) {
        recipient.reply = replyOf(cause);
      }
    }
  }
  return undefined;
}

/** Hands the message to the queue for recipients elsewhere. */
async function relay(
  message: Message,
  recipients: readonly Recipient[],
  { context, session }: {
    readonly context: SessionContext;
    readonly session: SmtpSession;
  },
): Promise<SmtpReply | undefined> {
  const { relaying } = context;
  try {
    if (relaying === undefined) {
      throw new TypeError("Cannot relay: nobody takes mail for others");
    }
    await relaying.add(message, recipients);
    return undefined;
  } catch (error) {
    noteStoreFailure(context, session, { what: "Queue", message, error });
    const reply = replyOf(error);
    if (!isPartial(context)) return reply;
    for (const recipient of recipients) recipient.reply = reply;
    return undefined;
  }
}

/** Whether each recipient has a reply of its own: in LMTP. */
function isPartial({ profile }: SessionContext): boolean {
  return profile.kind.repliesPerRecipient;
}

/** What the error says; else 452 where there is no room, 451 for the rest: the client tries again. */
function replyOf(error: unknown): SmtpReply {
  if (error instanceof SmtpError) return error.reply;
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
