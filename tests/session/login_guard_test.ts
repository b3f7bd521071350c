/**
 * Guessing of passwords: slow per account and per address, with bounded memory.
 */

import { assert, assertEquals } from "@std/assert";
import {
  type LoginAttempt,
  LoginGuard,
} from "../../lib/session/login_guard.ts";
import { rounds } from "../support/random.ts";

const MINUTE = 60_000;

/** A guard with a clock that the test moves, whose delays are recorded and end at once. */
class Bench implements Disposable {
  now = 0;
  readonly guard: LoginGuard = new LoginGuard(() => this.now);
  readonly waits: number[] = [];
  readonly #setTimeout = globalThis.setTimeout;

  constructor() {
    const { waits } = this;
    globalThis.setTimeout = Object.assign(
      (end: () => void, ms = 0) => {
        queueMicrotask(end);
        return waits.push(ms);
      },
      this.#setTimeout,
    ) as unknown as typeof setTimeout;
  }

  /** Makes one attempt; whether it was allowed. */
  async try(address: string, account: string, ok = false): Promise<boolean> {
    const attempt = { address, account };
    if (!await this.guard.enter(attempt)) return false;
    if (ok) this.guard.succeed(attempt);
    else void this.guard.fail(attempt);
    this.guard.leave(attempt);
    return true;
  }

  /** How many of `count` attempts are allowed; all fail. */
  async allowed(
    count: number,
    who: (at: number) => LoginAttempt,
  ): Promise<number> {
    let allowed = 0;
    for (let at = 0; at < count; at++) {
      const { address, account } = who(at);
      if (await this.try(address, account)) allowed++;
    }
    return allowed;
  }

  [Symbol.dispose](): void {
    globalThis.setTimeout = this.#setTimeout;
  }
}

Deno.test("LoginGuard counts the spellings of a domain in a name as one account", async () => {
  using bench = new Bench();
  const names = [
    "ann@bücher.test",
    "ann@xn--bcher-kva.test",
    "ANN@BÜCHER.TEST",
  ];
  const allowed = await bench.allowed(
    30,
    (at) => ({ address: "192.0.2.1", account: names[at % 3]! }),
  );
  assertEquals(allowed, 10);
});

Deno.test("LoginGuard doubles the wait of an account from an address, up to 8 s", async () => {
  using bench = new Bench();
  await bench.allowed(9, () => ({ address: "192.0.2.1", account: "ann" }));
  assertEquals(bench.waits, [
    ...[250, 500, 1000, 2000, 4000],
    ...[8000, 8000, 8000, 8000],
  ]);
  bench.waits.length = 0;
  await bench.try("192.0.2.1", "bob");
  await bench.try("192.0.2.2", "ann");
  assertEquals(bench.waits, [250, 250]);
});

/** The clients that fail, and how many of their attempts are allowed. */
const BUDGETS: readonly {
  readonly name: string;
  readonly who: (at: number) => LoginAttempt;
  readonly want: number;
}[] = [
  {
    name: "one account from one address",
    who: () => ({ address: "192.0.2.1", account: "ann" }),
    want: 10,
  },
  {
    name: "one account in other letter case",
    who: (at) => ({
      address: "192.0.2.1",
      account: ["ann", "Ann", "aNN", "ANN"][at % 4]!,
    }),
    want: 10,
  },
  {
    name: "one account with accents and blanks that databases pass over",
    who: (at) => ({
      address: "192.0.2.1",
      account: ["ann", "ann ", " \u00e1nn", "a\u0301nn"][at % 4]!,
    }),
    want: 10,
  },
  {
    name: "names that differ behind 64 characters",
    who: (at) => ({ address: "192.0.2.1", account: "a".repeat(64) + at }),
    want: 10,
  },
  {
    name: "many accounts from one address",
    who: (at) => ({ address: "192.0.2.1", account: `user${at}` }),
    want: 50,
  },
  {
    name: "many accounts from one IPv6 network",
    who: (at) => ({
      address: `2001:db8:0:1::${at.toString(16)}`,
      account: `user${at}`,
    }),
    want: 50,
  },
  {
    name: "one account from IPv4 as IPv6 and as IPv4",
    who: (at) => ({
      address: at % 2 === 0 ? "192.0.2.1" : "::ffff:192.0.2.1",
      account: "ann",
    }),
    want: 10,
  },
  {
    name: "one account from many addresses",
    who: (at) => ({ address: `192.0.2.${at}`, account: "ann" }),
    // 50, and the turns within half a minute.
    want: 66,
  },
  {
    name: "one account from many networks of one IPv6 customer",
    who: (at) => ({
      address: `2001:db8:0:${(at % 32).toString(16)}::1`,
      account: "ann",
    }),
    want: 66,
  },
];

for (const { name, who, want } of BUDGETS) {
  Deno.test(`LoginGuard allows ${want} of 200 failures: ${name}`, async () => {
    using bench = new Bench();
    assertEquals(await bench.allowed(200, who), want);
  });
}

Deno.test("LoginGuard slows an account that many networks guess at for all but those that have been there", async () => {
  using bench = new Bench();
  assert(await bench.try("192.0.2.1", "ann", true));
  const guess = (count: number) =>
    bench.allowed(count, (at) => ({
      address: `198.51.100.${at}`,
      account: "ann",
    }));
  assertEquals(await guess(120), 66);
  assertEquals(bench.waits.slice(0, 49), Array(49).fill(250));
  assertEquals(bench.waits.slice(49, 54), [8000, 8000, 2000, 8000, 4000]);
  bench.waits.length = 0;
  assert(await bench.try("192.0.2.1", "ann", true));
  assert(await bench.try("192.0.2.1", "ann"));
  assertEquals(bench.waits, [250]);
  // A new network is not locked out: it gets a turn.
  assertEquals(await bench.try("192.0.2.2", "ann", true), false);
  bench.now += 2000;
  assert(await bench.try("192.0.2.2", "ann", true));
  // Other accounts are not affected.
  assert(await bench.try("192.0.2.2", "bob", true));
});

Deno.test("LoginGuard judges no more guesses at once from a network that has logged in", async () => {
  for (const others of [0, 200]) {
    using bench = new Bench();
    assert(await bench.try("192.0.2.1", "ann", true));
    for (let at = 0; at < others; at++) {
      await bench.try(`198.51.100.${at}`, "ann");
    }
    const under: LoginAttempt[] = [];
    const attempts = Array.from({ length: 80 }, async () => {
      const attempt = { address: "192.0.2.1", account: "ann" };
      if (await bench.guard.enter(attempt)) under.push(attempt);
    });
    for (let round = 0; round < 20; round++) await Promise.resolve();
    assertEquals(under.length, 10);
    for (const attempt of under) {
      void bench.guard.fail(attempt);
      bench.guard.leave(attempt);
    }
    await Promise.all(attempts);
    assertEquals(under.length, 10);
  }
});

Deno.test("LoginGuard judges no more guesses at once from many networks", async () => {
  using bench = new Bench();
  let entered = 0;
  const attempts = Array.from({ length: 320 }, async (_, at) => {
    const address = `2001:db8:0:${(at % 32).toString(16)}::1`;
    if (await bench.guard.enter({ address, account: "ann" })) entered++;
  });
  await Promise.all(attempts);
  assertEquals(entered, 66);
});

Deno.test("LoginGuard lets others of an address go on", async () => {
  using bench = new Bench();
  assert(await bench.try("192.0.2.1", "ann", true));
  // A neighbour behind the same address.
  const tried = await bench.allowed(100, (at) => ({
    address: "192.0.2.1",
    account: `user${at}`,
  }));
  assertEquals(tried, 50);
  assertEquals(await bench.try("192.0.2.1", "new", true), false);
  assert(await bench.try("192.0.2.1", "ann"));
  assert(await bench.try("192.0.2.1", "ann", true));
  assert(await bench.try("192.0.2.2", "new", true));
});

Deno.test("LoginGuard forgets one failure a minute, and all of a pair that succeeds", async () => {
  using bench = new Bench();
  const attempt = () => ({ address: "192.0.2.1", account: "ann" });
  assertEquals(await bench.allowed(20, attempt), 10);
  bench.now += MINUTE / 2;
  assertEquals(await bench.allowed(20, attempt), 0);
  bench.now += 3 * MINUTE;
  assertEquals(await bench.allowed(20, attempt), 3);
  bench.now += 2 * MINUTE;
  assert(await bench.try("192.0.2.1", "ann", true));
  assertEquals(await bench.allowed(20, attempt), 10);
});

Deno.test("LoginGuard allows no more guesses at once than one after the other", async () => {
  for (
    const [name, want] of [
      [() => "ann", 10],
      [(at: number) => `user${at}`, 50],
    ] as const
  ) {
    using bench = new Bench();
    const under: LoginAttempt[] = [];
    let refused = 0;
    const attempts = Array.from({ length: 1000 }, async (_, at) => {
      const attempt = { address: "192.0.2.1", account: name(at) };
      if (await bench.guard.enter(attempt)) under.push(attempt);
      else refused++;
    });
    await Promise.resolve();
    assertEquals([under.length, refused], [want, 0]);
    // Other addresses do not wait for these.
    assert(await bench.try("192.0.2.2", "ann"));
    for (const attempt of under) {
      void bench.guard.fail(attempt);
      bench.guard.leave(attempt);
    }
    await Promise.all(attempts);
    assertEquals([under.length, refused], [want, 1000 - want]);
  }
});

Deno.test("LoginGuard lets a pool of connections log in at once", async () => {
  using bench = new Bench();
  let done = 0;
  await Promise.all(Array.from({ length: 100 }, async () => {
    const attempt = { address: "192.0.2.1", account: "ann" };
    assert(await bench.guard.enter(attempt));
    await Promise.resolve();
    bench.guard.succeed(attempt);
    bench.guard.leave(attempt);
    done++;
  }));
  assertEquals(done, 100);
});

Deno.test("LoginGuard.release() ends all waits", async () => {
  const guard = new LoginGuard(() => 0);
  const attempt = { address: "192.0.2.1", account: "ann" };
  const waits = [guard.fail(attempt), guard.fail(attempt)];
  for (let at = 0; at < 8; at++) assert(await guard.enter(attempt));
  const waiting = guard.enter(attempt);
  guard.release();
  await Promise.all(waits);
  assertEquals(await waiting, false);
});

Deno.test("LoginGuard stays below 64 MiB with very many addresses", async () => {
  // A separate process: objects of other tests would count.
  const program = `
    const { LoginGuard } = await import(${
    JSON.stringify(import.meta.resolve("../../lib/session/login_guard.ts"))
  });
    globalThis.setTimeout = () => 0;
    const guard = new LoginGuard(() => 0);
    const names = ["x".repeat(60), "x".repeat(9000)];
    const used = () => (gc(), Deno.memoryUsage().heapUsed);
    const before = used();
    for (let at = 0; at < ${rounds(120_000)}; at++) {
      const address = [10, at >> 16, at >> 8 & 255, at & 255].join(".");
      const attempt = { address, account: at + names[at % 100 ? 0 : 1] };
      if (!await guard.enter(attempt)) continue;
      if (at % 4 === 0) guard.succeed(attempt);
      else guard.fail(attempt);
      guard.leave(attempt);
      guard.release();
    }
    console.log(used() - before);
    // Keeps the guard alive until here.
    await guard.enter({ address: "", account: "" });`;
  const { stdout, success } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-config", "--v8-flags=--expose-gc", program],
    stdout: "piped",
  }).output();
  assert(success);
  const grown = Number(new TextDecoder().decode(stdout)) / 2 ** 20;
  assert(grown > 1 && grown < 64, `Grew by ${grown} MiB`);
});
