/**
 * Command lines: verbs, line ends, limits, HTTP and TLS in the clear (RFC 5321
 * sections 2.3.8, 2.4, 4.2.4 and 4.5.3.1.4).
 */

import { replies } from "../../../lib/protocol/replies.ts";
import {
  type Dialogue,
  ENVELOPE,
  testDialogues,
} from "../../support/dialogue.ts";

testDialogues([
  [
    "knows verbs in any case and with spaces behind",
    `S: 220 ...
    C: hElO client.test
    S: 250 mx.test
    C: noop
    S: 250 2.0.0 ...
    C: NOOP and more
    S: 250 2.0.0 ...
    C: rset${"  "}
    S: 250 2.0.0 ...
    C: mail from:<a@b>
    S: 250 2.1.0 ...
    C: RCPT TO: <c@d>
    S: 250 2.1.5 ...
    C: quit
    S: 221 2.0.0 ...`,
  ],
  [
    "answers HELP, VRFY, EXPN and unknown verbs",
    `S: 220 ...
    C: HELP
    S: 214-2.0.0 ...
    S: 214 2.0.0 ...
    C: HELP MAIL
    S: 214-2.0.0 ...
    S: 214 2.0.0 ...
    C: VRFY joe
    S: 252 2.1.5 ...
    C: VRFY
    S: ${replies.wantVrfy}
    C: EXPN list
    S: 502 5.5.1 ...
    C: EXPN
    S: ${replies.wantExpn}
    C: TURN
    S: ${replies.unknownCommand}
    C:
    S: ${replies.unknownCommand}
    C:  NOOP
    S: ${replies.blankBeforeCommand}
    C: AUTH PLAIN AAAA
    S: 503 5.5.1 ...
    C: STARTTLS
    S: 502 5.5.1 ...
    C: constructor
    S: 500 5.5.2 ...
    C: __proto__ x
    S: 500 5.5.2 ...`,
  ],
  [
    "refuses arguments where there are none",
    `${ENVELOPE}
    C: RSET x
    S: 501 5.5.4 ...
    C: DATA x
    S: 501 5.5.4 ...
    C: QUIT x
    S: 501 5.5.4 ...
    C: EHLO
    S: 501 5.5.4 ...
    C: HELO two words
    S: 501 5.5.4 ...
    C: EHLO ${"x".repeat(256)}
    S: 501 5.5.4 ...
    C: DATA
    S: 354 ...`,
  ],
  [
    "ends a line with CRLF only",
    `S: 220 ...
    C| NOOP\\n
    S: 500 5.5.2 Bare CR or LF...
    C| NOOP\\r\\n
    S: 500 5.5.2 Bare CR or LF...
    C| HELO client.test\\n
    S: 500 5.5.2 Bare CR or LF...
    C| EHLO client.test\\n
    S: 500 5.5.2 Bare CR or LF...
    C| NOOP\\r\\n
    S: 500 5.5.2 Bare CR or LF...
    C| NOOP\\rNOOP\\r\\n
    S: 500 5.5.2 Bare CR or LF...
    C: NO\\0OP
    S: 500 5.5.2 ...
    C: NOOP \\0
    S: 500 5.5.2 Control character...
    C: NOOP \\x1b[31m
    S: 500 5.5.2 Control character...
    C: NOOP
    S: 250 2.0.0 ...`,
  ],
  [
    "limits each command line",
    `S: 220 ...
    C: NOOP ${"x".repeat(505)}
    S: 250 2.0.0 ...
    C: NOOP ${"x".repeat(506)}
    S: ${replies.lineTooLong}
    C: NOOP ${"\\xc3\\xa9".repeat(252)}x
    S: 250 2.0.0 ...
    C: NOOP ${"\\xc3\\xa9".repeat(253)}
    S: ${replies.lineTooLong}
    C: TURN ${"x".repeat(505)}
    S: ${replies.unknownCommand}
    C: TURN ${"x".repeat(506)}
    S: ${replies.lineTooLong}
    C: ${"x".repeat(9000)}
    S: ${replies.lineTooLong}
    C: HELO client.test
    S: 250 mx.test
    C: MAIL FROM:<a@b>${" ".repeat(1548)}
    S: 250 2.1.0 ...
    C: RCPT TO:<a@b>${" ".repeat(997)}
    S: 250 2.1.5 ...
    C: RCPT TO:<a@b>${" ".repeat(998)}
    S: ${replies.lineTooLong}
    C: RSET
    S: 250 2.0.0 ...
    C: MAIL FROM:<a@b>${" ".repeat(1549)}
    S: ${replies.lineTooLong}`,
  ],
  [
    "gives up on an endless line",
    `S: 220 ...
    C| ${"x".repeat(66000)}
    S: 421 4.7.0 ...
    E: close errors`,
  ],
  ...[
    "GET / HTTP/1.1",
    "POST /x HTTP/1.0",
    "CONNECT a:25 HTTP/1.1",
    "Host: x",
    "PRI * HTTP/2.0",
  ]
    .map((line): Dialogue => [
      `hangs up on ${line}`,
      `S: 220 ...
      C: ${line}
      S: ${replies.http}
      C: NOOP
      E: close errors`,
    ]),
  [
    "hangs up on TLS in the clear",
    `S: 220 ...
    C| \\x16\\x03\\x01\\x02\\r\\n
    S: 421 4.7.0 ...
    E: close errors`,
  ],
  ...["S: 220 ...", "S: 220 ...\nC: HELO x\nS: 250 mx.test"]
    .map((before, index): Dialogue => [
      `hangs up on TLS in the clear at its first bytes (${index})`,
      `${before}
      C| \\x16\\x03
      S: ${replies.tlsOnPlain}
      E: close errors`,
    ]),
  [
    "takes a line for TLS only when both bytes are there",
    `S: 220 ...
    C| \\x16
    C: NOOP
    S: 500 5.5.2 ...
    C: \\x03\\x16
    S: 500 5.5.2 ...
    C: NOOP \\x16\\x03
    S: ${replies.controlCharacter}
    C: NOOP
    S: 250 2.0.0 ...`,
  ],
  [
    "ends the session when the junk is too much",
    `S: 220 ...
    C: FOO
    S: 500 5.5.2 ...
    C: MAIL FROM:<a@b>
    S: 503 5.5.1 ...
    C: HELO
    S: 501 5.5.4 ...
    C: NOOP
    S: 250 2.0.0 ...
    C: BAR
    S: 421 4.7.0 Too many errors, closing: at most 3
    C: NOOP
    E: close errors`,
    { profile: { maxErrors: 3 } },
  ],
]);
