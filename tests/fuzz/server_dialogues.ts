/**
 * Dialogues for the receiving machine: valid ones by grammar, whose mutants
 * come close to every rule, and the profiles and decisions that go with them.
 */

import type { ListenerKind } from "../../lib/protocol/listener_kind.ts";
import { SmtpReply } from "../../lib/protocol/reply.ts";
import type { Verdict } from "../../lib/protocol/server/effects.ts";
import type { ProfileInit } from "../support/dialogue.ts";
import { chance, mutate, pick, type Random } from "./fuzz.ts";

const LOCAL_PARTS = [
  ...["a", "postmaster", '"a b"', '"a@b"', '"\\""', "a.b+c", "__proto__"],
  ...["constructor", "..", "\xc3\xbc", "x".repeat(64)],
];
const DOMAINS = [
  ...["b.test", "[192.0.2.1]", "[IPv6:::1]", "xn--bcher-kva.test", "b"],
  ...["__proto__", "\xc3\xbc.test", `${"l".repeat(63)}.test`],
];
const MAIL_PARAMETERS = [
  ...["SIZE=20", "SIZE=99999999999999999999", "BODY=8BITMIME", "RET=HDRS"],
  ...["BODY=BINARYMIME", "SMTPUTF8", "ENVID=a+2Bb", "ENVID=a+0D+0Ab"],
  ...["AUTH=<>", "AUTH=a+40b", "__proto__=1", "constructor", "toString=x"],
];
const RCPT_PARAMETERS = [
  ...["NOTIFY=NEVER", "NOTIFY=SUCCESS,DELAY", "ORCPT=rfc822;a+40b.test"],
  ...["ORCPT=utf-8;\\x{FC}@b", "ORCPT=__proto__;x", "__proto__=x"],
];
const OTHERS = [
  ...["NOOP", "RSET", "HELP", "VRFY a", "EXPN list", "STARTTLS", "QUIT"],
  ...["AUTH PLAIN", "AUTH PLAIN AAAA", "AUTH X", "*", "", "__proto__"],
  ...["constructor", "GET / HTTP/1.1", "ETRN x", "EHLO x", "HELO y", "LHLO z"],
  ...["XCLIENT ADDR=192.0.2.1", "XCLIENT LOGIN=a+2Bb HELO=x", "XCLIENT"],
  ...["XCLIENT NAME=[TEMPUNAVAIL] PORT=1 PROTO=ESMTP", "XCLIENT __proto__=x"],
];
const LINE_ENDS = ["\r\n", "\r\n", "\r\n", "\n", "\r", "\r\r\n", "\0\r\n"];
const LINES = ["", ".", "..", ".x", "text", "Subject: x", "__proto__: y"];

/** A dialogue in the protocol, sometimes with faults. */
export function dialogue(random: Random, kind: ListenerKind): string {
  const hello = kind === "lmtp" ? "LHLO" : pick(random, ["EHLO", "HELO"]);
  let text = chance(random, 20) ? "" : `${hello} x\r\n`;
  for (let left = random(4); left >= 0; left--) {
    text += chance(random, 4)
      ? `${pick(random, OTHERS)}\r\n`
      : transaction(random);
  }
  return chance(random, 4) ? text : mutate(random, text);
}

function transaction(random: Random): string {
  let text = command(random, "MAIL FROM", MAIL_PARAMETERS);
  for (let left = 1 + random(3); left > 0; left--) {
    text += command(random, "RCPT TO", RCPT_PARAMETERS);
  }
  if (chance(random, 12)) text += `${pick(random, OTHERS)}\r\n`;
  return text + (chance(random, 2) ? data(random) : chunks(random));
}

function command(
  random: Random,
  verb: string,
  parameters: readonly string[],
): string {
  const path = chance(random, 5)
    ? `${pick(random, LOCAL_PARTS)}@${pick(random, DOMAINS)}`
    : "a@b.test";
  const given = chance(random, 5) ? ` ${pick(random, parameters)}` : "";
  return `${verb}:<${path}>${given}\r\n`;
}

function body(random: Random): string {
  let text = "";
  for (let left = random(8); left > 0; left--) {
    const clean = chance(random, 2);
    text += pick(random, LINES) + (clean ? "\r\n" : pick(random, LINE_ENDS));
  }
  return text;
}

function data(random: Random): string {
  return `DATA\r\n${body(random)}\r\n.\r\n`;
}

function chunks(random: Random): string {
  let text = "";
  for (let left = random(3); left >= 0; left--) {
    const chunk = body(random);
    const last = left === 0 && !chance(random, 8) ? " LAST" : "";
    const zeros = chance(random, 8) ? "000" : "";
    text += `BDAT ${zeros}${chunk.length}${last}\r\n${chunk}`;
  }
  return text;
}

const POLICIES = [
  ...["none", "none", "none", "none", "allowed", "allowed"] as const,
  "required",
] as const;

/** What a listener's sessions have in common, at random. */
export function profile(random: Random): ProfileInit {
  return {
    kind: chance(random, 4) ? "lmtp" : "smtp",
    maxSize: pick(random, [0, 0, 0, 5, 40]),
    maxErrors: pick(random, [0, 5]),
    maxRecipients: 1 + random(2),
    bareNewlines: pick(random, ["reject", "normalize", "keep"] as const),
    authentication: pick(random, POLICIES),
    startTls: pick(random, POLICIES),
    xclient: chance(random, 2),
    asks: chance(random, 2) ? "all" : {},
    disabled: chance(random, 4) ? [pick(random, ["CHUNKING", "SMTPUTF8"])] : [],
  };
}

const VERDICTS: readonly Verdict[] = [
  new SmtpReply(451, "Later", { enhanced: "4.3.0" }),
  new SmtpReply(250, "Fine"),
  "deny",
];

/** Decides a question by a number, so that equal questions get equal answers. */
export function decide(number: number): Verdict {
  if (number % 60 === 59) return new SmtpReply(421, "Enough");
  return VERDICTS[number % 30];
}
