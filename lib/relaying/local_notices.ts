/**
 * Notices to senders whose mailbox is here: they go into the server's own store
 * and not through the network, where they would come back at best.
 */

import { Message } from "../message/message.ts";
import type { Address } from "../protocol/address.ts";
import type { DeliveryJob, DeliveryReport } from "../queue/delivery_job.ts";
import type { MessageStore } from "../store/store.ts";

/** Where mail for this server's own addresses is kept. */
export interface LocalMail {
  /** Whether an address is this server's own. */
  readonly isLocal: (address: Address) => boolean;
  /** Keeps it. */
  readonly store: MessageStore;
}

/** A notice is small; what is not goes to a temporary file. */
const MEMORY_LIMIT = 1_048_576;

/** Whether a job is a notice to mailboxes that are all here. */
export function isLocalNotice(job: DeliveryJob, local: LocalMail): boolean {
  return job.from.isNull && job.route.smarthost === undefined &&
    local.store.kind !== "discard" &&
    job.recipients.every(({ address }) => local.isLocal(address));
}

/**
 * Puts a notice into the store.
 *
 * @throws {Error} As the store does; the queue takes it for a deferral
 */
export async function keepNotice(
  job: DeliveryJob,
  store: MessageStore,
): Promise<DeliveryReport> {
  const message = new Message({
    id: job.id,
    from: job.from,
    parameters: job.parameters,
    recipients: job.recipients,
    receivedAt: new Date(job.acceptedAt),
    trace: () => "",
    body: { memoryLimit: MEMORY_LIMIT },
  });
  try {
    job.onState("sending-body");
    for await (const chunk of job.content()) await message.body.write(chunk);
    await store.save(message, { partial: false });
  } finally {
    await message.discard();
  }
  return {
    recipients: job.recipients.map(() => ({
      status: "delivered",
      inMailbox: true,
    })),
    destinationFailed: false,
  };
}
