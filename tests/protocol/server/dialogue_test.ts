/**
 * The end of a transaction and of a session, replies without enhanced codes,
 * STARTTLS (RFC 5321 sections 3.8, 4.1.1.5 and 4.1.1.10, RFC 2034, RFC 3207).
 */

import { SmtpReply } from "../../../lib/protocol/reply.ts";
import { replies } from "../../../lib/protocol/replies.ts";
import { ENVELOPE, testDialogues } from "../../support/dialogue.ts";

testDialogues([
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
    S: 250-DELIVERBY
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
    S: 221 2.0.0 ...
    E: reset
    E: close quit`,
  ],
  [
    "forgets the transaction at RSET, HELO and EHLO",
    `${ENVELOPE}
    C: RSET
    S: 250 2.0.0 ...
    C: RCPT TO:<c@d>
    S: ${replies.noMail}
    C: MAIL FROM:<a@b>
    S: 250 2.1.0 ...
    C: HELO again.test
    S: 250 mx.test
    C: RCPT TO:<c@d>
    S: ${replies.noMail}
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
    S: 250-DELIVERBY
    S: 250-STARTTLS
    S: 250 HELP
    C: STARTTLS now
    S: 501 5.5.4 ...
    C: STARTTLSNOW
    S: 500 5.5.2 ...
    C: MAIL FROM:<a@b>
    S: 530 5.7.0 ...
    C| STARTTLS\\r\\nNOOP\\r\\nMAIL FROM:<a@b>\\r\\nDA
    S: 220 2.0.0 ...
    C: MAIL FROM:<a@b>
    S: ${replies.sayHello}
    C: STARTTLS
    S: 503 5.5.1 ...
    C: HELO client.test
    S: 250 mx.test
    C: MAIL FROM:<a@b>
    S: 250 2.1.0 ...
    E: startTls`,
    { profile: { startTls: "required" }, recut: false },
  ],
]);
