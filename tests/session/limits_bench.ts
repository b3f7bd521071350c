/**
 * The cost of the limits: admitting and ending a connection, and counting a
 * message, in an empty table and in a full one.
 */

import { limitsOf } from "../../lib/session/limit_options.ts";
import { AddressLimiter, type Ticket } from "../../lib/session/limits.ts";

const limits = limitsOf({
  connectionsPerMinute: 0,
  messagesPerMinute: Number.MAX_SAFE_INTEGER,
  recipientsPerMinute: Number.MAX_SAFE_INTEGER,
  bytesPerMinute: Number.MAX_SAFE_INTEGER,
});
const empty = new AddressLimiter(limits);
const full = new AddressLimiter(limits);
for (let at = 0; at < 1_048_576; at++) {
  full.leave(full.admit(address(at)) as Ticket);
}

function address(at: number): string {
  return `10.${at >> 16 & 255}.${at >> 8 & 255}.${at & 255}`;
}

let turn = 0;

Deno.bench("a connection, table empty", { group: "connection" }, () => {
  empty.leave(empty.admit("10.0.0.1") as Ticket);
});

Deno.bench("a connection, table full", { group: "connection" }, () => {
  turn = (turn + 7919) & 0xfffff;
  full.leave(full.admit(address(turn)) as Ticket);
});

Deno.bench(
  "a connection that pushes another out",
  { group: "connection" },
  () => {
    turn = (turn + 1) & 0xffffff;
    const from = `2001:db8:${turn >> 12}:${turn & 0xfff}::1`;
    full.leave(full.admit(from) as Ticket);
  },
);

const ticket = full.admit("192.0.2.1") as Ticket;

Deno.bench("the counts of a message", { group: "message" }, () => {
  full.message(ticket);
  full.recipient(ticket);
  full.bytes(ticket, 4096);
});
