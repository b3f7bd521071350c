/**
 * The deliveries that end at this server. DSNs to senders with a mailbox here go
 * into the server's own store: the network would at best bring them back. Also
 * knows the server's own IP addresses: those that it listens at, and those in
 * `ownNames`.
 *
 * Stands alone because it reads the addresses of the machine from the platform,
 * which nothing else in relaying does.
 */

import { Message, type MessageStore } from "../message/message.ts";
import type { Address } from "../protocol/address.ts";
import type { DeliveryJob, DeliveryReport } from "../queue/job.ts";
import { canonicalIp, isLoopback } from "../protocol/ip.ts";
import type { SocketAddress } from "../net/transport.ts";

/** The server's own mailboxes. */
export interface LocalMail {
  /** Whether the server has a mailbox for an address. */
  readonly isLocal: (address: Address) => boolean;
  readonly store: MessageStore;
}

/** Bytes of a DSN held in memory; a larger one goes to a temporary file. */
const MEMORY_LIMIT = 1_048_576;

/** Whether a job is a DSN, and all its recipients have a mailbox here. */
export function isLocalDsn(job: DeliveryJob, local: LocalMail): boolean {
  return job.from.isNull && job.route?.smarthost === undefined &&
    local.store.kind !== "discard" &&
    job.recipients.every(({ address }) => local.isLocal(address));
}

/**
 * Saves a DSN in the store.
 *
 * @throws {Error} If the store throws; the queue defers the job then
 */
export async function saveDsn(
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

/** Milliseconds for which the addresses of the machine are cached. */
const FRESH_MS = 60_000;

/**
 * Makes the test whether this server is at an IP address and port.
 *
 * @param listening Gives the addresses that the server listens at now
 * @param named The option `ownNames`. Its IP addresses are the server's at any port; names are ignored
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

/** Reads the addresses of this machine; an empty set without `allow-sys`. */
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
      // Without allow-sys only the listening addresses and `ownNames` are known.
    }
    return known;
  };
}
