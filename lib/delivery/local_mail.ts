/**
 * Deliveries that end at this server: mail from the queue into the server's own
 * store. Stores and the queue are handed in.
 */

import {
  failuresOf,
  Message,
  type MessageStore,
  type Recipient,
  StoreError,
} from "../message/message.ts";
import { withoutTop } from "../message/signer.ts";
import type { Address } from "../protocol/address.ts";
import { SmtpError, type SmtpReply } from "../protocol/reply.ts";
import type {
  DeliveryJob,
  DeliveryReport,
  RecipientReport,
} from "../queue/job.ts";
import type { Relays } from "../queue/relay.ts";
import { hopsOf } from "../spool/envelope.ts";

/** The server's own mailboxes. */
export interface LocalMail {
  /** Whether the domain of an address is the server's, with a store or without. */
  readonly isOurs: (address: Address) => boolean;
  /** Whether the server has a mailbox for an address. */
  readonly isLocal: (address: Address) => boolean;
  readonly store: MessageStore;
  /** The addresses that a local one becomes, or the reply that refuses it; `undefined` if it stays what it is. */
  readonly decide?: (
    address: Address,
    size: number,
  ) => Promise<SmtpReply | readonly Address[] | undefined>;
}

/** Bytes of a DSN held in memory; a larger one goes to a temporary file. */
const MEMORY_LIMIT = 1_048_576;

/** What a recipient of a DSN becomes, or the reply that refuses it. */
export type Decided = SmtpReply | readonly Recipient[];

/** Whether a job is a DSN without a route of its own. */
export function isDsn({ from, route }: DeliveryJob): boolean {
  return from.isNull && hopsOf(route).length === 0;
}

/**
 * Saves a DSN in the store, and queues it for those elsewhere.
 *
 * @throws {Error} If the store or the queue throws; the queue defers the job then
 */
export async function saveDsn(
  job: DeliveryJob,
  { here, away, store, relays }: {
    readonly here: readonly Recipient[];
    readonly away: readonly Recipient[];
    readonly store: MessageStore;
    readonly relays: Relays;
  },
): Promise<void> {
  if (here.length + away.length === 0) return;
  const message = await contentOf(job, [...here, ...away]);
  try {
    if (here.length > 0) {
      await store.save(message.forRecipients(here), { partial: false });
    }
    if (away.length > 0) await relays.add(message, { recipients: away });
  } finally {
    await message.discard();
  }
}

/**
 * Saves mail that was held in the store. A recipient whose copy failed has the
 * store's reply, or is tried again.
 */
export async function saveHeld(
  job: DeliveryJob,
  store: MessageStore,
): Promise<DeliveryReport> {
  const { recipients } = job;
  const saved: RecipientReport = { status: "delivered", inMailbox: true };
  if (store.kind === "discard") {
    return { recipients: recipients.map(() => saved) };
  }
  const message = await contentOf(job, recipients);
  try {
    await store.save(message, { partial: true });
    return { recipients: recipients.map(() => saved) };
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    const failures = new Map(failuresOf(error, message.recipients));
    return {
      recipients: message.recipients.map((one) =>
        failures.has(one) ? failed(failures.get(one)) : saved
      ),
    };
  } finally {
    await message.discard();
  }
}

/** The report for a recipient whose copy could not be kept. */
function failed(error: unknown): RecipientReport {
  if (!(error instanceof SmtpError)) {
    return { status: "deferred", reason: "The mailbox could not be written" };
  }
  const { reply } = error;
  const status = reply.isTemporary ? "deferred" : "failed";
  return { status, reply, fromPeer: false };
}

/** The message of a job, with its content. */
async function contentOf(
  job: DeliveryJob,
  recipients: readonly Recipient[],
): Promise<Message> {
  const { signed = 0 } = job;
  const message = new Message({
    id: job.id,
    from: job.from,
    parameters: job.parameters,
    recipients,
    receivedAt: new Date(job.acceptedAt),
    isOwn: signed > 0,
    trace: () => "",
    body: { memoryLimit: MEMORY_LIMIT },
  });
  try {
    job.onState?.("sending-body");
    // What stays here is not signed, and what goes on is signed again.
    for await (const chunk of withoutTop(job.content(), signed)) {
      await message.body.write(chunk);
    }
    return message;
  } catch (error) {
    await message.discard();
    throw error;
  }
}
