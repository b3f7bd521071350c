/**
 * A spool on a full disk: clients get a 4xx reply, no accepted message is lost,
 * and each delivery makes room again.
 *
 * The promise of SECURITY.md: "250 means kept".
 */

import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { SpoolError } from "../../lib/spool/spool.ts";
import { DiscardStore } from "../../lib/store/discard_store.ts";
import { run } from "../support/process.ts";
import { startServer, TestClient } from "../support/server.ts";
import { until, within } from "../support/wait.ts";
import { TestFolder } from "../support/folder.ts";

/** A small file system of its own. */
async function smallDisk(size: string): Promise<TestFolder> {
  const folder = await TestFolder.create();
  await run("mount", [
    "-t",
    "tmpfs",
    "-o",
    `size=${size}`,
    "tmpfs",
    folder.path,
  ]);
  return folder;
}

async function canMount(): Promise<boolean> {
  if (Deno.uid() !== 0) return false;
  try {
    const folder = await smallDisk("64k");
    await run("umount", [folder.path]);
    await Deno.remove(folder.path);
    return true;
  } catch {
    return false;
  }
}

Deno.test({
  name: "relay from a full disk: 452 4.3.1, nothing lost, room again",
  ignore: !await canMount(),
  fn: async (t) => {
    // Records of one page, two pages and many: they fail at different points.
    for (const size of [500, 5000, 100_000]) {
      await t.step(`messages of ${size} bytes`, () => fillAndDrain(size));
    }
  },
});

async function fillAndDrain(size: number): Promise<void> {
  const folder = await smallDisk("1m");
  try {
    const arrived = new Set<string>();
    let isOpen = false;
    await using sink = await startServer({
      store: new DiscardStore(),
      handlers: {
        onMailFrom: () => isOpen,
        onMessage: (_session, { headers }) =>
          void arrived.add(headers.get("Subject")!),
      },
    });
    await using near = await startServer({
      relay: {
        from: ["127.0.0.1"],
        spool: `${folder.path}/spool`,
        idleWaitMs: 3_600_000,
        smarthosts: [{ host: "127.0.0.1", port: sink.addresses[0]!.port }],
      },
    });
    const accepted = await fill(near, size);
    assert(accepted.length > 5, `Only ${accepted.length} accepted`);
    assertEquals(near.relays.count, accepted.length);
    isOpen = true;
    for (const relay of near.relays) {
      // On a full disk nothing is recorded before there is room.
      relay.retry().catch(() => {});
    }
    await within(drained(near), "the queue to be empty");
    assertEquals([...arrived].sort(), [...accepted].sort());
    // Not quite as many: the journal still holds the removed ones.
    const again = await fill(near, size);
    assert(again.length > accepted.length / 2, `Only ${again.length} again`);
    // The disk is full again: failed writes are logged.
    await near.stop({ graceMs: 0 }).catch((error) =>
      assertInstanceOf(error, SpoolError)
    );
  } finally {
    await run("umount", ["-l", folder.path]);
    await Deno.remove(folder.path);
  }
}

/** Sends messages until three in a row find no room. */
async function fill(
  server: Awaited<ReturnType<typeof startServer>>,
  size: number,
): Promise<string[]> {
  const accepted: string[] = [];
  using client = await TestClient.connect(server);
  await client.reply();
  await client.expect(["HELO client.test", "250"]);
  let refused = 0;
  for (let number = 0; refused < 3; number++) {
    await client.expect(
      ["MAIL FROM:<a@b.test>", "250"],
      ["RCPT TO:<you@dest.test>", "250"],
    );
    const name = `m${number}`;
    const reply = await client.data(
      `Subject: ${name}\r\n\r\n${"0123456\r\n".repeat(size / 9)}`,
    );
    if (reply.startsWith("250")) accepted.push(name);
    else {
      assertEquals(reply.slice(0, 9), "452 4.3.1");
      refused++;
    }
  }
  return accepted;
}

async function drained(
  server: Awaited<ReturnType<typeof startServer>>,
): Promise<void> {
  await until(() => server.relays.count === 0);
}
