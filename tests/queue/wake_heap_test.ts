import { assertEquals } from "@std/assert";
import { WakeHeap } from "../../lib/queue/wake_heap.ts";

Deno.test("WakeHeap.prune() keeps what is wanted, in order", () => {
  const heap = new WakeHeap<number>();
  for (let number = 0; number < 100; number++) {
    heap.push(number, number * 37 % 101);
  }
  heap.prune(({ item }) => item % 10 === 0);
  assertEquals(heap.length, 10);
  const times: number[] = [];
  for (;;) {
    const wake = heap.take(1000);
    if (wake === undefined) break;
    times.push(wake.at);
  }
  assertEquals(times, [...times].sort((a, b) => a - b));
  assertEquals(times.length, 10);
});
