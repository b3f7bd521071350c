/**
 * A server that is killed at random moments while Postfix's smtp-source sends
 * through it: every message that got 250 arrives at a counting sink. A short
 * form runs with the other programs; `deno task crash` has the thorough one,
 * 200 kills and 5,000 messages.
 *
 * The promise of SECURITY.md: "250 means kept".
 */

import { assert, assertEquals } from "@std/assert";
import { DiscardStore } from "../../lib/store/discard_store.ts";
import type { SmtpServer } from "../../lib/server/server.ts";
import { CliServer } from "../support/cli.ts";
import { TestFolder } from "../support/folder.ts";
import { run } from "../support/process.ts";
import { startServer } from "../support/server.ts";
import { seededFraction } from "../support/random.ts";

const KILLS = Number(Deno.env.get("CRASH_KILLS") ?? 6);
const MESSAGES = Number(Deno.env.get("CRASH_MESSAGES") ?? 150);
const SENDERS = 8;
/** Deliveries to one destination at a time, as the command line has it. */
const IN_FLIGHT = 20;
/** Longest time until a server is killed, in ms. */
const LIFE_MS = 600;
/** Time for the last server to deliver the rest, in ms. */
const DRAIN_MS = 120_000;

Deno.test(`relaying loses nothing of ${MESSAGES} messages when the server is killed ${KILLS} times`, async () => {
  await using folder = await TestFolder.create();
  const arrived = new Map<string, number>();
  await using sink = await countingSink(arrived);
  const start = () =>
    CliServer.start([
      ...["--relay-from", "127.0.0.0/8", "--retry", "100ms", "--quiet"],
      ...["--smarthost", `127.0.0.1:${sink.addresses[0]!.port}/none`],
      ...["--spool", `${folder.path}/spool`],
    ], { cwd: folder.path });
  const accepted = new Set<string>();
  const random = seededFraction(1);
  let kills = 0;
  for (; kills < KILLS || accepted.size < MESSAGES; kills++) {
    await using server = await start();
    const life = { isOver: false };
    const senders = Array.from(
      { length: SENDERS },
      (_, lane) => send(server, { name: `k${kills}s${lane}`, life, accepted }),
    );
    await new Promise((done) => setTimeout(done, random() * LIFE_MS));
    await server.end("SIGKILL");
    life.isOver = true;
    await Promise.all(senders);
  }
  await drain(start, { accepted, arrived });
  const missing = [...accepted].filter((name) => !arrived.has(name));
  assertEquals(missing, []);
  let again = 0;
  for (const times of arrived.values()) again += times - 1;
  console.log(
    `${kills} kills: ${accepted.size} accepted, ${arrived.size} arrived, ${again} of them again`,
  );
  assert(again <= kills * IN_FLIGHT, `${again} arrived again`);
});

/** A server that counts its messages by subject. */
function countingSink(arrived: Map<string, number>): Promise<SmtpServer> {
  return startServer({
    store: new DiscardStore(),
    handlers: {
      onMessage(_session, { headers }) {
        const name = headers.get("Subject")!;
        arrived.set(name, (arrived.get(name) ?? 0) + 1);
      },
    },
  });
}

/** Sends messages until the server is gone. Only smtp-source's own success counts as 250. */
async function send(
  server: CliServer,
  { name, life, accepted }: {
    readonly name: string;
    readonly life: { readonly isOver: boolean };
    readonly accepted: Set<string>;
  },
): Promise<void> {
  for (let number = 0; !life.isOver; number++) {
    const subject = `${name}n${number}`;
    const { code } = await run("smtp-source", [
      ...["-S", subject, "-l", "2000", "-f", "a@client.test"],
      ...["-t", "you@dest.test", `127.0.0.1:${server.ports[0]!}`],
    ], { anyCode: true });
    if (code !== 0) return;
    accepted.add(subject);
  }
}

/** Runs servers that deliver the rest. Each runs a few seconds, less than its deadline. */
async function drain(
  start: () => Promise<CliServer>,
  { accepted, arrived }: {
    readonly accepted: ReadonlySet<string>;
    readonly arrived: ReadonlyMap<string, number>;
  },
): Promise<void> {
  const isDone = () => [...accepted].every((name) => arrived.has(name));
  const deadline = performance.now() + DRAIN_MS;
  while (!isDone() && performance.now() < deadline) {
    await using server = await start();
    const pause = performance.now() + 10_000;
    while (!isDone() && performance.now() < pause) {
      await new Promise((done) => setTimeout(done, 50));
    }
    assertEquals((await server.end("SIGTERM")).code, 0);
  }
}
