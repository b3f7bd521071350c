/**
 * RCPT: how many recipients a message may have (RFC 5321 sections 4.1.1.3 and
 * 4.5.3.1.8).
 */

import { ENVELOPE, testDialogues } from "../../support/dialogue.ts";

testDialogues([
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
]);
