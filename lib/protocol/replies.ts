/**
 * The standard replies of the server, each made once. A handler may choose
 * others; nothing else in the module writes reply text for the protocol.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.2.3 | RFC 5321 section 4.2.3},
 * {@link https://www.rfc-editor.org/rfc/rfc3463 | RFC 3463}
 */

import { SmtpReply } from "./reply.ts";

/** Code, enhanced code and text of each, by what it says. */
const TABLE = {
  // Taken.
  ok: [250, "2.0.0", "OK"],
  reset: [250, "2.0.0", "Flushed"],
  senderOk: [250, "2.1.0", "Sender OK"],
  recipientOk: [250, "2.1.5", "Recipient OK"],
  startData: [354, "", "End data with <CRLF>.<CRLF>"],
  messageOk: [250, "2.0.0", "Message accepted"],
  goodbye: [221, "2.0.0", "Bye"],
  startTls: [220, "2.0.0", "Ready to start TLS"],
  authenticated: [235, "2.7.0", "Authentication successful"],
  cannotVerify: [
    252,
    "2.1.5",
    "Cannot verify, but will take mail and try to deliver it",
  ],
  cannotExpand: [
    252,
    "2.1.5",
    "Cannot expand, but will take mail and try to deliver it",
  ],
  help: [
    214,
    "2.0.0",
    "Commands: HELO EHLO MAIL RCPT DATA BDAT RSET NOOP QUIT HELP VRFY EXPN\nRFC 5321 tells what they do",
  ],

  // Refused for its form.
  unknownCommand: [500, "5.5.2", "Command not recognized"],
  blankBeforeCommand: [500, "5.5.2", "Blank before the command"],
  lineTooLong: [500, "5.5.2", "Line too long"],
  bareNewlineInCommand: [
    500,
    "5.5.2",
    "Bare CR or LF in a command: lines end with CRLF",
  ],
  notUtf8: [500, "5.5.2", "Line is not UTF-8"],
  controlCharacter: [500, "5.5.2", "Control character in a command"],
  badArgument: [501, "5.5.4", "Syntax error in parameters"],
  noArgument: [501, "5.5.4", "This command takes no parameters"],
  wantHelo: [501, "5.5.4", "Syntax: HELO hostname"],
  wantEhlo: [501, "5.5.4", "Syntax: EHLO hostname"],
  wantLhlo: [501, "5.5.4", "Syntax: LHLO hostname"],
  nameWithBlank: [501, "5.5.4", "Blank in the name: wanted one word"],
  nameTooLong: [501, "5.5.4", "Name is longer than 255 octets"],
  wantFrom: [501, "5.5.4", "Syntax: MAIL FROM:<address>"],
  wantTo: [501, "5.5.4", "Syntax: RCPT TO:<address>"],
  wantText: [501, "5.5.4", "Wanted: a name or an address"],
  badBdat: [
    501,
    "5.5.4",
    "Syntax: BDAT size [LAST]; closing, as what follows cannot be told from commands",
  ],
  needSmtpUtf8: [553, "5.6.7", "Address needs SMTPUTF8"],
  notImplemented: [502, "5.5.1", "Command not implemented"],
  useLhlo: [500, "5.5.1", "This is LMTP: say LHLO"],
  useEhlo: [500, "5.5.1", "This is SMTP: say EHLO"],

  // Refused for its order.
  outOfOrder: [503, "5.5.1", "Bad sequence of commands"],
  sayHello: [503, "5.5.1", "Say EHLO or HELO first"],
  nested: [503, "5.5.1", "A transaction is open: finish it or RSET"],
  noMail: [503, "5.5.1", "Need MAIL first"],
  noRecipients: [503, "5.5.1", "Need RCPT first"],
  noValidRecipients: [554, "5.5.1", "No valid recipients"],
  bdatBegun: [503, "5.5.1", "BDAT has begun: go on with BDAT or RSET"],
  bdatLost: [503, "5.5.1", "An earlier chunk was refused: send RSET"],
  binaryNeedsBdat: [503, "5.5.1", "BODY=BINARYMIME needs BDAT"],

  // Refused by policy or limit.
  refusedConnection: [554, "5.7.1", "No service for you here"],
  earlyTalker: [554, "5.5.1", "You spoke before the greeting"],
  refusedHelo: [550, "5.7.1", "Not taken"],
  refusedSender: [550, "5.7.1", "Sender refused"],
  refusedRecipient: [550, "5.1.1", "Recipient refused"],
  noSuchUser: [550, "5.1.1", "No such user"],
  noSuchList: [550, "5.1.1", "No such mailing list"],
  refusedMessage: [554, "5.7.1", "Message refused"],
  refusedHeaders: [554, "5.7.1", "Message refused for its header"],
  relayingDenied: [550, "5.7.1", "Relaying denied"],
  tooLarge: [552, "5.3.4", "Message exceeds the size limit"],
  xclientDenied: [550, "5.7.0", "You may not speak for others"],
  needTls: [530, "5.7.0", "Must issue a STARTTLS command first"],
  needAuth: [530, "5.7.0", "Authentication required"],
  authFailed: [535, "5.7.8", "Authentication credentials invalid"],
  bareCr: [550, "5.6.0", "Message has a bare CR: lines end with CRLF"],
  bareLf: [550, "5.6.0", "Message has a bare LF: lines end with CRLF"],

  // For now, or for good.
  localError: [451, "4.3.0", "Local error in processing, try again"],
  storageFull: [452, "4.3.1", "Insufficient system storage"],
  http: [421, "4.7.0", "This is SMTP, not HTTP, closing"],
  tlsOnPlain: [421, "4.7.0", "This port speaks plain SMTP first, closing"],
  endlessContent: [421, "4.7.0", "No end of refused content, closing"],
  endlessLine: [421, "4.7.0", "No end of line in 64 KiB, closing"],
  noAnswer: [421, "4.3.0", "Local error in processing, closing"],
  tooManyConnections: [421, "4.7.0", "Too many connections, try later"],
  shutdown: [421, "4.3.2", "Service shutting down, closing"],
} as const;

/** The name of a standard reply. */
export type ReplyName = keyof typeof TABLE;

/**
 * The last reply of a session in which there was too much of something.
 *
 * @param what As `"errors"`
 * @param most How many would have been borne
 */
export function tooMany(what: string, most: number): SmtpReply {
  return new SmtpReply(421, `Too many ${what}, closing: at most ${most}`, {
    enhanced: "4.7.0",
  });
}

/** The reply to a recipient of a message that has as many as it may. */
export function tooManyRecipients(most: number): SmtpReply {
  return new SmtpReply(452, `Too many recipients, at most ${most}`, {
    enhanced: "4.5.3",
  });
}

/** The standard replies, by what they say. */
export const replies: Readonly<Record<ReplyName, SmtpReply>> = Object
  .fromEntries(
    Object.entries(TABLE).map(([name, [code, enhanced, text]]) => [
      name,
      new SmtpReply(code, text, { enhanced: enhanced || undefined }),
    ]),
  ) as Record<ReplyName, SmtpReply>;
