/**
 * The text of every reply that the server itself sends: the standard replies,
 * each made once, and functions for the replies with facts of the session. A
 * handler may send others. Only the EHLO lines are elsewhere, in
 * `capabilities.ts`.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.2.3 | RFC 5321 section 4.2.3},
 * {@link https://www.rfc-editor.org/rfc/rfc3463 | RFC 3463}
 */

import { SmtpReply } from "./reply.ts";

/** Code, enhanced code and text of each reply, by name. */
const TABLE = {
  // Accepted.
  ok: [250, "2.0.0", "OK"],
  reset: [250, "2.0.0", "Reset OK"],
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
    "Cannot verify the user, but will accept mail and attempt delivery",
  ],
  cannotExpand: [
    252,
    "2.1.5",
    "Cannot expand the list, but will accept mail and attempt delivery",
  ],
  help: [
    214,
    "2.0.0",
    "Commands: HELO EHLO MAIL RCPT DATA BDAT RSET NOOP QUIT HELP VRFY EXPN\nSee RFC 5321",
  ],

  // Syntax errors.
  unknownCommand: [500, "5.5.2", "Command not recognized"],
  blankBeforeCommand: [500, "5.5.2", "Space before the command"],
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
  nameWithBlank: [501, "5.5.4", "Space in the name: expected one word"],
  nameTooLong: [501, "5.5.4", "Name is longer than 255 bytes"],
  wantFrom: [501, "5.5.4", "Syntax: MAIL FROM:<address>"],
  wantTo: [501, "5.5.4", "Syntax: RCPT TO:<address>"],
  wantVrfy: [501, "5.5.4", "Syntax: VRFY <string>"],
  wantExpn: [501, "5.5.4", "Syntax: EXPN <string>"],
  badBdat: [
    501,
    "5.5.4",
    "Syntax: BDAT size [LAST]; closing, because the data that follows cannot be told from commands",
  ],
  needSmtpUtf8: [553, "5.6.7", "Address needs SMTPUTF8"],
  notImplemented: [502, "5.5.1", "Command not implemented"],
  useLhlo: [500, "5.5.1", "This is LMTP: say LHLO"],
  useEhlo: [500, "5.5.1", "This is SMTP: say EHLO"],

  // Bad sequence.
  outOfOrder: [503, "5.5.1", "Bad sequence of commands"],
  sayHello: [503, "5.5.1", "Say EHLO or HELO first"],
  nested: [503, "5.5.1", "A transaction is open: finish it or RSET"],
  noMail: [503, "5.5.1", "Need MAIL first"],
  noRecipients: [503, "5.5.1", "Need RCPT first"],
  noValidRecipients: [554, "5.5.1", "No valid recipients"],
  bdatBegun: [503, "5.5.1", "BDAT has begun: go on with BDAT or RSET"],
  bdatLost: [503, "5.5.1", "An earlier chunk was refused: send RSET"],
  binaryNeedsBdat: [503, "5.5.1", "BODY=BINARYMIME needs BDAT"],

  // Policy and limits.
  refusedConnection: [554, "5.7.1", "Connection refused by policy"],
  earlyTalker: [554, "5.5.1", "Protocol error: command before the greeting"],
  refusedHelo: [550, "5.7.1", "HELO rejected"],
  refusedSender: [550, "5.7.1", "Sender refused"],
  refusedRecipient: [550, "5.1.1", "Recipient refused"],
  noSuchUser: [550, "5.1.1", "No such user"],
  returnExpired: [550, "5.1.1", "This address for bounces has expired"],
  bouncesOnly: [550, "5.7.1", "Only bounces may go to this address"],
  noSuchList: [550, "5.1.1", "No such mailing list"],
  refusedMessage: [554, "5.7.1", "Message refused"],
  refusedHeaders: [554, "5.7.1", "Message refused for its header"],
  relayingDenied: [550, "5.7.1", "Relaying denied"],
  senderNotOwn: [553, "5.7.1", "Sender is not an address of this user"],
  authorNotOwn: [
    550,
    "5.7.1",
    "From or Sender in the header is not an address of this user",
  ],
  tooLarge: [552, "5.3.4", "Message exceeds the size limit"],
  headerTooLarge: [552, "5.3.4", "Header exceeds 256 KiB"],
  spfUnknown: [
    451,
    "4.7.24",
    "Cannot check SPF of the sender's domain now, try again",
  ],
  dkimUnknown: [
    451,
    "4.7.20",
    "Cannot check the DKIM signature now, try again",
  ],
  policyUnknown: [
    451,
    "4.7.0",
    "Cannot check the DMARC policy of the author's domain now, try again",
  ],
  xclientDenied: [550, "5.7.0", "XCLIENT not permitted"],
  needTls: [530, "5.7.0", "Must issue a STARTTLS command first"],
  needAuth: [530, "5.7.0", "Authentication required"],
  bareCr: [550, "5.6.0", "Message has a bare CR: lines end with CRLF"],
  bareLf: [550, "5.6.0", "Message has a bare LF: lines end with CRLF"],

  // AUTH.
  authFailed: [535, "5.7.8", "Authentication credentials invalid"],
  encryptionRequired: [
    538,
    "5.7.11",
    "Encryption required for authentication",
  ],
  mechanismUnknown: [504, "5.5.4", "Mechanism not offered"],
  noInitialResponse: [501, "5.7.0", "The mechanism has no initial response"],
  notBase64: [501, "5.5.2", "Response is not base64"],
  responseMalformed: [501, "5.5.2", "Response cannot be read"],
  authCancelled: [501, "5.7.0", "Authentication cancelled"],
  authLineTooLong: [500, "5.5.6", "Authentication line too long"],
  authUnavailable: [454, "4.7.0", "Temporary authentication failure"],
  tooManyLogins: [421, "4.7.0", "Too many failed logins, closing"],

  // Parameters.
  noSpaceAfterPath: [501, "5.5.4", "Space required after the path"],
  holdTwice: [501, "5.5.4", "HOLDFOR and HOLDUNTIL given together"],
  holdPast: [501, "5.5.4", "The time of release is not in the future"],
  holdBeyondBy: [
    501,
    "5.5.4",
    "The message would be released after the time of BY",
  ],
  wantXclient: [501, "5.5.4", "Syntax: XCLIENT attribute=value..."],

  // Local recipients.
  mailboxFull: [452, "4.2.2", "Mailbox full"],
  aliasLoop: [554, "5.4.6", "The aliases of this address lead back to it"],
  aliasTooLarge: [451, "4.3.5", "This address has too many aliases"],

  // Temporary and permanent failures.
  deliveredLate: [
    554,
    "5.4.7",
    "The time of BY has passed before the message was complete",
  ],
  localError: [451, "4.3.0", "Local error in processing, try again"],
  storageFull: [452, "4.3.1", "Insufficient system storage"],
  overQuota: [552, "5.2.2", "Message is larger than the mailbox may be"],
  http: [421, "4.7.0", "This is SMTP, not HTTP, closing"],
  tlsOnPlain: [421, "4.7.0", "This port speaks plain SMTP first, closing"],
  endlessContent: [421, "4.7.0", "Refused content too long, closing"],
  endlessLine: [421, "4.7.0", "Line longer than 64 KiB, closing"],
  noAnswer: [421, "4.3.0", "Local error in processing, closing"],
  tooManyConnections: [421, "4.7.0", "Too many connections, try later"],
  shutdown: [421, "4.3.2", "Service shutting down, closing"],
} as const;

/** The name of a standard reply. */
export type ReplyName = keyof typeof TABLE;

/** The standard replies, by name. */
export const replies: Readonly<Record<ReplyName, SmtpReply>> = Object
  .fromEntries(
    Object.entries(TABLE).map(([name, [code, enhanced, text]]) => [
      name,
      new SmtpReply(code, text, { enhanced: enhanced || undefined }),
    ]),
  ) as Record<ReplyName, SmtpReply>;

/** Makes a reply with an enhanced code. */
function make(
  code: number,
  enhanced: string,
  text: string | readonly string[],
): SmtpReply {
  return new SmtpReply(code, text, { enhanced });
}

// Beginning and end of a session.

/** The greeting. */
export function greetingReply(hostname: string, text: string): SmtpReply {
  return new SmtpReply(220, `${hostname} ${text}`);
}

/** The reply to QUIT if the server has a text of its own for it. */
export function goodbyeReply(text: string): SmtpReply {
  return make(221, "2.0.0", text);
}

/**
 * The last reply of a session that exceeded a limit.
 *
 * @param what The things counted, such as `"errors"`
 * @param most The limit
 */
export function tooMany(what: string, most: number): SmtpReply {
  return make(421, "4.7.0", `Too many ${what}, closing: at most ${most}`);
}

/** What a client took too long for. */
export type Lateness =
  | { readonly missing: "command"; readonly ms: number }
  | { readonly missing: "message"; readonly ms: number }
  | { readonly missing: "end of content"; readonly ms: number }
  | {
    readonly missing: "speed";
    readonly ms: number;
    readonly bytesPerSecond: number;
  };

/** The last reply to a client that exceeded a time limit. */
export function timedOut(late: Lateness): SmtpReply {
  return make(421, "4.4.2", `Timeout, closing: ${lateness(late)}`);
}

function lateness(late: Lateness): string {
  const time = late.ms === 1000 ? "1 second" : `${late.ms / 1000} seconds`;
  switch (late.missing) {
    case "command":
      return `no whole command in ${time}`;
    case "message":
      return `no message in ${time}`;
    case "end of content":
      return `content for more than ${time}`;
    case "speed":
      return `less than ${late.bytesPerSecond} bytes a second for ${time}`;
  }
}

// The limits of a client's address.

/** The things counted and the code of the reply, by limit. */
const LIMITED = {
  maxConnections: ["connections", 421],
  maxConnectionsPerIp: ["connections", 421],
  connectionsPerMinute: ["new connections", 421],
  messagesPerMinute: ["messages", 450],
  recipientsPerMinute: ["recipients", 450],
  bytesPerMinute: ["bytes", 450],
} as const;

/**
 * The reply to a client that has reached a limit.
 *
 * @param limit The name of the limit: of all clients together, or of a network
 */
export function limitReached(
  limit: keyof typeof LIMITED,
  about: { readonly most: number; readonly network: string },
): SmtpReply {
  const [what, code] = LIMITED[limit];
  const from = limit === "maxConnections" ? "" : ` from ${about.network}`;
  const rate = limit.endsWith("PerMinute") ? " a minute" : "";
  const text = `Too many ${what}${from}, at most ${about.most}${rate}`;
  return make(code, code === 421 ? "4.7.0" : "4.7.1", text);
}

/** The things that a limit of a user counts, and the length of the count. */
const USER_LIMITED = {
  messagesPerMinute: ["messages", "a minute"],
  recipientsPerMinute: ["recipients", "a minute"],
  messagesPerDay: ["messages", "a day"],
  recipientsPerDay: ["recipients", "a day"],
  bytesPerDay: ["bytes", "a day"],
} as const;

/**
 * The reply to a user that has reached a limit (4.7.28: mail flood).
 *
 * @param limit The name of the limit
 * @param most Its value
 */
export function userLimitReached(
  limit: keyof typeof USER_LIMITED,
  most: number,
): SmtpReply {
  const [what, time] = USER_LIMITED[limit];
  const text = `Too many ${what} from this user, at most ${most} ${time}`;
  return make(450, "4.7.28", text);
}

/** A rejection by a limit, with the same text, that ends the session. */
export function closing(reply: SmtpReply): SmtpReply {
  return make(421, "4.7.0", reply.lines);
}

// Addresses and parameters.

/** The errors in an address: text of a 501 reply, and of an error for programs. */
export const addressFaults = {
  notLocal: "Character not allowed in a local part without quotes",
  noAtAndDomain: 'Expected "@" and a domain',
  noDomainAfterLocal: 'Expected "@" and a domain after the local part',
  noAtAfterLocal: 'Expected "@" after the local part',
  noAtInRoute: 'Expected "@" in the source route',
  noDomainInRoute: "Expected a domain in the source route",
  noEndOfDomainInRoute: 'Expected "," or ":" in the source route',
  dotsInLocal: "Two dots in a row in the local part",
  dotBeginsLocal: "Local part begins with a dot",
  dotEndsLocal: "Local part ends in a dot",
  localEmpty: "Local part is empty",
  quoteOpen: "Expected a printable character or a closing quote",
  domainTooLong: "Domain is longer than 255 bytes",
  notLetterOrDigit: "Expected a letter or digit in the domain",
  hyphenBeginsLabel: "Label of the domain begins with a hyphen",
  hyphenEndsLabel: "Label of the domain ends in a hyphen",
  labelTooLong: "Label of the domain is longer than 63 characters",
  wideLabelTooLong: "Label of the domain is longer than 59 characters",
  dotsInDomain: "Two dots in a row in the domain",
  dotBeginsDomain: "Domain begins with a dot",
  dotEndsDomain: "Domain ends in a dot",
  domainEmpty: "Domain is empty",
  notDomain: "Character not allowed in a domain",
  literalOpen: 'Expected "]" after the address literal',
  literalUntagged: 'Expected "IPv6:" in the address literal',
  literalNotIp: "Expected an IP address in the address literal",
  notText: "Character is a control or not UTF-8",
  needsUtf8: "Character needs SMTPUTF8",
  notAtEnd: "Expected the end of the address",
  tooLong: "Address is longer than 254 bytes",
  pathTooLong: "Path is longer than 256 bytes",
  noRecipient: "Recipient is empty",
  textBefore: "Text before the address: expected <address> alone",
  comment: "Comment in the address",
  secondLess: 'Second "<" before the address',
  secondAt: 'Second "@" in the address',
  blank: "Space in the address",
  quotesWithin:
    "Quotes around a part of the local part: expected them around all of it",
  noLess: 'Expected "<" before the address',
  noGreater: 'Expected ">" after the address',
  notDomainNoGreater: 'Character not allowed in a domain: expected ">"',
} as const;

/** The reply to a malformed path. */
export function badPath(fault: string, path: "reverse" | "forward"): SmtpReply {
  return make(501, path === "reverse" ? "5.1.7" : "5.1.3", fault);
}

/** The reply to a parameter with a malformed value. */
export function malformedParameter(keyword: string): SmtpReply {
  return make(501, "5.5.4", `Malformed parameter ${shown(keyword)}`);
}

/** The reply to a repeated parameter. */
export function doubleParameter(keyword: string): SmtpReply {
  return make(501, "5.5.4", `Parameter ${keyword} given twice`);
}

/** The reply to a parameter that is not offered. */
export function unknownParameter(keyword: string): SmtpReply {
  const text = `Parameter ${shown(keyword)} is not recognized here`;
  return make(555, "5.5.4", text);
}

/**
 * The reply to a message that is to be held for too long.
 *
 * @param seconds The longest time
 * @param latest The latest time of release
 */
export function holdRefused(seconds: number, latest: string): SmtpReply {
  return make(
    501,
    "5.5.4",
    `Held for ${seconds} seconds at most, until ${latest}`,
  );
}

/** A peer's keyword in the form for a reply: short, and ASCII. */
function shown(keyword: string): string {
  const text = keyword.replace(/[^!-~]/g, "?");
  return text.length > 32 ? `${text.slice(0, 32)}...` : text;
}

/** The reply to XCLIENT with an unknown attribute. */
export function unknownAttribute(name: string): SmtpReply {
  return make(501, "5.5.4", `Bad XCLIENT attribute name: ${name}`);
}

/** The reply to XCLIENT with a malformed attribute. */
export function malformedAttribute(name: string): SmtpReply {
  return make(501, "5.5.4", `Bad ${name.toUpperCase()} syntax`);
}

/** The reply to XCLIENT with a repeated attribute. */
export function doubleAttribute(name: string): SmtpReply {
  return make(501, "5.5.4", `${name.toUpperCase()} given twice`);
}

// Transactions.

/** The reply to a recipient beyond `maxRecipients`. */
export function tooManyRecipients(most: number): SmtpReply {
  return make(452, "4.5.3", `Too many recipients, at most ${most}`);
}

/** The reply to a BDAT chunk; `size` is the bytes of the message so far. */
export function chunkReceived(size: number): SmtpReply {
  return make(250, "2.0.0", `${size} bytes received`);
}

/** The reply to a message that fails the DMARC policy of its author's domain. */
export function refusedByPolicy(domain: string): SmtpReply {
  const text = `Message fails DMARC: the policy of "${domain}" is reject`;
  return make(550, "5.7.1", text);
}

/** The reply to an accepted message, with its ID in the log. */
export function messageAccepted(id: string): SmtpReply {
  return make(250, "2.0.0", `Message accepted as ${id}`);
}

/** The reply to VRFY or EXPN with the result. */
export function found(lines: string | readonly string[]): SmtpReply {
  return make(250, "2.1.5", lines);
}

/** The reply with only its first `count` lines. */
export function firstLines(reply: SmtpReply, count: number): SmtpReply {
  const { code, enhanced, lines } = reply;
  return new SmtpReply(code, lines.slice(0, count), { enhanced });
}

/** The reply with another text as its first line. */
export function withFirstLine(reply: SmtpReply, line: string): SmtpReply {
  const { code, enhanced, lines } = reply;
  return new SmtpReply(code, [line, ...lines.slice(1)], { enhanced });
}
