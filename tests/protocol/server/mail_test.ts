/**
 * MAIL, and the paths and parameters that RCPT shares with it (RFC 5321
 * sections 4.1.1.2 and 4.1.2, RFC 1870, RFC 6531).
 */

import { replies } from "../../../lib/protocol/replies.ts";
import { GREETED, testDialogues } from "../../support/dialogue.ts";

testDialogues([
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
    S: ${replies.wantFrom}
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
    S: 250-DELIVERBY
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
    S: ${replies.notUtf8}`,
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
          "DELIVERBY",
          "HELP",
        ],
      },
    },
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
]);
