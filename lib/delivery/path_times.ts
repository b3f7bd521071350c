/**
 * The times of one delivery, and its way to a host, as the log shows them. It
 * stands alone because the walk of a job decides without looking at any time.
 */

import type { SmtpClient } from "../client/client.ts";
import type { NextHop } from "../client/next_hop.ts";
import type { DeliveryPath } from "../queue/job.ts";

/** Times of a delivery in milliseconds; `transfer` is that of the last transaction. */
type Delays = Record<"dns" | "connect" | "transfer", number>;

export class PathTimes {
  readonly #delays: Delays = { dns: 0, connect: 0, transfer: 0 };

  /** Adds the time that `work` takes to a delay. */
  async add<T>(delay: keyof Delays, work: Promise<T>): Promise<T> {
    const since = performance.now();
    if (delay === "transfer") this.#delays.transfer = 0;
    try {
      return await work;
    } finally {
      this.#delays[delay] += performance.now() - since;
    }
  }

  /** The way so far: to a place, if one was called, by a client, if there was a session. */
  path(
    place?: { readonly hop: NextHop; readonly address: string },
    client?: SmtpClient,
  ): DeliveryPath {
    return {
      host: place?.hop.host,
      address: place?.address,
      tls: client && (client.tls?.protocol ?? "none"),
      verified: client?.tls?.authorized,
      delays: { ...this.#delays },
    };
  }
}
