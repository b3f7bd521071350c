/**
 * Every reply of the server in full: code and enhanced code, on which the
 * peer's programs act, and the text, which its postmasters read. The table is
 * copied on purpose, so that this test fails on an accidental change.
 */

import { assertEquals } from "@std/assert";
import {
  badPath,
  chunkReceived,
  closing,
  doubleAttribute,
  doubleParameter,
  firstLines,
  found,
  goodbyeReply,
  greetingReply,
  limitReached,
  malformedAttribute,
  malformedParameter,
  messageAccepted,
  replies,
  type ReplyName,
  timedOut,
  tooMany,
  tooManyRecipients,
  unknownAttribute,
  unknownParameter,
} from "../../lib/protocol/replies.ts";
import type { SmtpReply } from "../../lib/protocol/reply.ts";

const WANT: Readonly<Record<ReplyName, string>> = {
  ok: "250 2.0.0 OK",
  reset: "250 2.0.0 Reset OK",
  senderOk: "250 2.1.0 Sender OK",
  recipientOk: "250 2.1.5 Recipient OK",
  startData: "354 End data with <CRLF>.<CRLF>",
  messageOk: "250 2.0.0 Message accepted",
  goodbye: "221 2.0.0 Bye",
  startTls: "220 2.0.0 Ready to start TLS",
  authenticated: "235 2.7.0 Authentication successful",
  cannotVerify:
    "252 2.1.5 Cannot verify the user, but will accept mail and attempt delivery",
  cannotExpand:
    "252 2.1.5 Cannot expand the list, but will accept mail and attempt delivery",
  help:
    "214-2.0.0 Commands: HELO EHLO MAIL RCPT DATA BDAT RSET NOOP QUIT HELP VRFY EXPN\n214 2.0.0 See RFC 5321",
  unknownCommand: "500 5.5.2 Command not recognized",
  blankBeforeCommand: "500 5.5.2 Space before the command",
  lineTooLong: "500 5.5.2 Line too long",
  bareNewlineInCommand:
    "500 5.5.2 Bare CR or LF in a command: lines end with CRLF",
  notUtf8: "500 5.5.2 Line is not UTF-8",
  controlCharacter: "500 5.5.2 Control character in a command",
  badArgument: "501 5.5.4 Syntax error in parameters",
  noArgument: "501 5.5.4 This command takes no parameters",
  wantHelo: "501 5.5.4 Syntax: HELO hostname",
  wantEhlo: "501 5.5.4 Syntax: EHLO hostname",
  wantLhlo: "501 5.5.4 Syntax: LHLO hostname",
  nameWithBlank: "501 5.5.4 Space in the name: expected one word",
  nameTooLong: "501 5.5.4 Name is longer than 255 bytes",
  wantFrom: "501 5.5.4 Syntax: MAIL FROM:<address>",
  wantTo: "501 5.5.4 Syntax: RCPT TO:<address>",
  wantVrfy: "501 5.5.4 Syntax: VRFY <string>",
  wantExpn: "501 5.5.4 Syntax: EXPN <string>",
  badBdat:
    "501 5.5.4 Syntax: BDAT size [LAST]; closing, because the data that follows cannot be told from commands",
  needSmtpUtf8: "553 5.6.7 Address needs SMTPUTF8",
  notImplemented: "502 5.5.1 Command not implemented",
  useLhlo: "500 5.5.1 This is LMTP: say LHLO",
  useEhlo: "500 5.5.1 This is SMTP: say EHLO",
  outOfOrder: "503 5.5.1 Bad sequence of commands",
  sayHello: "503 5.5.1 Say EHLO or HELO first",
  nested: "503 5.5.1 A transaction is open: finish it or RSET",
  noMail: "503 5.5.1 Need MAIL first",
  noRecipients: "503 5.5.1 Need RCPT first",
  noValidRecipients: "554 5.5.1 No valid recipients",
  bdatBegun: "503 5.5.1 BDAT has begun: go on with BDAT or RSET",
  bdatLost: "503 5.5.1 An earlier chunk was refused: send RSET",
  binaryNeedsBdat: "503 5.5.1 BODY=BINARYMIME needs BDAT",
  refusedConnection: "554 5.7.1 Connection refused by policy",
  earlyTalker: "554 5.5.1 Protocol error: command before the greeting",
  refusedHelo: "550 5.7.1 HELO rejected",
  refusedSender: "550 5.7.1 Sender refused",
  refusedRecipient: "550 5.1.1 Recipient refused",
  noSuchUser: "550 5.1.1 No such user",
  returnExpired: "550 5.1.1 This address for bounces has expired",
  bouncesOnly: "550 5.7.1 Only bounces may go to this address",
  noSuchList: "550 5.1.1 No such mailing list",
  refusedMessage: "554 5.7.1 Message refused",
  refusedHeaders: "554 5.7.1 Message refused for its header",
  relayingDenied: "550 5.7.1 Relaying denied",
  senderNotOwn: "553 5.7.1 Sender is not an address of this user",
  authorNotOwn:
    "550 5.7.1 From or Sender in the header is not an address of this user",
  tooLarge: "552 5.3.4 Message exceeds the size limit",
  headerTooLarge: "552 5.3.4 Header exceeds 256 KiB",
  spfUnknown:
    "451 4.7.24 Cannot check SPF of the sender's domain now, try again",
  dkimUnknown: "451 4.7.20 Cannot check the DKIM signature now, try again",
  policyUnknown:
    "451 4.7.0 Cannot check the DMARC policy of the author's domain now, try again",
  xclientDenied: "550 5.7.0 XCLIENT not permitted",
  needTls: "530 5.7.0 Must issue a STARTTLS command first",
  needAuth: "530 5.7.0 Authentication required",
  bareCr: "550 5.6.0 Message has a bare CR: lines end with CRLF",
  bareLf: "550 5.6.0 Message has a bare LF: lines end with CRLF",
  authFailed: "535 5.7.8 Authentication credentials invalid",
  encryptionRequired: "538 5.7.11 Encryption required for authentication",
  mechanismUnknown: "504 5.5.4 Mechanism not offered",
  noInitialResponse: "501 5.7.0 The mechanism has no initial response",
  notBase64: "501 5.5.2 Response is not base64",
  responseMalformed: "501 5.5.2 Response cannot be read",
  authCancelled: "501 5.7.0 Authentication cancelled",
  authLineTooLong: "500 5.5.6 Authentication line too long",
  authUnavailable: "454 4.7.0 Temporary authentication failure",
  tooManyLogins: "421 4.7.0 Too many failed logins, closing",
  noSpaceAfterPath: "501 5.5.4 Space required after the path",
  holdTwice: "501 5.5.4 HOLDFOR and HOLDUNTIL given together",
  holdPast: "501 5.5.4 The time of release is not in the future",
  holdBeyondBy: "501 5.5.4 The message would be released after the time of BY",
  wantXclient: "501 5.5.4 Syntax: XCLIENT attribute=value...",
  mailboxFull: "452 4.2.2 Mailbox full",
  aliasLoop: "554 5.4.6 The aliases of this address lead back to it",
  aliasTooLarge: "451 4.3.5 This address has too many aliases",
  deliveredLate:
    "554 5.4.7 The time of BY has passed before the message was complete",
  localError: "451 4.3.0 Local error in processing, try again",
  storageFull: "452 4.3.1 Insufficient system storage",
  overQuota: "552 5.2.2 Message is larger than the mailbox may be",
  http: "421 4.7.0 This is SMTP, not HTTP, closing",
  tlsOnPlain: "421 4.7.0 This port speaks plain SMTP first, closing",
  endlessContent: "421 4.7.0 Refused content too long, closing",
  endlessLine: "421 4.7.0 Line longer than 64 KiB, closing",
  noAnswer: "421 4.3.0 Local error in processing, closing",
  tooManyConnections: "421 4.7.0 Too many connections, try later",
  shutdown: "421 4.3.2 Service shutting down, closing",
};

/** Replies with facts of the session. */
const MADE: readonly (readonly [reply: SmtpReply, want: string])[] = [
  [greetingReply("mx.example", "ESMTP ready"), "220 mx.example ESMTP ready"],
  [goodbyeReply("See you"), "221 2.0.0 See you"],
  [tooMany("errors", 20), "421 4.7.0 Too many errors, closing: at most 20"],
  [
    timedOut({ missing: "command", ms: 1000 }),
    "421 4.4.2 Timeout, closing: no whole command in 1 second",
  ],
  [
    timedOut({ missing: "message", ms: 60_000 }),
    "421 4.4.2 Timeout, closing: no message in 60 seconds",
  ],
  [
    timedOut({ missing: "end of content", ms: 2000 }),
    "421 4.4.2 Timeout, closing: content for more than 2 seconds",
  ],
  [
    timedOut({ missing: "speed", ms: 500, bytesPerSecond: 10 }),
    "421 4.4.2 Timeout, closing: less than 10 bytes a second for 0.5 seconds",
  ],
  [
    limitReached("maxConnections", { most: 5, network: "192.0.2.1" }),
    "421 4.7.0 Too many connections, at most 5",
  ],
  [
    limitReached("connectionsPerMinute", { most: 5, network: "192.0.2.1" }),
    "421 4.7.0 Too many new connections from 192.0.2.1, at most 5 a minute",
  ],
  [
    limitReached("messagesPerMinute", { most: 5, network: "192.0.2.1" }),
    "450 4.7.1 Too many messages from 192.0.2.1, at most 5 a minute",
  ],
  [
    closing(limitReached("bytesPerMinute", { most: 5, network: "192.0.2.1" })),
    "421 4.7.0 Too many bytes from 192.0.2.1, at most 5 a minute",
  ],
  [badPath("Recipient is empty", "forward"), "501 5.1.3 Recipient is empty"],
  [badPath("Domain is empty", "reverse"), "501 5.1.7 Domain is empty"],
  [malformedParameter("SIZE"), "501 5.5.4 Malformed parameter SIZE"],
  [doubleParameter("RET"), "501 5.5.4 Parameter RET given twice"],
  [
    unknownParameter("\u00e9" + "X".repeat(40)),
    `555 5.5.4 Parameter ?${"X".repeat(31)}... is not recognized here`,
  ],
  [unknownAttribute("WHO"), "501 5.5.4 Bad XCLIENT attribute name: WHO"],
  [malformedAttribute("addr"), "501 5.5.4 Bad ADDR syntax"],
  [doubleAttribute("addr"), "501 5.5.4 ADDR given twice"],
  [tooManyRecipients(100), "452 4.5.3 Too many recipients, at most 100"],
  [chunkReceived(7), "250 2.0.0 7 bytes received"],
  [messageAccepted("a1"), "250 2.0.0 Message accepted as a1"],
  [found(["ann@b", "bob@b"]), "250-2.1.5 ann@b\n250 2.1.5 bob@b"],
  [firstLines(found(["ann@b", "bob@b"]), 1), "250 2.1.5 ann@b"],
];

Deno.test("Every standard reply has its code, its enhanced code and its text", () => {
  const found = Object.entries(replies).map((
    [name, reply],
  ) => [name, `${reply}`]);
  assertEquals(Object.fromEntries(found), WANT);
});

Deno.test("Replies about the session have their code, their enhanced code and their text", () => {
  for (const [reply, want] of MADE) assertEquals(`${reply}`, want);
});

Deno.test("The enhanced code of every reply is of the code's class, and only 2xx, 4xx and 5xx have one", () => {
  const made = MADE.map(([reply]) => reply).filter(({ code }) => code !== 220);
  for (
    const { code, enhanced, lines } of [...Object.values(replies), ...made]
  ) {
    if (Math.floor(code / 100) === 3) assertEquals(enhanced, undefined);
    else assertEquals(enhanced?.[0], `${code}`[0], `${code} ${lines[0]}`);
    assertEquals(lines.every((line) => line !== ""), true);
  }
});
