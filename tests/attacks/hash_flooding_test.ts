/**
 * Hash flooding and its kin: names that a peer makes up are never keys of a table
 * that outlives the command, or the table has a bound. The tests count what is
 * kept; they measure no time.
 *
 * The promise of SECURITY.md: "Every buffer has a limit".
 */

import { assert, assertEquals } from "@std/assert";
import { RecentAddresses } from "../../lib/protocol/parse_cache.ts";
import { Address } from "../../lib/protocol/address.ts";
import { MessageHeaders } from "../../lib/protocol/headers.ts";
import { ClientCapabilities } from "../../lib/protocol/client/capabilities.ts";
import { SmtpReply } from "../../lib/protocol/reply.ts";
import { ReplyReader } from "../../lib/protocol/client/replies.ts";
import { Driver } from "../support/dialogue.ts";
import { bytesOf, utf8 } from "../support/bytes.ts";
import { replies } from "../../lib/protocol/replies.ts";

/** Names of one length that a hash by multiplying with 31 cannot tell apart. */
function* colliding(bits: number): Generator<string> {
  for (let number = 0; number < 2 ** bits; number++) {
    let name = "";
    for (let bit = 0; bit < bits; bit++) {
      name += number >> bit & 1 ? "BB" : "Aa";
    }
    yield name;
  }
}

Deno.test("ServerProtocol looks at no parameter behind the first that it does not know", () => {
  const names = [...colliding(6)].map((name) => `${name}=x`);
  const driver = new Driver({ maxErrors: 0 });
  driver.feed("EHLO x\r\n").take();
  driver.feed(`MAIL FROM:<a@b.test> ${names.join(" ")}\r\n`);
  assertEquals(driver.take(), [
    "555 5.5.4 Parameter AAAAAAAAAAAA is not recognized here",
  ]);
  // More than that does not fit into the line.
  driver.feed(`MAIL FROM:<a@b.test> ${names.join(" ").repeat(2)}\r\n`);
  assertEquals(driver.take(), [String(replies.lineTooLong)]);
});

Deno.test("Parameters hold what has a meaning, and nothing that was made up", () => {
  const seen: string[] = [];
  const driver = new Driver({ maxErrors: 0, asks: "all" }, (ask) => {
    if (ask.ask === "mail") seen.push(...Object.keys(ask.parameters));
    return undefined;
  });
  driver.feed("EHLO x\r\nMAIL FROM:<a@b.test> SIZE=1 BODY=7BIT RET=HDRS\r\n");
  assertEquals(seen, ["size", "body", "ret"]);
});

Deno.test("RecentAddresses forgets the oldest of many", () => {
  const recent = new RecentAddresses();
  const address = Address.parse("a@b.test");
  for (const name of colliding(12)) recent.keep(name, address);
  const kept = [...colliding(12)].filter((name) => recent.find(name));
  assertEquals(kept.length, 512);
});

Deno.test("MessageHeaders finds a field among ten thousand of colliding names", () => {
  let block = "";
  let count = 0;
  for (const name of colliding(13)) {
    block += `${name}: x\r\n`;
    count++;
  }
  const headers = MessageHeaders.parse(utf8(`${block}Subject: y\r\n\r\n`));
  // Names are compared without regard to case, in which all of these differ from "Subject" only.
  assertEquals(headers.count, count + 1);
  assertEquals(headers.get("subject"), "y");
});

Deno.test("ClientCapabilities takes no more keywords than a reply may have lines", () => {
  const reader = new ReplyReader();
  let text = "";
  for (const name of colliding(8)) text += `250-${name}\r\n`;
  reader.push(bytesOf(`${text}250 x\r\n`));
  const got = reader.next();
  assert(got !== undefined && "fault" in got, "A reply of 257 lines was taken");
  const lines = ["x", ...colliding(6)];
  const offered = ClientCapabilities.parse(new SmtpReply(250, lines));
  assert(offered.has("AAAAAAAAAAAA"));
});
