/**
 * The end of an accepted message: saves it in all its stores for the local
 * recipients, hands it to the queue for the others, and chooses the reply where
 * one of these fails. Owns no message: reception discards it.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.2.5 | RFC 5321 section 4.2.5},
 * {@link https://www.rfc-editor.org/rfc/rfc2033#section-4.2 | RFC 2033 section 4.2}
 */

import {
  failuresOf,
  mailboxesOf,
  type Message,
  type MessageStore,
  type Recipient,
  StoreError,
} from "../message/message.ts";
import { replies } from "../protocol/replies.ts";
import { isHeld } from "../protocol/timing.ts";
import type { RelayOptions } from "../queue/relay.ts";
import { SmtpError, type SmtpReply } from "../protocol/reply.ts";
import { FileStore } from "../store/file_store.ts";
import type { SessionContext } from "./context.ts";
import {
  type Kept,
  logQueueFailure,
  logStored,
  logStoreFailure,
} from "./message_log.ts";
import type { SmtpSession } from "./session.ts";

/** The settings of a session that keeps a message. */
interface Keeper {
  readonly context: SessionContext;
  readonly session: SmtpSession;
  /** Counts the mailboxes, if records are wanted. */
  readonly kept: Kept | undefined;
}

/**
 * Keeps the message in the stores and the queue; resolves with the reply that
 * refuses it, if any. In LMTP a recipient whose copy failed gets its own reply.
 *
 * The stores come first: a message that a store refuses must not be queued. If
 * the queue refuses, the client tries again, and a mailbox gets a second copy:
 * that is the lesser evil.
 */
export async function commitMessage(
  message: Message,
  keeper: Keeper,
): Promise<SmtpReply | undefined> {
  const { isLocal } = keeper.context;
  const { recipients, parameters } = message;
  if (recipients.length === 0) return undefined;
  const foreign = isLocal === undefined
    ? []
    : recipients.filter(({ address }) =>
      !isLocal(address, keeper.session.localAddress)
    );
  if (isTooLate(message)) return replies.deliveredLate;
  const local = foreign.length === 0
    ? recipients
    : recipients.filter((one) => !foreign.includes(one));
  if (isHeld(parameters)) {
    return await hold(message, { local, foreign }, keeper);
  }
  if (foreign.length === 0) return await keep(message, keeper);
  const failure = local.length === 0
    ? undefined
    : await keep(message.forRecipients(local), keeper);
  return failure ?? await relay(message, foreign, keeper);
}

/**
 * Hands the message to the queue, which delivers it at the time of its release. A
 * store that a handler has chosen is unknown by then: it gets its copy at once.
 */
async function hold(
  message: Message,
  parts: {
    readonly local: readonly Recipient[];
    readonly foreign: readonly Recipient[];
  },
  keeper: Keeper,
): Promise<SmtpReply | undefined> {
  const { local, foreign } = parts;
  const isChosen = message.store !== undefined ||
    message.filename !== undefined;
  const failure = local.length === 0
    ? undefined
    : isChosen
    ? await keep(message.forRecipients(local), keeper)
    : await relay(message, local, keeper, { toStore: true });
  return failure !== undefined || foreign.length === 0
    ? failure
    : await relay(message, foreign, keeper);
}

/** Whether BY wanted a message returned before its content was complete. */
function isTooLate({ parameters, receivedAt }: Message): boolean {
  const { by } = parameters;
  return by?.mode === "return" &&
    Date.now() - receivedAt.getTime() >= by.seconds * 1000;
}

/** Saves the message in all its stores. */
async function keep(
  message: Message,
  { context, session, kept }: Keeper,
): Promise<SmtpReply | undefined> {
  const partial = context.profile.kind.repliesPerRecipient;
  const stores = storesOf(message, context.store);
  if (stores.length === 0 && message.relays.length === 0) {
    logStored(context, session, message, { store: undefined });
  }
  for (const store of stores) {
    const { kind } = store;
    try {
      const mailboxes = mailboxesOf(await store.save(message, { partial }));
      logStored(context, session, message, { store: kind, mailboxes, kept });
    } catch (error) {
      const failure = { store: kind, error, partial, kept };
      logStoreFailure(context, session, message, failure);
      if (!(error instanceof StoreError)) return replyOf(error);
      if (!partial) return replyForAll(error, message.recipients);
      for (const [recipient, cause] of failuresOf(error, message.recipients)) {
        recipient.reply = replyOf(cause);
      }
    }
  }
  return undefined;
}

/** The stores of a message. */
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

/** Hands the message to the queue for its non-local recipients. */
async function relay(
  message: Message,
  recipients: readonly Recipient[],
  { context, session }: Keeper,
  options: RelayOptions = {},
): Promise<SmtpReply | undefined> {
  const { relaying, domains } = context;
  try {
    if (relaying === undefined) {
      throw new TypeError("Cannot relay: nobody takes mail for others");
    }
    const route = domains?.routeOf(session.username);
    await relaying.add(message, recipients, { ...route, ...options });
    return undefined;
  } catch (error) {
    logQueueFailure(context, session, message, error);
    const reply = replyOf(error);
    if (!context.profile.kind.repliesPerRecipient) return reply;
    for (const recipient of recipients) recipient.reply = reply;
    return undefined;
  }
}

/** The reply of the error, else 452 for a full disk, else 451: the client tries again. */
function replyOf(error: unknown): SmtpReply {
  if (error instanceof SmtpError) return error.reply;
  return isStorageFull(error) ? replies.storageFull : replies.localError;
}

/**
 * The one reply for all recipients: permanent if all of them were refused so,
 * else temporary, so that the client sends the message again.
 */
function replyForAll(
  error: StoreError,
  recipients: readonly Recipient[],
): SmtpReply {
  const refused = [...error.failures.values()];
  const found = refused.map(replyOf);
  const temporary = found.find(({ isTemporary }) => isTemporary);
  const permanent = refused.length < recipients.length ? undefined : found[0];
  return temporary ?? permanent ?? replies.localError;
}

/** Whether an error or its cause is a full disk or an exceeded quota. */
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
      const { size } = cause.failures;
      return size > 0 && [...cause.failures.values()].every(isStorageFull);
    }
  }
  return false;
}
