/**
 * Random dialogues, for every cut into reads: well-formed replies, one result,
 * bounded memory (RFC 5321 sections 4.2 and 4.5.3).
 */

import { assert, assertEquals } from "@std/assert";
import type { Verdict } from "../../../lib/protocol/server/effects.ts";
import { SmtpReply } from "../../../lib/protocol/reply.ts";
import {
  Driver,
  type Policy,
  type ProfileInit,
  uncut,
} from "../../support/dialogue.ts";
import { pieces, rounds, seeded, single } from "../../support/random.ts";
import { bytesOf } from "../../support/bytes.ts";
import { replies } from "../../../lib/protocol/replies.ts";

type Random = (limit: number) => number;

/** Input of a client: whole commands, their parts, and malformed text. */
const PARTS = [
  "HELO x\r\n",
  "EHLO x\r\n",
  "LHLO x\r\n",
  "MAIL FROM:<a@b>\r\n",
  "MAIL FROM:<a@b> SIZE=20 BODY=8BITMIME\r\n",
  "MAIL FROM:<a@b> BODY=BINARYMIME\r\n",
  "RCPT TO:<c@d>\r\n",
  "RCPT TO:<c@d> NOTIFY=NEVER\r\n",
  "DATA\r\n",
  "BDAT 7\r\n",
  "BDAT 0\r\n",
  "BDAT 30 LAST\r\n",
  "BDAT x\r\n",
  "RSET\r\n",
  "NOOP\r\n",
  "QUIT\r\n",
  "HELP\r\n",
  "VRFY a\r\n",
  "EXPN a\r\n",
  "AUTH PLAIN\r\n",
  "AUTH X AAAA\r\n",
  "*\r\n",
  "\r\n.\r\n",
  ".\r\n",
  "..\r\n",
  "text\r\n",
  "0123456789",
  "\r",
  "\n",
  "\r\n",
  ".",
  "\0",
  "\xc3\xa9",
  "\xff",
  " ",
  "<",
  "GET / HTTP/1.1\r\n",
];

const GOOD_START = "EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n";

function clientText(random: Random): string {
  let text = random(2) === 0 ? GOOD_START : "";
  for (let left = 1 + random(25); left > 0; left--) {
    text += PARTS[random(PARTS.length)];
  }
  return text;
}

function randomBytes(random: Random): string {
  let text = "";
  for (let left = random(300); left > 0; left--) {
    text += String.fromCharCode(random(5) === 0 ? 10 + random(4) : random(256));
  }
  return text;
}

const VERDICTS: readonly Verdict[] = [
  undefined,
  undefined,
  undefined,
  "deny",
  new SmtpReply(451, "Later", { enhanced: "4.3.0" }),
  new SmtpReply(250, "Fine"),
];

/** Decides at random, by seed: the same questions get the same answers. */
function randomPolicy(seed: number): Policy {
  const random = seeded(seed);
  return (ask, machine) => {
    const choice = random(60);
    if (ask.ask === "connect") return undefined;
    if (choice === 59) return new SmtpReply(421, "Enough");
    if ((ask.ask === "auth" || ask.ask === "authLine") && choice < 30) {
      machine.challenge("AAAA");
      return "handled";
    }
    return VERDICTS[choice % VERDICTS.length];
  };
}

function randomProfile(random: Random): ProfileInit {
  return {
    kind: random(4) === 0 ? "lmtp" : "smtp",
    maxSize: [0, 5, 40][random(3)]!,
    maxErrors: [0, 5][random(2)]!,
    maxRecipients: 1 + random(2),
    bareNewlines: (["reject", "normalize", "keep"] as const)[random(3)]!,
    authentication: (["none", "allowed", "required"] as const)[random(3)]!,
    asks: random(2) === 0 ? "all" : {},
    disabled: random(4) === 0 ? ["CHUNKING"] : [],
  };
}

/** All observable results of a run. */
function seen(driver: Driver): unknown {
  const { output, closed, machine } = driver;
  const events = uncut(driver.events);
  const { phase, reading } = machine.state;
  return { output, events, closed, phase, reading };
}

function check(seed: number, make: (random: Random) => string): void {
  const random = seeded(seed);
  const profile = randomProfile(random);
  const input = bytesOf(make(random));
  const run = (cut: readonly Uint8Array[]) =>
    new Driver(profile, randomPolicy(seed)).feedAll(cut);
  const whole = run([input]);
  assertEquals(seen(run(single(input))), seen(whole), `seed ${seed}, single`);
  const cut = pieces(input, { seed, longest: 2 + random(40) });
  assertEquals(seen(run(cut)), seen(whole), `seed ${seed}, pieces`);
  assert(whole.largestWrite < 20_000, `seed ${seed}: write too large`);
  for (const line of whole.take()) {
    assert(
      /^[2-5]\d\d[ -].{0,506}$/.test(line),
      `seed ${seed}: reply "${line}"`,
    );
  }
  // The state machine always recovers: reads to the end of the body, then to
  // QUIT.
  for (let left = 9; left > 0; left--) whole.feed("\r\n.\r\n\r\nQUIT\r\n");
  assert(whole.closed !== undefined, `seed ${seed}: never closes`);
}

Deno.test("ServerProtocol stands random dialogues, however they are cut", () => {
  for (let seed = 0; seed < rounds(1000); seed++) check(seed, clientText);
});

Deno.test("ServerProtocol stands runs of random bytes, however they are cut", () => {
  for (let seed = 0; seed < rounds(500); seed++) check(seed, randomBytes);
});

Deno.test("ServerProtocol keeps memory bounded while a client floods it", () => {
  for (const flood of ["x", "\n", "NOOP\r\n", "\r\n", "EHLO x\r\n", "\0"]) {
    const driver = new Driver({ maxErrors: 0 });
    const chunk = bytesOf(flood.repeat(Math.ceil(65536 / flood.length)));
    for (
      let round = 0;
      round < rounds(2) && driver.closed === undefined;
      round++
    ) {
      driver.feed(chunk);
      driver.output = "";
    }
    assert(driver.largestWrite < 20_000, `${driver.largestWrite} bytes`);
  }
});

Deno.test("ServerProtocol keeps no byte of a body", () => {
  const driver = new Driver({ maxSize: 10 });
  driver.feed(`${GOOD_START}DATA\r\n`);
  for (let round = 0; round < rounds(16); round++) {
    driver.feed("x".repeat(65536));
  }
  driver.feed("\r\n.\r\n");
  assertEquals(
    driver.take().at(-1),
    String(replies.tooLarge),
  );
});
