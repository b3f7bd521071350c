/** The counts of users: minutes, hours, memory, and clocks that are set. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  type LimitOptions,
  limitsOf,
} from "../../lib/session/limit_options.ts";
import { USER_LIMITS } from "../../lib/session/user_limit_options.ts";
import {
  type Reservation,
  UserLimiter,
} from "../../lib/session/user_limits.ts";
import { userMemory, UserTable } from "../../lib/session/user_table.ts";

const HOUR = 3_600_000;
/** A time of day. */
const NOON = Date.UTC(2026, 10, 30, 12);

/** A limiter whose time the test sets. */
function limiter(
  perUser: LimitOptions["perUser"],
  memory?: SharedArrayBuffer,
) {
  const clock = { ms: 0 };
  const users = new UserLimiter({ limits: limitsOf({ perUser }) }, {
    now: () => clock.ms,
    memory,
  });
  const send = (name = "ann", size = 0): Reservation | string => {
    const result = users.message(users.keyOf(name), size);
    return "limit" in result ? result.limit : result;
  };
  const isSent = (name?: string) => typeof send(name) !== "string";
  return { clock, users, send, isSent };
}

/** The same counts in another run of the server, at another time of day. */
function restarted(
  before: UserLimiter,
  perUser: LimitOptions["perUser"],
  { savedAt, now }: { readonly savedAt: number; readonly now: number },
) {
  const after = limiter(perUser);
  after.users.restore([...before.lines(savedAt)].join(""), now);
  return after;
}

Deno.test("UserLimitOptions documents the defaults that the table has", async () => {
  const source = await Deno.readTextFile(
    new URL("../../lib/session/user_limit_options.ts", import.meta.url),
  );
  const documented = source.matchAll(
    /@default \{(.+)\}\n\s+\*\/\n\s+(\w+)\?:/g,
  );
  assertEquals(
    Object.fromEntries(
      documented.map(([, value, name]) => [name, JSON.parse(value!)]),
    ),
    Object.fromEntries(
      Object.entries(USER_LIMITS).map(([name, row]) => [name, row.default]),
    ),
  );
  assertThrows(
    () => limitsOf({ perUser: { messagesPerDay: -1 } }),
    RangeError,
    'Cannot use limits.perUser.messagesPerDay "-1": want a whole number from 0',
  );
});

Deno.test("A minute counts attempts and a day what is kept", () => {
  const { clock, users, send, isSent } = limiter({
    messagesPerMinute: 2,
    messagesPerDay: 3,
  });
  for (let turn = 0; turn < 2; turn++) users.giveBack(send() as Reservation);
  assertEquals(send(), "messagesPerMinute");
  clock.ms += 60_000;
  assert(isSent() && isSent());
  clock.ms += 60_000;
  assert(isSent());
  assertEquals(send(), "messagesPerDay");
});

Deno.test("A day is over by the hour", () => {
  const { clock, isSent } = limiter({ messagesPerDay: 2 });
  assert(isSent());
  clock.ms = 5 * HOUR;
  assert(isSent() && !isSent());
  clock.ms = 24 * HOUR - 1;
  assert(!isSent());
  clock.ms = 24 * HOUR;
  assert(isSent() && !isSent());
  clock.ms = 29 * HOUR;
  assert(isSent() && !isSent());
  clock.ms = 1000 * HOUR;
  assert(isSent() && isSent() && !isSent());
});

Deno.test("What is given back late takes nothing from later hours", () => {
  const { clock, users, send, isSent } = limiter({ messagesPerDay: 1 });
  const first = send() as Reservation;
  clock.ms = 30 * HOUR;
  assert(isSent());
  users.giveBack(first);
  assert(!isSent());
});

Deno.test("Counts last over a restart, and grow older with the time between", () => {
  const perUser = { messagesPerDay: 1 };
  const before = limiter(perUser);
  assert(before.isSent());
  for (
    const [hours, isOver] of [[0, false], [22, false], [25, true]] as const
  ) {
    const now = NOON + hours * HOUR;
    const { isSent } = restarted(before.users, perUser, { savedAt: NOON, now });
    assertEquals(isSent(), isOver, `${hours} hours`);
    assert(isSent("bob"));
  }
});

Deno.test("A clock that is set back locks no user out, and one that is set forward opens no limit for good", () => {
  const perUser = { messagesPerDay: 1 };
  const before = limiter(perUser);
  assert(before.isSent());
  const year = 365 * 24 * HOUR;
  const back = restarted(before.users, perUser, {
    savedAt: NOON,
    now: NOON - year,
  });
  assert(!back.isSent());
  back.clock.ms = 24 * HOUR;
  assert(back.isSent());
  const forward = restarted(before.users, perUser, {
    savedAt: NOON,
    now: NOON + year,
  });
  assert(forward.isSent() && !forward.isSent());
  // And back again.
  const again = restarted(forward.users, perUser, {
    savedAt: NOON + year,
    now: NOON,
  });
  assert(!again.isSent());
});

Deno.test("A server that is restarted every half hour forgets all the same", () => {
  const perUser = { messagesPerDay: 1 };
  let run = limiter(perUser);
  assert(run.isSent());
  // The clock stands still: only the time of the runs counts.
  for (let restart = 0; restart < 47; restart++) {
    run.clock.ms = HOUR / 2;
    run = restarted(run.users, perUser, { savedAt: NOON, now: NOON });
    assert(!run.isSent(), `${restart}`);
  }
  run.clock.ms = HOUR / 2;
  assert(restarted(run.users, perUser, { savedAt: NOON, now: NOON }).isSent());
});

Deno.test("A text of counts that is not whole is refused, and changes nothing", () => {
  const perUser = { messagesPerDay: 1 };
  const before = limiter(perUser);
  assert(before.isSent());
  const text = [...before.users.lines(NOON)].join("");
  const bad = [
    ...["", text.slice(0, -1), text.replace("end 1", "end 2")],
    ...[text.replace(" 0:1", " -1:1"), text.replace(" 0:1", " 0:1e9"), "\n"],
  ];
  for (const one of bad) {
    const after = limiter(perUser);
    assertThrows(
      () => after.users.restore(one, NOON),
      SyntaxError,
      "Cannot read",
    );
    assert(after.isSent());
  }
});

Deno.test("100,000 users count in less than 64 MiB, each for itself", () => {
  const memory = userMemory();
  assert(memory.byteLength < 64 * 1024 * 1024);
  const { isSent } = limiter({ messagesPerDay: 1 }, memory);
  for (let user = 0; user < 100_000; user++) assert(isSent(`user${user}`));
  for (let user = 0; user < 100_000; user += 997) {
    assert(!isSent(`user${user}`), `${user}`);
  }
  assertEquals(new UserTable(memory).size, 100_000);
});

Deno.test("A full table forgets users with small counts before one at the limit", () => {
  const memory = userMemory(64);
  const { isSent } = limiter({ messagesPerDay: 50 }, memory);
  // Its entry is the last of those that are compared at once.
  for (let user = 0; user < 15; user++) assert(isSent(`early${user}`));
  for (let turn = 0; turn < 50; turn++) assert(isSent("spammer"));
  for (let user = 0; user < 10_000; user++) assert(isSent(`user${user}`));
  assert(!isSent("spammer"));
  assertEquals(new UserTable(memory).size, 64);
});

Deno.test("No name shares the count of another, and spellings of one do", () => {
  const { isSent } = limiter({ messagesPerDay: 1 });
  assert(isSent("ann@example.com") && !isSent("ANN@Example.COM"));
  assert(isSent("ann@example.org") && isSent("ann") && isSent(""));
  assert(isSent("x".repeat(100)) && isSent(`${"x".repeat(100)}y`));
});

Deno.test("A message of any declared size leaves counts that can be read again", () => {
  const perUser = { messagesPerDay: 3 };
  const { users, send, isSent } = limiter(perUser);
  assert(isSent() && isSent());
  // The most digits that SIZE may have.
  const huge = send("bob", 99_999_999_999_999_999_999) as Reservation;
  const after = restarted(users, perUser, { savedAt: NOON, now: NOON });
  assert(after.isSent() && !after.isSent());
  users.giveBack(huge);
  const next = restarted(users, perUser, { savedAt: NOON, now: NOON });
  assert(next.isSent("bob") && next.isSent("bob") && next.isSent("bob"));
});
