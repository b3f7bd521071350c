/** A queue on a clock that stands still, with everything at hand. */

import { MemorySpool } from "../../../lib/spool/memory_spool.ts";
import { RelayQueue } from "../../../lib/queue/queue.ts";
import type { RelayQueueOptions } from "../../../lib/queue/options.ts";
import { FakeClock } from "./clock.ts";
import { FakeDelivery } from "./fixtures.ts";
import { seededFraction } from "../random.ts";

export const SECOND = 1000;
export const MINUTE: number = 60 * SECOND;
export const HOUR: number = 60 * MINUTE;
export const DAY: number = 24 * HOUR;

/** What {@linkcode startQueue} starts. */
export interface Bench {
  readonly clock: FakeClock;
  readonly delivery: FakeDelivery;
  readonly spool: MemorySpool;
  readonly queue: RelayQueue;
}

/** Starts a queue in memory. */
export async function startQueue(
  options: Partial<RelayQueueOptions> = {},
): Promise<Bench> {
  const clock = new FakeClock();
  const delivery = new FakeDelivery();
  const spool = new MemorySpool();
  const queue = new RelayQueue({
    spool,
    clock,
    deliver: delivery.deliver,
    hostname: "mx.example.com",
    random: seededFraction(1),
    ...options,
  });
  await queue.start();
  return { clock, delivery, spool, queue };
}
