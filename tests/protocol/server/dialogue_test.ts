import { SmtpReply } from "../../../lib/protocol/reply.ts";
import { ENVELOPE, play, type PlayOptions } from "../../support/dialogue.ts";

const GREETED = `
  S: 220 mx.test ESMTP ready
  C: HELO client.test
  S: 250 mx.test
`;

/** Dialogues of the default profile or another: name, script, what differs. */
const DIALOGUES: [name: string, script: string, options?: PlayOptions][] = [
  [
    "takes a message",
    `${ENVELOPE}
    C: DATA
    S: 354 End data with <CRLF>.<CRLF>
    C: Subject: x
    C:
    C: ..dot
    C: .x
    C: .
    S: 250 2.0.0 Message accepted
    C: QUIT
    S: 221 2.0.0 Bye
    E: messageStart DATA
    E: body "Subject: x\\r\\n\\r\\n.dot\\r\\nx\\r\\n"
    E: message
    E: close quit`,
  ],
  [
    "takes two messages in one session",
    `${ENVELOPE}
    C: DATA
    S: 354 ...
    C: .
    S: 250 2.0.0 ...
    C: MAIL FROM:<>
    S: 250 2.1.0 ...
    C: RCPT TO:<Postmaster>
    S: 250 2.1.5 ...
    C: DATA
    S: 354 ...
    C: a
    C: .
    S: 250 2.0.0 ...
    E: messageStart DATA
    E: message
    E: messageStart DATA
    E: body "a\\r\\n"
    E: message`,
  ],
  [
    "names what is wrong with a name and with a line",
    `S: 220 ...
    C: HELO
    S: 501 5.5.4 Syntax: HELO hostname
    C: EHLO
    S: 501 5.5.4 Syntax: EHLO hostname
    C: EHLO my pc
    S: 501 5.5.4 Space in the name: expected one word
    C: EHLO ${"x".repeat(256)}
    S: 501 5.5.4 Name is longer than 255 bytes
    C:  NOOP
    S: 500 5.5.2 Space before the command
    C:  FOO
    S: 500 5.5.2 Command not recognized
    C: NOOP\0
    S: 500 5.5.2 Control character in a command`,
  ],
  [
    "tells its extensions",
    `S: 220 mx.test ESMTP ready
    C: EHLO client.test
    S: 250-mx.test
    S: 250-PIPELINING
    S: 250-SIZE 1000
    S: 250-8BITMIME
    S: 250-BINARYMIME
    S: 250-CHUNKING
    S: 250-SMTPUTF8
    S: 250-ENHANCEDSTATUSCODES
    S: 250-DSN
    S: 250-LIMITS RCPTMAX=5
    S: 250 HELP`,
  ],
  [
    "knows verbs in any case and with spaces behind",
    `S: 220 ...
    C: hElO client.test
    S: 250 mx.test
    C: noop
    S: 250 2.0.0 OK
    C: NOOP and more
    S: 250 2.0.0 OK
    C: rset${"  "}
    S: 250 2.0.0 Reset OK
    C: mail from:<a@b>
    S: 250 2.1.0 ...
    C: RCPT TO: <c@d>
    S: 250 2.1.5 ...
    C: quit
    S: 221 2.0.0 Bye`,
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
    S: 501 5.5.4 ...
    C: EXPN list
    S: 502 5.5.1 ...
    C: EXPN
    S: 501 5.5.4 ...
    C: TURN
    S: 500 5.5.2 Command not recognized
    C:
    S: 500 5.5.2 Command not recognized
    C:  NOOP
    S: 500 5.5.2 Space before the command
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
    "refuses what is not a path",
    `${GREETED}
    C: MAIL
    S: 501 5.5.4 ...
    C: MAIL a@b
    S: 501 5.5.4 ...
    C: MAIL FROM
    S: 501 5.5.4 ...
    C: MAIL FROM:
    S: 501 5.5.4 Syntax: MAIL FROM:<address>
    C: MAIL FROM: \t
    S: 501 5.5.4 ...
    C: MAIL FROM :<a@b>
    S: 501 5.5.4 ...
    C: MAIL FROM:<a@b>SIZE=1
    S: 501 5.5.4 Space required after the path
    C: MAIL FROM:<a b@c>
    S: 501 5.1.7 ...
    C: MAIL FROM:<foo..bar@b>
    S: 501 5.1.7 Two dots in a row in the local part
    C: MAIL FROM:<a@b.example.>
    S: 501 5.1.7 Domain ends in a dot
    C: MAIL FROM:<${"a".repeat(253)}@b>
    S: 501 5.1.7 ...
    C: MAIL FROM:<"a b"@c>
    S: 250 2.1.0 ...
    C: RCPT TO:<>
    S: 501 5.1.3 ...
    C: RCPT TO
    S: 501 5.5.4 ...
    C: RCPT FROM:<a@b>
    S: 501 5.5.4 ...
    C: RCPT TO:<"a@b"@c>
    S: 250 2.1.5 ...
    C: RCPT TO:<@relay:a@b>
    S: 250 2.1.5 ...`,
    { profile: { asks: { rcpt: true } } },
  ],
  [
    "takes any run of blanks and tabs, and addresses without brackets",
    `
    S: 220 mx.test ESMTP ready
    C: EHLO \x09 client.test
    S: 250-...
    S: 250-PIPELINING
    S: 250-SIZE 1000
    S: 250-8BITMIME
    S: 250-BINARYMIME
    S: 250-CHUNKING
    S: 250-SMTPUTF8
    S: 250-ENHANCEDSTATUSCODES
    S: 250-DSN
    S: 250-LIMITS RCPTMAX=5
    S: 250 HELP
    C: MAIL  FROM: \x09a@b.test \x09SIZE=10\x09BODY=8BITMIME
    S: 250 2.1.0 ...
    C: RCPT\x09TO:c@d_e.test
    S: 250 2.1.5 ...
    C: RCPT TO:\x09< @relay.test:f@g.test\x09> NOTIFY=FAILURE,FAILURE ORCPT=rfc822;
    S: 250 2.1.5 ...
    C: RCPT TO: Postmaster
    S: 250 2.1.5 ...
    C: RCPT TO:<${"v".repeat(200)}@b.test>
    S: 250 2.1.5 ...
    C: BDAT\x09 0 \x09LAST
    S: 250 2.0.0 ...
    C: MAIL FROM:< >
    S: 250 2.1.0 ...
    E: mail <a@b.test> {"size":10,"body":"8BITMIME"}
    E: rcpt <c@d_e.test>
    E: rcpt <f@g.test> {"notify":["FAILURE"],"orcpt":{"type":"rfc822","address":""}}
    E: rcpt <Postmaster>
    E: rcpt <${"v".repeat(200)}@b.test>
    E: messageStart BDAT
    E: message
    E: mail <>`,
    { profile: { asks: { mail: true, rcpt: true } } },
  ],
  [
    "refuses parameters that it does not know",
    `${GREETED}
    C: MAIL FROM:<a@b> FOO=BAR
    S: 555 5.5.4 ...
    C: MAIL FROM:<a@b> AUTHOR=<>
    S: 555 5.5.4 ...
    C: MAIL FROM:<a@b> SIZE=x
    S: 501 5.5.4 ...
    C: MAIL FROM:<a@b> SIZE=100 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x
    S: 250 2.1.0 ...
    C: RCPT TO:<c@d> FOO
    S: 555 5.5.4 ...
    C: RCPT TO:<c@d> SIZE=1
    S: 555 5.5.4 ...
    C: RCPT TO:<c@d> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;e@f
    S: 250 2.1.5 ...
    E: mail <a@b> {"size":100,"body":"8BITMIME","smtpUtf8":true,"ret":"HDRS","envid":"x"}
    E: rcpt <c@d> {"notify":["SUCCESS","FAILURE"],"orcpt":{"type":"rfc822","address":"e@f"}}`,
    { profile: { asks: { mail: true, rcpt: true } } },
  ],
  [
    "wants SMTPUTF8 for addresses beyond ASCII",
    `${GREETED}
    C: MAIL FROM:<\\xc3\\xa9@b>
    S: 553 5.6.7 ...
    C: MAIL FROM:<a@b>
    S: 250 2.1.0 ...
    C: RCPT TO:<\\xc3\\xa9@b>
    S: 553 5.6.7 ...
    C: RSET
    S: 250 2.0.0 ...
    C: MAIL FROM:<\\xc3\\xa9@b> SMTPUTF8
    S: 250 2.1.0 ...
    C: RCPT TO:<\\xc3\\xa9@\\xc3\\xa9>
    S: 250 2.1.5 ...
    C: RCPT TO:<\\xff@b>
    S: 500 5.5.2 Line is not UTF-8`,
  ],
  [
    "takes nothing that is switched off",
    `S: 220 ...
    C: EHLO client.test
    S: 250-mx.test
    S: 250-PIPELINING
    S: 250 ENHANCEDSTATUSCODES
    C: MAIL FROM:<a@b> SIZE=1
    S: 555 5.5.4 ...
    C: MAIL FROM:<a@b> BODY=8BITMIME
    S: 555 5.5.4 ...
    C: MAIL FROM:<a@b> SMTPUTF8
    S: 555 5.5.4 ...
    C: MAIL FROM:<\\xc3\\xa9@b>
    S: 553 5.6.7 ...
    C: MAIL FROM:<a@b> RET=FULL
    S: 555 5.5.4 ...
    C: MAIL FROM:<a@b>
    S: 250 2.1.0 ...
    C: RCPT TO:<c@d> NOTIFY=NEVER
    S: 555 5.5.4 ...
    C: HELP
    S: 502 5.5.1 ...`,
    {
      profile: {
        disabled: [
          "SIZE",
          "8BITMIME",
          "CHUNKING",
          "SMTPUTF8",
          "DSN",
          "LIMITS",
          "HELP",
        ],
      },
    },
  ],
  [
    "caps the recipients",
    `${ENVELOPE}
    C: RCPT TO:<1@d>
    S: 250 2.1.5 ...
    C: RCPT TO:<2@d>
    S: 452 4.5.3 Too many recipients, at most 2
    C: RCPT TO:<3@d>
    S: 452 4.5.3 Too many recipients, at most 2
    C: DATA
    S: 354 ...
    C: .
    S: 250 2.0.0 ...
    C: MAIL FROM:<a@b>
    S: 250 2.1.0 ...
    C: RCPT TO:<1@d>
    S: 250 2.1.5 ...`,
    { profile: { maxRecipients: 2 } },
  ],
  [
    "refuses a size that is declared too large, at MAIL",
    `${GREETED}
    C: MAIL FROM:<a@b> SIZE=1001
    S: 552 5.3.4 ...
    C: MAIL FROM:<a@b> SIZE=99999999999999999999
    S: 552 5.3.4 ...
    C: MAIL FROM:<a@b> SIZE=1000
    S: 250 2.1.0 ...`,
  ],
  [
    "refuses a size that is not declared, at the end",
    `${ENVELOPE}
    C: DATA
    S: 354 ...
    C: ${"x".repeat(900)}
    C: ${"x".repeat(98)}
    C: QUIT
    C: .
    S: 552 5.3.4 ...
    C: NOOP
    S: 250 2.0.0 OK
    E: messageStart DATA
    E: drop 552`,
  ],
  [
    "takes a body of just the largest size, dots removed",
    `${ENVELOPE}
    C: DATA
    S: 354 ...
    C: .${"x".repeat(998)}
    C: .
    S: 250 2.0.0 ...`,
  ],
  [
    "has no size limit with 0",
    `${GREETED}
    C: MAIL FROM:<a@b> SIZE=99999999999999999999
    S: 250 2.1.0 ...
    C: RCPT TO:<c@d>
    S: 250 2.1.5 ...
    C: DATA
    S: 354 ...
    C: ${"x".repeat(5000)}
    C: .
    S: 250 2.0.0 ...`,
    { profile: { maxSize: 0 } },
  ],
  [
    "refuses a bare LF by name, at the true end",
    `${ENVELOPE}
    C: DATA
    S: 354 ...
    C| a\\n.\\r\\nMAIL FROM:<evil@b>\\r\\n
    C: .
    S: 550 5.6.0 Message has a bare LF...
    C: NOOP
    S: 250 2.0.0 OK
    E: messageStart DATA
    E: drop 550`,
  ],
  [
    "names the bare LF of a body that is too large as well",
    `${ENVELOPE}
    C: DATA
    S: 354 ...
    C: ${"x".repeat(1000)}
    C| a\\nb\\r\\n.\\r\\n
    S: 550 5.6.0 Message has a bare LF...`,
  ],
  [
    "refuses a bare CR by name, at the true end",
    `${ENVELOPE}
    C: DATA
    S: 354 ...
    C| a\\r.\\r\\nQUIT\\r\\n
    C: .
    S: 550 5.6.0 Message has a bare CR...
    C: NOOP
    S: 250 2.0.0 OK`,
  ],
  [
    "keeps bare line ends when told so",
    `${ENVELOPE}
    C: DATA
    S: 354 ...
    C| a\\n..\\rb\\r\\n
    C: .
    S: 250 2.0.0 ...
    E: messageStart DATA
    E: body "a\\n..\\rb\\r\\n"
    E: message`,
    { profile: { bareNewlines: "keep" } },
  ],
  [
    "makes bare line ends right when told so",
    `${ENVELOPE}
    C: DATA
    S: 354 ...
    C| a\\n..\\rb\\r\\n
    C: .
    S: 250 2.0.0 ...
    E: messageStart DATA
    E: body "a\\r\\n. b\\r\\n"
    E: message`,
    { profile: { bareNewlines: "normalize" } },
  ],
  [
    "keeps what is pipelined behind the final dot",
    `${ENVELOPE}
    C: DATA
    S: 354 ...
    C| a\\r\\n.\\r\\nMAIL FROM:<a@b>\\r\\nRCPT TO:<c@d>\\r\\nDATA\\r\\n
    S: 250 2.0.0 ...
    S: 250 2.1.0 ...
    S: 250 2.1.5 ...
    S: 354 ...
    C| b\\r\\n.\\r\\nQUIT\\r\\n
    S: 250 2.0.0 ...
    S: 221 2.0.0 Bye`,
  ],
  [
    "says 554 to DATA when every RCPT was refused",
    `${GREETED}
    C: MAIL FROM:<a@b>
    S: 250 2.1.0 ...
    C| RCPT TO:<c@d>\\r\\nRCPT TO:<bad\\r\\nDATA\\r\\n
    S: 550 5.1.1 ...
    S: 501 5.1.3 ...
    S: 554 5.5.1 No valid recipients
    C: RSET
    S: 250 2.0.0 ...
    C: MAIL FROM:<a@b>
    S: 250 2.1.0 ...
    C: DATA
    S: 503 5.5.1 ...`,
    {
      profile: { asks: { rcpt: true } },
      policy: () => (ask) => ask.ask === "rcpt" ? "deny" : undefined,
    },
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
    S: 250 2.0.0 OK`,
  ],
  [
    "limits each command line",
    `S: 220 ...
    C: NOOP ${"x".repeat(505)}
    S: 250 2.0.0 OK
    C: NOOP ${"x".repeat(506)}
    S: 500 5.5.2 Line too long
    C: NOOP ${"\\xc3\\xa9".repeat(252)}x
    S: 250 2.0.0 OK
    C: NOOP ${"\\xc3\\xa9".repeat(253)}
    S: 500 5.5.2 Line too long
    C: TURN ${"x".repeat(505)}
    S: 500 5.5.2 Command not recognized
    C: TURN ${"x".repeat(506)}
    S: 500 5.5.2 Line too long
    C: ${"x".repeat(9000)}
    S: 500 5.5.2 Line too long
    C: HELO client.test
    S: 250 mx.test
    C: MAIL FROM:<a@b>${" ".repeat(1548)}
    S: 250 2.1.0 ...
    C: RCPT TO:<a@b>${" ".repeat(997)}
    S: 250 2.1.5 ...
    C: RCPT TO:<a@b>${" ".repeat(998)}
    S: 500 5.5.2 Line too long
    C: RSET
    S: 250 2.0.0 ...
    C: MAIL FROM:<a@b>${" ".repeat(1549)}
    S: 500 5.5.2 Line too long`,
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
    .map((line): [string, string] => [
      `hangs up on ${line}`,
      `S: 220 ...
      C: ${line}
      S: 421 4.7.0 This is SMTP, not HTTP, closing
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
    .map((before, index): [string, string] => [
      `hangs up on TLS in the clear at its first octets (${index})`,
      `${before}
      C| \\x16\\x03
      S: 421 4.7.0 This port speaks plain SMTP first, closing
      E: close errors`,
    ]),
  [
    "takes a line for TLS only when both octets are there",
    `S: 220 ...
    C| \\x16
    C: NOOP
    S: 500 5.5.2 ...
    C: \\x03\\x16
    S: 500 5.5.2 ...
    C: NOOP \\x16\\x03
    S: 500 5.5.2 Control character in a command
    C: NOOP
    S: 250 2.0.0 OK`,
  ],
  [
    "says no enhanced status code where they are off",
    `S: 220 mx.test ESMTP ready
    C: FOO
    S: 500 Command not recognized
    C: EHLO client.test
    S: 250-mx.test
    S: 250-PIPELINING
    S: 250-SIZE 1000
    S: 250-8BITMIME
    S: 250-BINARYMIME
    S: 250-CHUNKING
    S: 250-SMTPUTF8
    S: 250-DSN
    S: 250-LIMITS RCPTMAX=5
    S: 250 HELP
    C: MAIL FROM:<a@b.test>
    S: 250 Sender OK
    C: RCPT TO:<c@d.test>
    S: 451-My words
    S: 451 in two lines
    C: DATA
    S: 554 No valid recipients
    C: QUIT
    S: 221 Bye`,
    {
      profile: { disabled: ["ENHANCEDSTATUSCODES"], asks: { rcpt: true } },
      policy: () => (ask) =>
        ask.ask === "rcpt"
          ? new SmtpReply(451, "My words\nin two lines", { enhanced: "4.7.1" })
          : undefined,
    },
  ],
  [
    "ends the session without an enhanced status code where they are off",
    `S: 220 ...
    C: FOO
    S: 500 Command not recognized
    C: FOO
    S: 421 Too many errors, closing: at most 1
    E: close errors`,
    {
      profile: { disabled: ["ENHANCEDSTATUSCODES"], maxErrors: 1 },
    },
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
    S: 250 2.0.0 OK
    C: BAR
    S: 421 4.7.0 Too many errors, closing: at most 3
    C: NOOP
    E: close errors`,
    { profile: { maxErrors: 3 } },
  ],
  [
    "tells the end of an open transaction before it closes",
    `${ENVELOPE}
    C: BDAT 3
    C| abc
    S: 250 2.0.0 3 bytes received
    C: FOO
    S: 500 5.5.2 ...
    C: FOO
    S: 421 4.7.0 Too many errors, closing: at most 1
    E: messageStart BDAT
    E: body "abc"
    E: reset
    E: close errors`,
    { profile: { maxErrors: 1 } },
  ],
  [
    "tells the end of a transaction at QUIT",
    `${ENVELOPE}
    C: QUIT
    S: 221 2.0.0 Bye
    E: reset
    E: close quit`,
  ],
  [
    "forgets the transaction at RSET, HELO and EHLO",
    `${ENVELOPE}
    C: RSET
    S: 250 2.0.0 Reset OK
    C: RCPT TO:<c@d>
    S: 503 5.5.1 Need MAIL first
    C: MAIL FROM:<a@b>
    S: 250 2.1.0 ...
    C: HELO again.test
    S: 250 mx.test
    C: RCPT TO:<c@d>
    S: 503 5.5.1 Need MAIL first
    E: reset
    E: reset`,
  ],
  [
    "drops what came in the clear behind STARTTLS",
    `S: 220 ...
    C: EHLO client.test
    S: 250-mx.test
    S: 250-PIPELINING
    S: 250-SIZE 1000
    S: 250-8BITMIME
    S: 250-BINARYMIME
    S: 250-CHUNKING
    S: 250-SMTPUTF8
    S: 250-ENHANCEDSTATUSCODES
    S: 250-DSN
    S: 250-LIMITS RCPTMAX=5
    S: 250-STARTTLS
    S: 250 HELP
    C: STARTTLS now
    S: 501 5.5.4 ...
    C: STARTTLSNOW
    S: 500 5.5.2 ...
    C: MAIL FROM:<a@b>
    S: 530 5.7.0 ...
    C| STARTTLS\\r\\nNOOP\\r\\nMAIL FROM:<a@b>\\r\\nDA
    S: 220 2.0.0 Ready to start TLS
    C: MAIL FROM:<a@b>
    S: 503 5.5.1 Say EHLO or HELO first
    C: STARTTLS
    S: 503 5.5.1 ...
    C: HELO client.test
    S: 250 mx.test
    C: MAIL FROM:<a@b>
    S: 250 2.1.0 ...
    E: startTls`,
    { profile: { startTls: "required" }, recut: false },
  ],
];

for (const [name, script, options] of DIALOGUES) {
  Deno.test(`ServerProtocol ${name}`, () => {
    play(script, options);
  });
}
