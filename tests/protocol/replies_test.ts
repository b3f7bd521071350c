/**
 * The standard replies by code and enhanced code: what the peer's programs act
 * upon, and its people look up. A second copy of the table on purpose: a slip in
 * one of them is seen here.
 */

import { assertEquals } from "@std/assert";
import {
  replies,
  type ReplyName,
  tooMany,
  tooManyRecipients,
} from "../../lib/protocol/replies.ts";

const WANT: Readonly<Record<ReplyName, string>> = {
  ok: "250 2.0.0",
  reset: "250 2.0.0",
  senderOk: "250 2.1.0",
  recipientOk: "250 2.1.5",
  startData: "354",
  messageOk: "250 2.0.0",
  goodbye: "221 2.0.0",
  startTls: "220 2.0.0",
  authenticated: "235 2.7.0",
  cannotVerify: "252 2.1.5",
  cannotExpand: "252 2.1.5",
  help: "214 2.0.0",
  unknownCommand: "500 5.5.2",
  blankBeforeCommand: "500 5.5.2",
  lineTooLong: "500 5.5.2",
  bareNewlineInCommand: "500 5.5.2",
  notUtf8: "500 5.5.2",
  controlCharacter: "500 5.5.2",
  badArgument: "501 5.5.4",
  noArgument: "501 5.5.4",
  wantHelo: "501 5.5.4",
  wantEhlo: "501 5.5.4",
  wantLhlo: "501 5.5.4",
  nameWithBlank: "501 5.5.4",
  nameTooLong: "501 5.5.4",
  wantFrom: "501 5.5.4",
  wantTo: "501 5.5.4",
  wantText: "501 5.5.4",
  badBdat: "501 5.5.4",
  needSmtpUtf8: "553 5.6.7",
  notImplemented: "502 5.5.1",
  useLhlo: "500 5.5.1",
  useEhlo: "500 5.5.1",
  outOfOrder: "503 5.5.1",
  sayHello: "503 5.5.1",
  nested: "503 5.5.1",
  noMail: "503 5.5.1",
  noRecipients: "503 5.5.1",
  noValidRecipients: "554 5.5.1",
  bdatBegun: "503 5.5.1",
  bdatLost: "503 5.5.1",
  binaryNeedsBdat: "503 5.5.1",
  refusedConnection: "554 5.7.1",
  earlyTalker: "554 5.5.1",
  refusedHelo: "550 5.7.1",
  refusedSender: "550 5.7.1",
  refusedRecipient: "550 5.1.1",
  noSuchUser: "550 5.1.1",
  noSuchList: "550 5.1.1",
  refusedMessage: "554 5.7.1",
  refusedHeaders: "554 5.7.1",
  relayingDenied: "550 5.7.1",
  tooLarge: "552 5.3.4",
  xclientDenied: "550 5.7.0",
  needTls: "530 5.7.0",
  needAuth: "530 5.7.0",
  authFailed: "535 5.7.8",
  bareCr: "550 5.6.0",
  bareLf: "550 5.6.0",
  localError: "451 4.3.0",
  storageFull: "452 4.3.1",
  http: "421 4.7.0",
  tlsOnPlain: "421 4.7.0",
  endlessContent: "421 4.7.0",
  endlessLine: "421 4.7.0",
  noAnswer: "421 4.3.0",
  tooManyConnections: "421 4.7.0",
  shutdown: "421 4.3.2",
};

Deno.test("Every standard reply has its code and its enhanced code", () => {
  const found = Object.entries(replies).map((
    [name, { code, enhanced }],
  ) => [name, enhanced === undefined ? `${code}` : `${code} ${enhanced}`]);
  assertEquals(Object.fromEntries(found), WANT);
});

Deno.test("Replies about a number have their code and their enhanced code", () => {
  assertEquals(
    `${tooMany("errors", 20)}`,
    "421 4.7.0 Too many errors, closing: at most 20",
  );
  assertEquals(
    `${tooManyRecipients(100)}`,
    "452 4.5.3 Too many recipients, at most 100",
  );
});

Deno.test("The enhanced code of every standard reply is of the code's class, and only 2xx, 4xx and 5xx have one", () => {
  const made = [
    ...Object.values(replies),
    tooMany("a", 1),
    tooManyRecipients(1),
  ];
  for (const { code, enhanced, lines } of made) {
    if (Math.floor(code / 100) === 3) assertEquals(enhanced, undefined);
    else assertEquals(enhanced?.[0], `${code}`[0], `${code} ${lines[0]}`);
    assertEquals(lines.every((line) => line !== ""), true);
  }
});
