/**
 * The guarantees of `FileSpool` at a loss of power at any moment: a message that
 * was added is found again.
 */

import { assert, assertEquals } from "@std/assert";
import { FileSpool } from "../../lib/spool/file_spool.ts";
import { RelayQueue } from "../../lib/queue/queue.ts";
import {
  addition,
  FakeClock,
  FakeDelivery,
  makeMessage,
  settle,
} from "../support/queue/fixtures.ts";
import { SimulatedDisk } from "../support/queue/disk.ts";
import { seededFraction } from "../support/random.ts";
import { readText } from "../support/bytes.ts";

/** The guarantees that a spool has given before the crash. */
interface Promises {
  readonly added: Set<string>;
  readonly delivered: Set<string>;
  readonly removing: Set<string>;
  readonly removed: Set<string>;
}

type Work = (open: () => FileSpool, kept: Promises) => Promise<void>;

/** Adds messages that come together; records the guarantees when all are added. */
async function addAll(
  spool: FileSpool,
  ids: readonly string[],
  kept: Promises,
): Promise<void> {
  await Promise.all(ids.map(async (id) => {
    await spool.add(addition(id));
    kept.added.add(id);
  }));
}

async function deliver(
  spool: FileSpool,
  id: string,
  kept: Promises,
): Promise<void> {
  const status = "relayed";
  await spool.change(id, {
    kind: "result",
    results: [{ index: 0, status, attempts: 1, nextTryAt: 0 }],
  });
  kept.delivered.add(id);
}

async function remove(
  spool: FileSpool,
  id: string,
  kept: Promises,
): Promise<void> {
  kept.removing.add(id);
  await spool.remove(id);
  kept.removed.add(id);
}

const WORK: Readonly<Record<string, Work>> = {
  async "one after the other"(open, kept) {
    const spool = open();
    await spool.open();
    for (const id of ["a", "b", "c"]) await addAll(spool, [id], kept);
    await Promise.all([
      deliver(spool, "a", kept),
      deliver(spool, "b", kept),
      addAll(spool, ["d"], kept),
    ]);
    for (const id of ["a", "d"]) await remove(spool, id, kept);
    await addAll(spool, ["e"], kept);
    await spool.close();
  },
  async "in shared files"(open, kept) {
    const spool = open();
    await spool.open();
    await addAll(spool, ["a", "b", "c"], kept);
    await Promise.all([
      deliver(spool, "b", kept),
      addAll(spool, ["d", "e"], kept),
      remove(spool, "a", kept),
    ]);
    await Promise.all([
      remove(spool, "d", kept),
      remove(spool, "e", kept),
      addAll(spool, ["f", "g"], kept),
    ]);
    await spool.close();
    // The journal is rewritten, without the messages that have left.
    const next = open();
    await next.open();
    await addAll(next, ["h", "i"], kept);
    await remove(next, "b", kept);
    await Promise.all(["c", "g"].map((id) => remove(next, id, kept)));
    await next.close();
  },
};

async function checkPromises(spool: FileSpool, kept: Promises): Promise<void> {
  for (const id of kept.added) {
    if (kept.removing.has(id)) continue;
    assert(spool.entries.has(id), `Message "${id}" is lost`);
  }
  for (const id of kept.removed) {
    assert(!spool.entries.has(id), `Message "${id}" is back`);
  }
  for (const [id, entry] of spool.entries) {
    assertEquals(await readText(spool.content(id)), `Text of ${id}\r\n`);
    if (kept.delivered.has(id)) {
      assertEquals(entry.progress.recipients[0]!.status, "relayed");
    }
  }
}

for (const [how, work] of Object.entries(WORK)) {
  Deno.test(`FileSpool keeps its promises whatever the moment of a loss of power: messages ${how}`, async () => {
    for (let seed = 1; seed <= 20; seed++) {
      let isDone = false;
      for (let crashAt = 1; !isDone; crashAt++) {
        isDone = await crash(work, { seed, crashAt });
      }
    }
  });
}

/** Simulates a loss of power at an operation; returns whether the work was done before. */
async function crash(
  work: Work,
  { seed, crashAt }: { readonly seed: number; readonly crashAt: number },
): Promise<boolean> {
  const disk = new SimulatedDisk(seededFraction(seed * 1000 + crashAt));
  disk.crashAt = crashAt;
  const clock = new FakeClock();
  const kept: Promises = {
    added: new Set(),
    delivered: new Set(),
    removing: new Set(),
    removed: new Set(),
  };
  const open = () => new FileSpool("/spool", {}, { files: disk, clock });
  let isDone = false;
  await Promise.race([
    work(open, kept).then(() => isDone = true, () => {}),
    disk.crashed,
  ]);
  // Twice: the recovery itself may be interrupted as well.
  let survivor = disk.afterPowerLoss();
  survivor.crashAt = 1 + (crashAt * seed) % 12;
  const half = new FileSpool("/spool", {}, { files: survivor, clock });
  await Promise.race([half.open().catch(() => {}), survivor.crashed]);
  survivor = survivor.afterPowerLoss();
  const spool = new FileSpool("/spool", {}, { files: survivor, clock });
  await spool.open();
  await checkPromises(spool, kept);
  await spool.close();
  return isDone;
}

Deno.test("RelayQueue delivers or returns all that it accepted, whatever the crash", async () => {
  for (let crashAt = 8;; crashAt++) {
    const disk = new SimulatedDisk(seededFraction(crashAt));
    disk.crashAt = crashAt;
    const clock = new FakeClock();
    const delivery = new FakeDelivery();
    delivery.answer = (address, attempt) =>
      address.startsWith("bad")
        ? { status: "failed" }
        : { status: attempt === 1 ? "deferred" : "delivered" };
    const start = (files: SimulatedDisk) =>
      new RelayQueue({
        spool: new FileSpool("/spool", {}, { files, clock }),
        deliver: delivery.deliver,
        hostname: "mx.example.com",
        pollMs: 86_400_000,
      }, { clock, random: seededFraction(crashAt) });
    const accepted: string[] = [];
    const first = start(disk);
    let isDone = false;
    let isOver = false;
    const run = async () => {
      await first.start();
      for (const to of ["bad@one.org", "good@one.org", "good@two.org"]) {
        const id = to.replace(/\W/g, "-");
        await first.relays.add(await makeMessage({ id, to: [to] }));
        accepted.push(to);
      }
      while (first.relays.count > 0 && !isOver) await clock.advance(60_000);
      if (isOver) return;
      await first.stop();
      isDone = true;
    };
    await Promise.race([run().catch(() => {}), disk.crashed]);
    isOver = true;
    await settle();
    const second = start(disk.afterPowerLoss());
    await second.start();
    for (let minute = 0; second.relays.count > 0 && minute < 60; minute++) {
      await clock.advance(60_000);
    }
    assertEquals(second.relays.count, 0);
    for (const to of accepted) {
      const isThere = to.startsWith("bad")
        ? delivery.notices.some((text) => text.includes(`rfc822; ${to}`))
        : delivery.log.some((line) => line.includes(to));
      assert(isThere, `${to} was neither delivered nor returned`);
    }
    await second.stop();
    if (isDone) break;
  }
});
