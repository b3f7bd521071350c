/** Limits per address and in total: connections, messages, bytes, refusals. */

import { assertEquals, assertThrows } from "@std/assert";
import {
  type LimitOptions,
  limitsOf,
} from "../../lib/session/limit_options.ts";
import { AddressLimiter, EXEMPT } from "../../lib/session/limits.ts";

/** A limiter with a clock that the test moves, in seconds. */
function limiter(limits: LimitOptions): {
  readonly it: AddressLimiter;
  readonly clock: { seconds: number };
} {
  const clock = { seconds: 0 };
  const it = new AddressLimiter(limitsOf(limits), {
    now: () => clock.seconds * 1000,
  });
  return { it, clock };
}

/** The different results of `times` calls. */
function outcomes<T>(times: number, call: () => T): T[] {
  return [...new Set(Array.from({ length: times }, call))];
}

Deno.test("AddressLimiter admits so many connections, of all and of each address", () => {
  const { it } = limiter({ maxConnections: 4, maxConnectionsPerIp: 2 });
  const first = it.admit("192.0.2.1");
  assertEquals(it.admit("192.0.2.1"), first);
  assertEquals(it.admit("192.0.2.1"), "maxConnectionsPerIp");
  assertEquals(typeof it.admit("192.0.2.2"), "number");
  assertEquals(it.admit("127.0.0.1"), EXEMPT);
  assertEquals(it.admit("192.0.2.3"), "maxConnections");
  assertEquals(it.admit("127.0.0.1"), "maxConnections");
  it.leave(EXEMPT);
  assertEquals(it.admit("192.0.2.1"), "maxConnectionsPerIp");
  it.leave(first as number);
  assertEquals(it.admit("192.0.2.1"), first);
});

Deno.test("AddressLimiter counts an IPv6 customer as one, IPv4 addresses each", () => {
  const rows: [first: string, second: string, one: boolean][] = [
    ["192.0.2.1", "192.0.2.2", false],
    ["192.0.2.1", "::ffff:192.0.2.1", true],
    ["2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", true],
    ["2001:db8:1:2::1", "2001:db8:1:3::1", false],
    // An IPv6 address that begins with the same bytes.
    ["192.0.2.1", "c000:201::1", false],
  ];
  for (const [first, second, one] of rows) {
    const { it } = limiter({ maxConnectionsPerIp: 1 });
    it.admit(first);
    assertEquals(it.admit(second) === "maxConnectionsPerIp", one, second);
  }
});

Deno.test("AddressLimiter counts connections, messages, recipients and bytes by the minute", () => {
  const { it, clock } = limiter({
    connectionsPerMinute: 3,
    messagesPerMinute: 4,
    recipientsPerMinute: 5,
    bytesPerMinute: 1000,
  });
  const ticket = it.admit("192.0.2.1") as number;
  for (let minute = 0; minute < 3; minute++) {
    clock.seconds = minute * 60;
    const more = minute === 0 ? 2 : 3;
    assertEquals(outcomes(more, () => it.admit("192.0.2.1")), [ticket]);
    assertEquals(it.admit("192.0.2.1"), "connectionsPerMinute");
    assertEquals(outcomes(3, () => it.message(ticket)), [undefined]);
    it.bytes(ticket, 1000);
    assertEquals(it.message(ticket), "bytesPerMinute");
    assertEquals(outcomes(5, () => it.recipient(ticket)), [undefined]);
    clock.seconds += 59;
    assertEquals(it.recipient(ticket), "recipientsPerMinute");
  }
  const other = it.admit("192.0.2.2") as number;
  assertEquals(outcomes(4, () => it.message(other)), [undefined]);
  assertEquals(outcomes(9, () => it.message(other)), ["messagesPerMinute"]);
});

Deno.test("AddressLimiter slows an address down that guesses recipients, and no other", () => {
  const { it, clock } = limiter({});
  const ticket = it.admit("192.0.2.1") as number;
  const other = it.admit("192.0.2.2") as number;
  const delays = Array.from({ length: 13 }, () => it.refused(ticket));
  assertEquals(delays, [
    ...[0, 0, 0, 0, 0, 250, 500, 1000, 2000, 4000, 8000, 8000, 8000],
  ]);
  assertEquals(it.refused(other), 0);
  // The same on its next connection.
  assertEquals(it.refused(it.admit("192.0.2.1") as number), 8000);
  clock.seconds = 240;
  assertEquals(it.refused(ticket), 0);
});

Deno.test("AddressLimiter has no limit that is 0, and none for networks that are exempt", () => {
  const off = limiter({
    maxConnectionsPerIp: 0,
    connectionsPerMinute: 0,
    messagesPerMinute: 0,
    recipientsPerMinute: 0,
    bytesPerMinute: 0,
    tarpitMs: 0,
  }).it;
  const spared = limiter({ exempt: ["2001:db8::/32"] }).it;
  for (
    const [it, address] of [[off, "192.0.2.1"], [
      spared,
      "2001:db8::9",
    ]] as const
  ) {
    const [ticket, ...more] = outcomes(3000, () => it.admit(address));
    assertEquals(more, []);
    it.bytes(ticket as number, Number.MAX_SAFE_INTEGER);
    assertEquals(outcomes(3000, () => it.message(ticket as number)), [
      undefined,
    ]);
    assertEquals(outcomes(9000, () => it.recipient(ticket as number)), [
      undefined,
    ]);
    assertEquals(outcomes(100, () => it.refused(ticket as number)), [0]);
  }
  // With other exempt networks, loopback is not exempt.
  assertEquals(spared.admit("127.0.0.1"), 0);
  assertEquals(limiter({ exempt: [] }).it.admit("::1"), 0);
  assertEquals(limiter({}).it.admit("::1"), EXEMPT);
  assertEquals(limiter({}).it.admit("::ffff:127.9.9.9"), EXEMPT);
});

Deno.test("limitsOf() refuses networks that cannot be read", () => {
  assertThrows(
    () => limitsOf({ exempt: ["10.0.0.1/8"] }),
    SyntaxError,
    'Cannot parse network "10.0.0.1/8": want "10.0.0.0/8"',
  );
});
