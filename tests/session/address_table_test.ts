/** The table of counts per address, in memory that threads share. */

import { assert, assertEquals } from "@std/assert";
import {
  addressMemory,
  AddressTable,
  FIELD,
} from "../../lib/session/address_table.ts";
import { rounds } from "../support/random.ts";

/** The key of an invented address. */
function key(low: number): { high: number; low: number } {
  return { high: 7, low };
}

Deno.test("AddressTable keeps an address's counts in its place", () => {
  const table = new AddressTable();
  const first = table.take(key(1), 0)!;
  const second = table.take(key(2), 0)!;
  table.add(first, FIELD.messages, 2);
  table.addBytes(first, 5_000_000_000);
  assertEquals(table.take(key(1), 59)!, first);
  assertEquals(table.get(first, FIELD.messages), 2);
  assertEquals(table.bytes(first), 5_000_000_000);
  assertEquals(table.get(second, FIELD.messages), 0);
  assertEquals(table.size, 2);
});

Deno.test("AddressTable starts again after a minute, and halves refusals", () => {
  const table = new AddressTable();
  const at = table.take(key(1), 100)!;
  table.add(at, FIELD.open, 1);
  table.add(at, FIELD.recipients, 5);
  table.add(at, FIELD.refused, 8);
  table.addBytes(at, 9);
  const counts = () => [
    table.get(at, FIELD.recipients),
    table.bytes(at),
    table.get(at, FIELD.refused),
    table.get(at, FIELD.open),
  ];
  table.turn(at, 159);
  assertEquals(counts(), [5, 9, 8, 1]);
  table.turn(at, 160);
  assertEquals(counts(), [0, 0, 4, 1]);
  table.turn(at, 280);
  assertEquals(counts(), [0, 0, 1, 1]);
  table.turn(at, 100_000);
  assertEquals(counts(), [0, 0, 0, 1]);
});

Deno.test("AddressTable never gives away the place of an open connection", () => {
  const table = new AddressTable(addressMemory(4));
  const open = Array.from({ length: 4 }, (_, low) => {
    const at = table.take(key(low), 0)!;
    table.add(at, FIELD.open, 1);
    return at;
  });
  assertEquals(new Set(open).size, 4);
  for (let low = 100; low < 200; low++) {
    assertEquals(table.take(key(low), 0), undefined);
  }
  for (const [low, at] of open.entries()) {
    assertEquals(table.take(key(low), 0), at);
    assertEquals(table.get(at, FIELD.open), 1);
  }
  table.add(open[2]!, FIELD.open, -1);
  assertEquals(table.take(key(100), 0), open[2]);
});

Deno.test("AddressTable counts what threads count in the same memory", async () => {
  const memory = addressMemory(8);
  const table = new AddressTable(memory);
  const each = rounds(1000);
  const module = import.meta.resolve("./count_addresses.ts");
  const counting = Array.from({ length: 3 }, () => {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const worker = new Worker(module, { type: "module" });
    worker.onerror = (event) => reject(new Error(event.message));
    worker.onmessage = () => {
      worker.terminate();
      resolve();
    };
    worker.postMessage({ memory, rounds: 4 * each });
    return promise;
  });
  await Promise.all(counting);
  // Each thread has counted the four addresses equally often.
  for (let low = 0; low < 4; low++) {
    const at = table.take(key(low), 0)!;
    assertEquals(table.get(at, FIELD.messages), 3 * each);
    assertEquals(table.bytes(at), 30 * each);
  }
  assertEquals(table.size, 4);
});

Deno.test("AddressTable goes on where a thread has ended with the lock in its hands", () => {
  const memory = addressMemory(8);
  new AddressTable(memory).lock();
  const table = new AddressTable(memory);
  table.lock();
  table.add(table.take(key(1), 0)!, FIELD.messages, 1);
  table.unlock();
  table.lock();
  assertEquals(table.get(table.take(key(1), 0)!, FIELD.messages), 1);
});

Deno.test("AddressTable evicts the smallest counts first", () => {
  const table = new AddressTable(addressMemory(100));
  const busy = table.take(key(0), 0)!;
  table.add(busy, FIELD.refused, 50);
  // A client with many addresses uses each once.
  for (let low = 1; low < 10_000; low++) {
    table.add(table.take(key(low), 0)!, FIELD.connections, 1);
  }
  assertEquals(table.size, 100);
  assertEquals(table.take(key(0), 0)!, busy);
  assertEquals(table.get(busy, FIELD.refused), 50);
});

Deno.test("AddressTable finds each of a million addresses again, below 64 MiB", () => {
  const table = new AddressTable();
  for (let low = 0; low < 1_048_576; low++) {
    table.add(table.take(key(low), 0)!, FIELD.messages, low & 7);
  }
  assertEquals(table.size, 1_048_576);
  assert(table.byteLength < 64 * 1024 * 1024, `${table.byteLength} bytes`);
  for (let low = 0; low < 1_048_576; low += 997) {
    assertEquals(table.get(table.take(key(low), 0)!, FIELD.messages), low & 7);
  }
  // A full table does not grow.
  const { byteLength } = table;
  for (let low = 0; low < 100_000; low++) table.take({ high: 8, low }, 0)!;
  assertEquals([table.size, table.byteLength], [1_048_576, byteLength]);
});
