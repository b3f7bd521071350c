/**
 * The ring in shared memory: entries in order, with and without a second
 * thread.
 */

import { assert, assertEquals } from "@std/assert";
import {
  Ring,
  type RingEntry,
  ringMemory,
} from "../../lib/threads/shared_memory.ts";
import { rounds, seeded } from "../support/random.ts";

/** Both ends of one ring. */
function ends(size?: number): { writer: Ring; reader: Ring } {
  const memory = ringMemory(size);
  return { writer: new Ring(memory), reader: new Ring(memory) };
}

function entry(number: number, text: string, ...pieces: number[][]): RingEntry {
  return { number, text, pieces: pieces.map((one) => new Uint8Array(one)) };
}

Deno.test("Ring gives out what was written, in order", () => {
  const { writer, reader } = ends();
  const entries = [
    entry(7, "", []),
    entry(8, "ä€😀 \ufeff\0", [1, 2, 3], [], [255]),
    entry(-1, "x"),
  ];
  for (const one of entries) assert(writer.write(one));
  for (const one of entries) {
    assertEquals(reader.next, one.number);
    assertEquals(reader.take(), one);
  }
  assertEquals(reader.next, undefined);
  assertEquals(reader.take(), undefined);
});

Deno.test("Ring hands out pieces that later entries leave alone", () => {
  const { writer, reader } = ends(256);
  writer.write(entry(0, "", [1, 2, 3, 4]));
  const { pieces } = reader.take()!;
  for (let round = 0; round < 20; round++) {
    writer.write(entry(round, "", [9, 9, 9, 9]));
    reader.take();
  }
  assertEquals(pieces, [new Uint8Array([1, 2, 3, 4])]);
});

Deno.test("Ring refuses what it has no room for, and takes it when it has", () => {
  const { writer, reader } = ends(256);
  const large = entry(1, "", new Array(150).fill(5));
  assert(!writer.write(entry(0, "", new Array(300).fill(5))));
  assert(writer.write(large));
  assert(!writer.write(large));
  assertEquals(reader.take(), large);
  assertEquals(reader.take(), undefined);
  assert(!writer.write(entry(2, "x".repeat(90))), "may need three bytes each");
  assert(writer.write(entry(3, "x".repeat(50))));
  assertEquals(reader.take(), entry(3, "x".repeat(50)));
});

Deno.test("Ring behaves as a list, whatever goes through it", () => {
  const below = seeded(5);
  const { writer, reader } = ends(4096);
  const list: RingEntry[] = [];
  let refused = 0;
  for (let number = 0; number < 20_000; number++) {
    const pieces = Array.from(
      { length: below(3) },
      () => Array.from({ length: below(300) }, () => below(256)),
    );
    const one = entry(number, "é".repeat(below(200)), ...pieces);
    if (writer.write(one)) list.push(one);
    else refused++;
    while (list.length > 0 && below(3) === 0) {
      assertEquals(reader.take(), list.shift());
    }
  }
  while (list.length > 0) assertEquals(reader.take(), list.shift());
  assertEquals(reader.take(), undefined);
  assert(refused > 0 && refused < 15_000);
});

Deno.test("Ring.sleep() waits only where there is nothing", async () => {
  // Atomics.waitAsync does not keep the event loop alive.
  const alive = setInterval(() => {}, 1000);
  const { writer, reader } = ends();
  writer.write(entry(0, "a"));
  assertEquals(reader.sleep(), undefined);
  reader.take();
  const asleep = reader.sleep();
  assert(asleep !== undefined);
  writer.write(entry(1, "b"));
  await asleep;
  assertEquals(reader.take(), entry(1, "b"));
  const again = reader.sleep();
  writer.wake();
  await again;
  clearInterval(alive);
});

Deno.test("Ring carries on between two threads at full speed", async () => {
  const [forth, back] = [ringMemory(4096), ringMemory(4096)];
  const worker = new Worker(
    new URL("./echo.ts", import.meta.url),
    { type: "module" },
  );
  const [outgoing, incoming] = [new Ring(forth), new Ring(back)];
  worker.postMessage({ forth, back });
  const total = rounds(5000);
  let sent = 0;
  for (let got = 0; got < total;) {
    while (
      sent < total && outgoing.write(entry(sent, `text ${sent}`, [sent]))
    ) {
      sent++;
    }
    for (let one = incoming.take(); one !== undefined; one = incoming.take()) {
      assertEquals(one, entry(got, `text ${got}`, [got]));
      got++;
    }
    if (got < sent) await incoming.sleep();
  }
  worker.terminate();
});
