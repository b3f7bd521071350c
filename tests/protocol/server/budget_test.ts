/**
 * Limits of a session on errors, refused recipients and commands without mail
 * (RFC 5321 section 4.2.4.2).
 */

import { assertEquals } from "@std/assert";
import { SmtpReply } from "../../../lib/protocol/reply.ts";
import type {
  ServerAsk,
  Verdict,
} from "../../../lib/protocol/server/effects.ts";
import { Driver, type ProfileInit } from "../../support/dialogue.ts";

/** A session after HELO and MAIL that always answers `ask` with `verdict`. */
function open(
  ask: ServerAsk["ask"],
  verdict: Verdict,
  init: ProfileInit = {},
): Driver {
  const driver = new Driver(
    {
      asks: "all",
      authentication: "allowed",
      maxErrors: 10,
      maxRefusedRecipients: 30,
      ...init,
    },
    (question) => question.ask === ask ? verdict : undefined,
  );
  driver.feed("HELO x\r\nMAIL FROM:<a@b>\r\n").take();
  return driver;
}

/**
 * How often the client can send `line` until the session ends, at most 200
 * times; and the last replies.
 */
function timesUntilEnd(driver: Driver, line: string): [number, string] {
  for (let times = 1; times <= 200; times++) {
    driver.feed(`${line}\r\n`);
    if (driver.closed !== undefined) return [times, driver.take().at(-1)!];
  }
  return [Infinity, ""];
}

const TOO_MANY = "421 4.7.0 Too many refused recipients, closing: at most 30";
const NO_SUCH = new SmtpReply(550, "No such user", { enhanced: "5.1.1" });
const LATER = new SmtpReply(450, "Later", { enhanced: "4.2.0" });

const BUDGETS: [
  name: string,
  ask: ServerAsk["ask"],
  line: string,
  verdict: Verdict,
  times: number,
][] = [
  ["standard refusals of RCPT", "rcpt", "RCPT TO:<c@d>", "deny", 31],
  ["refusals of RCPT in own words", "rcpt", "RCPT TO:<c@d>", NO_SUCH, 31],
  ["silent refusals of RCPT", "rcpt", "RCPT TO:<c@d>", "silent-deny", 31],
  ["RCPT put off", "rcpt", "RCPT TO:<c@d>", LATER, Infinity],
  ["RCPT beyond the limit", "connect", "RCPT TO:<c@d>", undefined, Infinity],
  ["refusals of VRFY", "verify", "VRFY joe", "deny", 31],
  ["VRFY not told", "verify", "VRFY joe", undefined, Infinity],
  ["refusals of EXPN", "expand", "EXPN list", "deny", 31],
];

for (const [name, ask, line, verdict, times] of BUDGETS) {
  Deno.test(`ServerProtocol bears ${name} ${times - 1} times`, () => {
    const driver = open(ask, verdict);
    const words = times === Infinity ? "" : TOO_MANY;
    assertEquals(timesUntilEnd(driver, line), [times, words]);
    if (words !== "") assertEquals(driver.closed, "errors");
    const free = open(ask, verdict, { maxRefusedRecipients: 0 });
    assertEquals(timesUntilEnd(free, line), [Infinity, ""]);
  });
}

Deno.test("ServerProtocol counts refused recipients over all transactions", () => {
  const driver = open("rcpt", NO_SUCH);
  for (let round = 0; round < 10; round++) {
    driver.feed("RCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nRCPT TO:<g@h>\r\n");
    driver.feed("RSET\r\nMAIL FROM:<a@b>\r\n");
  }
  assertEquals(driver.closed, undefined);
  driver.feed("RCPT TO:<c@d>\r\n");
  assertEquals(driver.take().at(-1), TOO_MANY);
});

Deno.test("ServerProtocol counts refused log-ins as errors", () => {
  for (
    const [verdict, times] of [
      ["deny", 11],
      [NO_SUCH, 11],
      [LATER, Infinity],
    ] as [Verdict, number][]
  ) {
    const driver = open("auth", verdict).feed("RSET\r\n");
    driver.take();
    const [got] = timesUntilEnd(driver, "AUTH PLAIN AAAA");
    assertEquals(got, times);
  }
});

const IDLE_WORDS =
  "421 4.7.0 Too many commands without mail, closing: at most 5";

/**
 * Lines that bring no message closer, and how often the client can send them
 * after HELO and MAIL.
 */
const IDLE: [name: string, line: string, times: number][] = [
  ["NOOP", "NOOP", 4],
  ["RSET", "RSET", 4],
  ["HELO", "HELO x", 4],
  ["VRFY", "VRFY joe", 4],
  ["chunks of nothing", "RCPT TO:<c@d>\r\nBDAT 0", 4],
  ["recipients that are taken", "RCPT TO:<c@d>", Infinity],
];

for (const [name, line, times] of IDLE) {
  Deno.test(`ServerProtocol bears ${name} without mail ${times - 1} times`, () => {
    const profile = { maxCommandsWithoutMail: 5, maxRecipients: 1000 };
    const driver = open("connect", undefined, { ...profile, maxErrors: 0 });
    const words = times === Infinity ? "" : IDLE_WORDS;
    assertEquals(timesUntilEnd(driver, line), [times, words]);
  });
}

Deno.test("ServerProtocol counts commands without mail anew after each message", () => {
  const driver = open("connect", undefined, { maxCommandsWithoutMail: 5 });
  for (let round = 0; round < 10; round++) {
    driver.feed("RCPT TO:<c@d>\r\nDATA\r\n.\r\nNOOP\r\nMAIL FROM:<a@b>\r\n");
  }
  assertEquals(driver.closed, undefined);
  // A refused message does not count as a message.
  const refused = open("message", "deny", { maxCommandsWithoutMail: 5 });
  refused.feed("RCPT TO:<c@d>\r\nDATA\r\n.\r\n");
  refused.feed("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n.\r\nNOOP\r\n");
  assertEquals(refused.take().at(-1), IDLE_WORDS);
});

Deno.test("ServerProtocol always lets a client leave", () => {
  const driver = open("connect", undefined, { maxCommandsWithoutMail: 2 });
  driver.feed("QUIT\r\n");
  assertEquals(driver.closed, "quit");
});

Deno.test("ServerProtocol puts off a thousand recipients of a message, then counts them", () => {
  const init = { maxRecipients: 1, maxCommandsWithoutMail: 5 };
  const driver = open("connect", undefined, init);
  driver.feed("RCPT TO:<c@d>\r\n".repeat(1004));
  assertEquals(driver.closed, undefined);
  driver.feed("RCPT TO:<c@d>\r\n");
  assertEquals(driver.take().at(-1), IDLE_WORDS);
});
