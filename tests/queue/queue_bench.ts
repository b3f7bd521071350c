/**
 * The cost of the queue itself: 1000 messages to 20 destinations, from a spool
 * in memory to a delivery that takes no time.
 */

import { MemorySpool } from "../../lib/spool/memory_spool.ts";
import { RelayQueue } from "../../lib/queue/queue.ts";
import { makeMessage } from "../support/queue/fixtures.ts";

const COUNT = 1000;
const DESTINATIONS = 20;

let delivered = 0;
let all = Promise.withResolvers<void>();
let name = 0;

const queue = new RelayQueue({
  spool: new MemorySpool(),
  hostname: "mx.example.com",
  deliver: ({ recipients }) => {
    delivered += recipients.length;
    if (delivered === COUNT) all.resolve();
    return Promise.resolve({
      recipients: recipients.map(() => ({ status: "delivered" as const })),
      destinationFailed: false,
    });
  },
});
await queue.start();

Deno.bench(
  `${COUNT} messages to ${DESTINATIONS} destinations`,
  { n: 10, warmup: 1 },
  async () => {
    delivered = 0;
    all = Promise.withResolvers();
    for (let at = 0; at < COUNT; at++) {
      await queue.relays.add(
        await makeMessage({
          id: `m${name++}`,
          to: [`user@host${at % DESTINATIONS}.example`],
        }),
      );
    }
    await all.promise;
  },
);
