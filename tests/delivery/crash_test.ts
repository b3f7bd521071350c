/**
 * A server that is killed again and again while messages come in and go out.
 * Every message that got 250 must arrive at the next hop. `RELAY_KILLS` is the
 * number of kills: 5 by default, 200 for a thorough test.
 */

import { assert } from "@std/assert";
import { DiscardStore } from "../../lib/store/discard_store.ts";
import { CliServer } from "../support/cli.ts";
import { TestFolder } from "../support/folder.ts";
import { startServer, TestClient } from "../support/server.ts";
import { until } from "../support/wait.ts";
import { rounds, seeded } from "../support/random.ts";

const KILLS = Number(Deno.env.get("RELAY_KILLS") ?? rounds(5));
const CLIENTS = 8;
/** Deliveries to one destination at a time: the default of the command line. */
const IN_FLIGHT = 20;

Deno.test(`relaying loses nothing when the server is killed ${KILLS} times`, async () => {
  await using folder = await TestFolder.create();
  const arrived = new Map<string, number>();
  await using sink = await startServer({
    store: new DiscardStore(),
    handlers: {
      onMessage(_session, { headers }) {
        const name = headers.get("Subject")!;
        arrived.set(name, (arrived.get(name) ?? 0) + 1);
      },
    },
  });
  const start = () =>
    CliServer.start([
      ...["--relay-from", "127.0.0.0/8", "--retry", "100ms"],
      ...["--smarthost", `127.0.0.1:${sink.addresses[0]!.port}/none`],
      ...["--spool", `${folder.path}/spool`, "--quiet"],
    ], { cwd: folder.path });
  const accepted = new Set<string>();
  const random = seeded(1);
  for (let round = 0; round < KILLS; round++) {
    await using server = await start();
    const names = uniqueNames(`r${round}`);
    const clients = Array.from(
      { length: CLIENTS },
      () => sendUntilGone(server, { names, accepted }),
    );
    const enough = accepted.size + 1 + random(60);
    await until(() => accepted.size >= enough);
    await server.end("SIGKILL");
    await Promise.all(clients);
  }
  await using server = await start();
  const missing = () => [...accepted].filter((name) => !arrived.has(name));
  await until(() => missing().length === 0, { seen: missing });
  let again = 0;
  for (const times of arrived.values()) again += times - 1;
  console.log(
    `${accepted.size} accepted, ${arrived.size} arrived, ${again} of them again`,
  );
  assert(accepted.size > KILLS, `Only ${accepted.size} accepted`);
  assert(again <= KILLS * IN_FLIGHT, `${again} arrived again`);
  await server.end("SIGTERM");
});

function* uniqueNames(prefix: string): Generator<string> {
  for (let number = 0;; number++) yield `${prefix}n${number}`;
}

/** Sends messages over one connection after another until the server stops. */
async function sendUntilGone(
  server: CliServer,
  { names, accepted }: {
    readonly names: Iterator<string>;
    readonly accepted: Set<string>;
  },
): Promise<void> {
  try {
    for (;;) {
      using client = await TestClient.connect({
        addresses: [{ address: "127.0.0.1", port: server.ports[0]! }],
      });
      await client.envelope("you@dest.test");
      for (let count = 0; count < 5; count++) {
        const name: string = names.next().value;
        const reply = await client.data(
          `Subject: ${name}\r\n\r\n${"Text\r\n".repeat(200)}`,
        );
        assert(reply.startsWith("250"), reply);
        accepted.add(name);
        if (count === 4) break;
        await client.expect(
          ["MAIL FROM:<a@b.test>", "250"],
          ["RCPT TO:<you@dest.test>", "250"],
        );
      }
    }
  } catch (error) {
    const isGone = error instanceof Deno.errors.ConnectionReset ||
      error instanceof Deno.errors.ConnectionRefused ||
      error instanceof Deno.errors.BrokenPipe ||
      /connection ended/.test((error as Error).message);
    if (!isGone) throw error;
  }
}
