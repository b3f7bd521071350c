import { assert, assertEquals } from "@std/assert";
import { DEFAULT_WINDOW } from "../../lib/queue/destination.ts";
import { Dispatcher, type Work } from "../../lib/queue/dispatcher.ts";
import { Fifo } from "../../lib/queue/fifo.ts";
import { cancelWake, type Wake, WakeHeap } from "../../lib/queue/wake_heap.ts";
import { seededRandom } from "../support/queue_disk.ts";

interface Job extends Work {
  isReady: boolean;
}

function job(flow: string, destination: string): Job {
  return { flow, destination, isReady: true };
}

/** All that may go now. */
function drain(dispatcher: Dispatcher<Job>, now = 0): Job[] {
  const jobs: Job[] = [];
  for (;;) {
    const next = dispatcher.next(now);
    if (next === undefined) return jobs;
    jobs.push(next);
  }
}

Deno.test("Dispatcher keeps within the window and the cap", () => {
  const dispatcher = new Dispatcher<Job>({ maxJobs: 7 });
  for (let n = 0; n < 10; n++) dispatcher.add(job("s", "one.org"));
  assertEquals(drain(dispatcher).length, 5);
  for (let n = 0; n < 10; n++) dispatcher.add(job("s", "two.org"));
  assertEquals(drain(dispatcher).length, 2);
  assertEquals(dispatcher.active, 7);
});

Deno.test("Dispatcher lets one slow destination hold up nobody else", () => {
  const dispatcher = new Dispatcher<Job>();
  for (let n = 0; n < 1000; n++) dispatcher.add(job(`s${n}`, "slow.org"));
  drain(dispatcher);
  for (let n = 0; n < 20; n++) dispatcher.add(job("s", `host${n}.org`));
  assertEquals(drain(dispatcher).length, 20);
});

Deno.test("Dispatcher lets one huge mailing delay others by one job", () => {
  const dispatcher = new Dispatcher<Job>({ maxJobs: 1 });
  for (let n = 0; n < 10_000; n++) dispatcher.add(job("bulk", `host${n}.org`));
  const first = dispatcher.next(0)!;
  dispatcher.add(job("single", "one.org"));
  const order: string[] = [];
  let current = first;
  for (let turn = 0; turn < 3; turn++) {
    dispatcher.done(current, "answered", 0);
    current = dispatcher.next(0)!;
    order.push(current.flow);
  }
  assert(order.slice(0, 2).includes("single"), order.join(" "));
});

Deno.test("Dispatcher gives senders turns at one busy destination", () => {
  const window = { ...DEFAULT_WINDOW, initial: 1, max: 1 };
  const dispatcher = new Dispatcher<Job>({ window });
  for (let n = 0; n < 100; n++) dispatcher.add(job("bulk", "one.org"));
  const order: string[] = [];
  let current = dispatcher.next(0)!;
  for (let n = 0; n < 3; n++) dispatcher.add(job("other", "one.org"));
  for (let turn = 0; turn < 6; turn++) {
    dispatcher.done(current, "answered", 0);
    current = dispatcher.next(0)!;
    order.push(current.flow);
  }
  assertEquals(
    order.filter((flow) => flow === "other").length,
    3,
    order.join(" "),
  );
});

Deno.test("Dispatcher leaves a dead destination in peace, then tries one job", () => {
  const dispatcher = new Dispatcher<Job>();
  for (let n = 0; n < 100; n++) dispatcher.add(job("s", "dead.org"));
  let tries = 0;
  for (
    let jobs = drain(dispatcher);
    jobs.length > 0;
    jobs = drain(dispatcher)
  ) {
    tries += jobs.length;
    for (const one of jobs) dispatcher.done(one, "destination-failed", 0);
  }
  assert(tries >= 6 && tries < 12, `${tries} tries`);
  const at = dispatcher.nextRevival;
  assertEquals(at, 60_000);
  assertEquals(drain(dispatcher, at - 1).length, 0);
  const [probe, ...others] = drain(dispatcher, at);
  assertEquals(others.length, 0);
  dispatcher.done(probe!, "destination-failed", at);
  assertEquals(drain(dispatcher, at).length, 0);
  assertEquals(dispatcher.nextRevival, at + 120_000);
  dispatcher.revive("dead.org", at);
  const [second] = drain(dispatcher, at);
  dispatcher.done(second!, "answered", at);
  assertEquals(drain(dispatcher, at).length, 2);
  assertEquals(dispatcher.windowOf("dead.org").deadUntil, 0);
});

Deno.test("Dispatcher drops work that is no longer wanted", () => {
  const dispatcher = new Dispatcher<Job>();
  const jobs = [job("s", "one.org"), job("s", "one.org"), job("t", "one.org")];
  for (const one of jobs) dispatcher.add(one);
  jobs[0]!.isReady = false;
  jobs[2]!.isReady = false;
  assertEquals(drain(dispatcher), [jobs[1]!]);
});

Deno.test("Dispatcher hands out each job once, and all of them, in any order of events", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const random = seededRandom(seed);
    const pick = (count: number) => Math.floor(random() * count);
    const dispatcher = new Dispatcher<Job>({ maxJobs: 10 });
    const waiting = new Set<Job>();
    const active: Job[] = [];
    let now = 0;
    for (
      let step = 0;
      step < 2000 || waiting.size + active.length > 0;
      step++
    ) {
      if (step < 2000 && random() < 0.6) {
        const one = job(`flow${pick(5)}`, `host${pick(4)}`);
        waiting.add(one);
        dispatcher.add(one);
      }
      for (const one of drain(dispatcher, now)) {
        assert(waiting.delete(one));
        active.push(one);
      }
      assert(active.length <= 10);
      assertEquals(dispatcher.active, active.length);
      if (active.length > 0) {
        const [one] = active.splice(pick(active.length), 1);
        const isFailure = step < 2000 && random() < 0.3;
        dispatcher.done(
          one!,
          isFailure ? "destination-failed" : "answered",
          now,
        );
      } else if (dispatcher.nextRevival < Infinity) {
        now = Math.max(now, dispatcher.nextRevival);
      }
      assert(step < 100_000, "Work is stuck");
    }
  }
});

Deno.test("WakeHeap gives what is due in order of time", () => {
  const random = seededRandom(7);
  const heap = new WakeHeap<number>();
  const times = Array.from({ length: 500 }, () => Math.floor(random() * 100));
  for (const [index, at] of times.entries()) heap.push(index, at);
  assertEquals(heap.next, Math.min(...times));
  const due: number[] = [];
  for (let index = heap.take(49); index !== undefined; index = heap.take(49)) {
    due.push(times[index]!);
  }
  assertEquals(due, times.filter((at) => at < 50).sort((a, b) => a - b));
  assertEquals(heap.length, 500 - due.length);
  assertEquals(new WakeHeap().next, Infinity);
});

Deno.test("WakeHeap wakes nobody who was cancelled, and does not grow of them", () => {
  const random = seededRandom(11);
  const heap = new WakeHeap<number>();
  const last = new Map<number, Wake<number>>();
  for (let round = 0; round < 100_000; round++) {
    const index = Math.floor(random() * 1000);
    cancelWake(last.get(index));
    last.set(index, heap.push(index, Math.floor(random() * 1e6)));
  }
  assert(heap.length < 4000, `${heap.length} entries of 1000`);
  const woken: number[] = [];
  for (let index = heap.take(1e6); index !== undefined;) {
    woken.push(index);
    index = heap.take(1e6);
  }
  const want = [...last].sort(([, a], [, b]) => a.at - b.at);
  assertEquals(
    woken.map((index) => last.get(index)!.at),
    want.map(([, { at }]) => at),
  );
  assertEquals(new Set(woken).size, 1000);
});

Deno.test("Fifo gives in the order in which it took", () => {
  const fifo = new Fifo<number>();
  let next = 0;
  for (let n = 0; n < 1000; n++) {
    fifo.push(n);
    if (n % 3 !== 0) assertEquals(fifo.shift(), next++);
  }
  while (fifo.length > 0) assertEquals(fifo.shift(), next++);
  assertEquals(next, 1000);
  assertEquals(fifo.shift(), undefined);
});
