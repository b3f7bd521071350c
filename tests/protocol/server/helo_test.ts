/**
 * HELO, EHLO and the list of extensions (RFC 5321 sections 2.2.1 and 4.1.1.1).
 */

import { replies } from "../../../lib/protocol/replies.ts";
import { testDialogues } from "../../support/dialogue.ts";

testDialogues([
  [
    "names what is wrong with a name and with a line",
    `S: 220 ...
    C: HELO
    S: ${replies.wantHelo}
    C: EHLO
    S: ${replies.wantEhlo}
    C: EHLO my pc
    S: ${replies.nameWithBlank}
    C: EHLO ${"x".repeat(256)}
    S: ${replies.nameTooLong}
    C:  NOOP
    S: ${replies.blankBeforeCommand}
    C:  FOO
    S: ${replies.unknownCommand}
    C: NOOP\0
    S: ${replies.controlCharacter}`,
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
    S: 250-DELIVERBY
    S: 250 HELP`,
  ],
]);
