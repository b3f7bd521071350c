/**
 * A program to be killed: adds messages to a spool and delivers them, and writes
 * each acceptance and each delivery to standard output once it is durable.
 */

import { FileSpool } from "../../lib/spool/file_spool.ts";
import { RelayQueue } from "../../lib/queue/queue.ts";
import { makeMessage } from "../support/queue/fixtures.ts";
import { readText } from "../support/bytes.ts";

const [folder, round] = Deno.args as [string, string];
const encoder = new TextEncoder();

function say(line: string): void {
  Deno.stdout.writeSync(encoder.encode(`${line}\n`));
}

const queue = new RelayQueue({
  spool: new FileSpool(folder),
  hostname: "mx.example.com",
  deliver: async (job) => {
    await readText(job.content());
    const recipients = job.recipients.map(({ address }) => {
      if (job.attempt === 1 && address.localPart.endsWith("7")) {
        return { status: "deferred" } as const;
      }
      say(`delivered ${address}`);
      return { status: "delivered" } as const;
    });
    return { recipients, destinationFailed: false };
  },
});
await queue.start();
for (let number = 0;; number++) {
  const to = `r${round}n${number}@host${number % 7}.org`;
  const id = `r${round}n${number}`;
  await queue.relays.add(await makeMessage({ id, to: [to] }));
  say(`accepted ${to}`);
}
