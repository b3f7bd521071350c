/**
 * Notices to senders whose mailbox is here: they go into the server's own store
 * and not through the network, where they would come back at best.
 *
 * Which addresses are this server's own: those that it listens at, and those
 * that the program named. Stands alone because it asks the platform for the
 * addresses of the machine, which nothing else of relaying does.
 */

import { Message, type MessageStore } from "../message/message.ts";
import type { Address } from "../protocol/address.ts";
import type { DeliveryJob, DeliveryReport } from "../queue/job.ts";
import { canonicalIp, isLoopback } from "../protocol/ip.ts";
import type { SocketAddress } from "../net/transport.ts";

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
  return job.from.isNull && job.route?.smarthost === undefined &&
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
    job.onState?.("sending-body");
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

/** Milliseconds for which the addresses of the machine are taken as they were. */
const FRESH_MS = 60_000;

/**
 * A test whether the server itself is at an address and port.
 *
 * @param listening Where it listens, now
 * @param named Names and addresses that are known as its own; of these the addresses, at whatever port
 */
export function ownAddressTest(
  listening: () => readonly SocketAddress[],
  named: readonly string[] = [],
): (address: string, port: number) => boolean {
  const given = new Set(named.map((name) => canonicalIp(name)));
  const machine = machineAddresses();
  return (address, port) => {
    const wanted = canonicalIp(address);
    if (wanted === undefined) return false;
    if (given.has(wanted)) return true;
    return listening().some((at) => {
      if (at.port !== port) return false;
      const own = canonicalIp(at.address) ?? at.address;
      if (own !== "0.0.0.0" && own !== "::") return own === wanted;
      return isLoopback(wanted) || wanted === "0.0.0.0" || wanted === "::" ||
        machine().has(wanted);
    });
  };
}

/** The addresses of this machine; none where the platform may not be asked. */
function machineAddresses(): () => ReadonlySet<string> {
  let known = new Set<string>();
  let askedAt = -Infinity;
  return () => {
    const now = performance.now();
    if (now - askedAt < FRESH_MS) return known;
    askedAt = now;
    try {
      known = new Set(
        Deno.networkInterfaces().map(({ address }) =>
          canonicalIp(address) ?? address
        ),
      );
    } catch {
      // Without allow-sys only what is written down is known.
    }
    return known;
  };
}
