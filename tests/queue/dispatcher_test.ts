/**
 * Order and fairness of deliveries: destinations in turn, within the limits.
 * Also the heap of wakes.
 */

import { assert, assertEquals } from "@std/assert";
import { DEFAULT_WINDOW } from "../../lib/queue/destination.ts";
import { Dispatcher, Fifo, type Work } from "../../lib/queue/dispatcher.ts";
import { cancelWake, type Wake, WakeHeap } from "../../lib/queue/wake_heap.ts";
import { seededFraction } from "../support/random.ts";

interface Job extends Work {
  isReady: boolean;
}

function job(flow: string, destination: string): Job {
  return { flow, destination, isReady: true };
}

/** Takes all jobs that may go now. */
function drain(dispatcher: Dispatcher<Job>, now = 0): Job[] {
  const jobs: Job[] = [];
  for (;;) {
    const next = dispatcher.next(now);
    if (next === undefined) return jobs;
    jobs.push(next);
  }
}

Deno.test("Dispatcher keeps within the window and the cap", () => {
  const window = { ...DEFAULT_WINDOW, initial: 2 };
  const dispatcher = new Dispatcher<Job>({ maxConcurrent: 3, window });
  for (let n = 0; n < 10; n++) dispatcher.add(job("s", "one.org"));
  assertEquals(drain(dispatcher).length, 2);
  for (let n = 0; n < 10; n++) dispatcher.add(job("s", "two.org"));
  assertEquals(drain(dispatcher).length, 1);
  assertEquals(dispatcher.active, 3);
});

Deno.test("Dispatcher lets one slow destination hold up nobody else", () => {
  const dispatcher = new Dispatcher<Job>();
  for (let n = 0; n < 1000; n++) dispatcher.add(job(`s${n}`, "slow.org"));
  drain(dispatcher);
  for (let n = 0; n < 20; n++) dispatcher.add(job("s", `host${n}.org`));
  assertEquals(drain(dispatcher).length, 20);
});

Deno.test("Dispatcher lets one huge mailing delay others by one job", () => {
  const dispatcher = new Dispatcher<Job>({ maxConcurrent: 1 });
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
  const at = dispatcher.nextDue;
  assertEquals(at, 60_000);
  assertEquals(drain(dispatcher, at - 1).length, 0);
  const [probe, ...others] = drain(dispatcher, at);
  assertEquals(others.length, 0);
  dispatcher.done(probe!, "destination-failed", at);
  assertEquals(drain(dispatcher, at).length, 0);
  assertEquals(dispatcher.nextDue, at + 120_000);
  dispatcher.unthrottle("dead.org", at);
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
    const random = seededFraction(seed);
    const pick = (count: number) => Math.floor(random() * count);
    const dispatcher = new Dispatcher<Job>({ maxConcurrent: 10 });
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
      } else if (dispatcher.nextDue < Infinity) {
        now = Math.max(now, dispatcher.nextDue);
      }
      assert(step < 100_000, "Work is stuck");
    }
  }
});

Deno.test("WakeHeap gives what is due in order of time", () => {
  const random = seededFraction(7);
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
  const random = seededFraction(11);
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

/** A dispatcher of 100 slots in which `count` jobs of one flow wait for the peer to speak. */
function silentHosts(
  count: number,
  options: { flows?: number; address?: string } = {},
): { dispatcher: Dispatcher<Job>; calls: Job[] } {
  const dispatcher = new Dispatcher<Job>();
  for (let n = 0; n < count; n++) {
    dispatcher.add(job(`bulk${n % (options.flows ?? 1)}`, `dead${n}.org`));
  }
  const calls = drain(dispatcher);
  for (const one of calls) {
    dispatcher.step(one, "calling", 0);
    if (options.address) dispatcher.reach(one, options.address);
  }
  return { dispatcher, calls };
}

Deno.test("Dispatcher leaves slots to others whatever one sender asks for", () => {
  const { dispatcher, calls } = silentHosts(1000);
  assert(calls.length >= 50 && calls.length < 100, `${calls.length}`);
  const other = job("other", "dead0.org");
  dispatcher.add(other);
  assertEquals(drain(dispatcher).length, 0, "to a destination not heard of");
  dispatcher.step(calls[0]!, "talking", 0);
  assert(drain(dispatcher).includes(other));
});

Deno.test("Dispatcher gives good hosts their turn beside any number of silent ones", () => {
  const dispatcher = new Dispatcher<Job>();
  dispatcher.add(job("first", "good.org"));
  const [first] = drain(dispatcher);
  dispatcher.step(first!, "talking", 0);
  dispatcher.done(first!, "answered", 0);
  for (let n = 0; n < 5000; n++) {
    dispatcher.add(job(`bulk${n % 22}`, `dead${n}.org`));
  }
  for (const one of drain(dispatcher)) dispatcher.step(one, "calling", 0);
  let delivered = 0;
  for (let n = 0; n < 1000; n++) {
    dispatcher.add(job(`s${n % 10}`, "good.org"));
    for (const one of drain(dispatcher)) {
      assertEquals(one.destination, "good.org");
      dispatcher.step(one, "talking", 0);
      dispatcher.done(one, "answered", 0);
      delivered++;
    }
  }
  assertEquals(delivered, 1000, "while the clock stood still");
});

Deno.test("Dispatcher lends the slots of those that wait, and takes them back", () => {
  const { dispatcher, calls } = silentHosts(1000);
  assertEquals(drain(dispatcher, 900).length, 0);
  assert(dispatcher.nextDue <= 1100, "nobody would look again");
  const more = drain(dispatcher, 1100);
  assertEquals(more.length, calls.length);
  // A job that makes progress again counts again.
  for (const one of calls) dispatcher.step(one, "talking", 1200);
  for (const one of more) dispatcher.done(one, "unknown", 1200);
  assertEquals(drain(dispatcher, 1200).length, 0);
});

Deno.test("Dispatcher lends the slot of a job that sends content when it stalls, and of one that says nothing of its steps never", () => {
  const dispatcher = new Dispatcher<Job>({ maxConcurrent: 2 });
  for (let n = 0; n < 4; n++) dispatcher.add(job(`s${n}`, `host${n}.org`));
  const [one] = drain(dispatcher);
  dispatcher.step(one!, "sending", 0);
  drain(dispatcher, 50);
  assertEquals(drain(dispatcher, 29_900).length, 0);
  assertEquals(drain(dispatcher, 3_600_000).length, 1);
});

Deno.test("Dispatcher ends jobs whose hosts have spoken and then say nothing, once they fill all places", () => {
  const dispatcher = new Dispatcher<Job>({ maxConcurrent: 4, maxWaiting: 4 });
  for (let n = 0; n < 100; n++) dispatcher.add(job(`s${n}`, `host${n}.org`));
  const overdue: Job[] = [];
  for (let now = 0; now <= 70_000; now += 100) {
    for (const one of drain(dispatcher, now)) {
      dispatcher.step(one, "calling", now);
      dispatcher.step(one, "talking", now);
    }
    for (const one of dispatcher.takeOverdue()) {
      assert(now >= 60_000, `before its time, at ${now}`);
      overdue.push(one);
      dispatcher.done(one, "destination-failed", now);
    }
  }
  assert(overdue.length > 0, "They hold their places for ever");
});

Deno.test("Dispatcher bounds those that wait, and gives up the ones that have waited longest", () => {
  const { dispatcher } = silentHosts(5000, { flows: 22 });
  let now = 0;
  const overdue: Job[] = [];
  while (now < 60_000) {
    now += 100;
    for (const one of drain(dispatcher, now)) {
      dispatcher.step(one, "calling", now);
    }
    for (const one of dispatcher.takeOverdue()) {
      overdue.push(one);
      dispatcher.done(one, "destination-failed", now);
    }
    assert(dispatcher.active <= 300, `${dispatcher.active} at ${now}`);
    assert(now >= 5000 || overdue.length === 0, "before its time");
  }
  assert(overdue.length >= 1000, `${overdue.length}`);
});

Deno.test("Dispatcher gives an address of many domains a share, in turns of the senders", () => {
  const { dispatcher, calls } = silentHosts(60, {
    flows: 30,
    address: "192.0.2.1",
  });
  for (const one of calls) {
    dispatcher.step(one, "talking", 0);
    dispatcher.done(one, "answered", 0);
  }
  for (let n = 0; n < 2000; n++) {
    dispatcher.add(job(`bulk${n % 30}`, `dead${n % 60}.org`));
  }
  for (let n = 0; n < 60; n++) dispatcher.add(job("late", `dead${n}.org`));
  const held = drain(dispatcher);
  for (const one of held) dispatcher.step(one, "sending", 0);
  assert(held.length < 80, `${held.length} slots for one address`);
  let late = 0;
  let turns = 0;
  for (; held.length > 0 && late < 20; turns++) {
    const one = held.shift()!;
    if (one.flow === "late") late++;
    dispatcher.done(one, "answered", 0);
    held.push(...drain(dispatcher));
  }
  assert(turns < 1000, `${late} of the late sender in ${turns} turns`);
});

Deno.test("Dispatcher brings every job to its end when addresses, silence and failure mix", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const random = seededFraction(seed);
    const pick = (count: number) => Math.floor(random() * count);
    const dispatcher = new Dispatcher<Job>({ maxConcurrent: 8 });
    const active: Job[] = [];
    let [now, left] = [0, 0];
    for (let step = 0; step < 1500 || left > 0; step++) {
      if (step < 1500 && random() < 0.7) {
        left++;
        dispatcher.add(job(`flow${pick(6)}`, `host${pick(40)}`));
      }
      for (const one of drain(dispatcher, now)) {
        if (random() < 0.8) dispatcher.reach(one, `address${pick(3)}`);
        const phases = ["calling", "talking", "sending"] as const;
        if (random() < 0.8) dispatcher.step(one, phases[pick(3)]!, now);
        active.push(one);
      }
      now += pick(300);
      for (const one of dispatcher.takeOverdue()) {
        if (!active.includes(one)) continue;
        active.splice(active.indexOf(one), 1);
        dispatcher.done(one, "destination-failed", now);
        left--;
      }
      if (active.length > 0) {
        const [one] = active.splice(pick(active.length), 1);
        if (random() < 0.2) dispatcher.step(one!, "talking", now);
        const failed = step < 1500 && random() < 0.3;
        dispatcher.done(one!, failed ? "destination-failed" : "answered", now);
        left--;
      } else if (dispatcher.nextDue < Infinity) {
        now = Math.max(now, dispatcher.nextDue);
      }
      assert(step < 50_000, `${left} jobs are stuck with seed ${seed}`);
    }
    assertEquals(dispatcher.active, 0);
  }
});

Deno.test("Dispatcher forgets no mail that waits for an address after its domain has moved", () => {
  const dispatcher = new Dispatcher<Job>({ maxConcurrent: 4 });
  let now = 0;
  const first = job("s", "d.org");
  dispatcher.add(first);
  assertEquals(drain(dispatcher), [first]);
  dispatcher.reach(first, "A");
  dispatcher.step(first, "talking", now);
  dispatcher.done(first, "answered", now);
  for (let n = 1; n <= 12; n++) dispatcher.add(job(`f${n}`, "d.org"));
  const left = new Set<string>();
  let active = drain(dispatcher);
  assert(active.length < 12, "All of them went at once");
  // From here on the domain leads elsewhere.
  while (active.length > 0) {
    const one = active.shift()!;
    dispatcher.reach(one, "B");
    dispatcher.done(one, "answered", now);
    left.add(one.flow);
    active.push(...drain(dispatcher, now));
    if (active.length > 0) continue;
    now += 200;
    active = drain(dispatcher, now);
  }
  assertEquals(left.size, 12);
});
