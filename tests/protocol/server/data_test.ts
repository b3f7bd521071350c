/**
 * DATA: transparency, sizes, bare line ends and the end of data (RFC 5321
 * sections 2.3.8, 4.1.1.4 and 4.5.2, RFC 1870).
 */

import { ENVELOPE, GREETED, testDialogues } from "../../support/dialogue.ts";

testDialogues([
  [
    "takes a message",
    `${ENVELOPE}
    C: DATA
    S: 354 ...
    C: Subject: x
    C:
    C: ..dot
    C: .x
    C: .
    S: 250 2.0.0 ...
    C: QUIT
    S: 221 2.0.0 ...
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
    S: 250 2.0.0 ...
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
    S: 250 2.0.0 ...
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
    S: 250 2.0.0 ...`,
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
    S: 221 2.0.0 ...`,
  ],
  [
    "says 554 to DATA when every RCPT was refused",
    `${GREETED}
    C: MAIL FROM:<a@b>
    S: 250 2.1.0 ...
    C| RCPT TO:<c@d>\\r\\nRCPT TO:<bad\\r\\nDATA\\r\\n
    S: 550 5.1.1 ...
    S: 501 5.1.3 ...
    S: 554 5.5.1 ...
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
]);
