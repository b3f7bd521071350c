/** LMTP: LHLO, and one reply for each recipient (RFC 2033 section 4). */

import { assertEquals } from "@std/assert";
import { SmtpReply } from "../../../lib/protocol/reply.ts";
import { Driver, play, type PlayOptions } from "../../support/dialogue.ts";
import { replies } from "../../../lib/protocol/replies.ts";

const LMTP = { kind: "lmtp" } as const;

const TWO = `
  S: 220 ...
  C: LHLO x
  S: 250-mx.test
  S: 250 ENHANCEDSTATUSCODES
  C: MAIL FROM:<a@b>
  S: 250 2.1.0 ...
  C: RCPT TO:<c@d>
  S: 250 2.1.5 ...
  C: RCPT TO:<no@d>
  S: 550 5.1.1 ...
  C: RCPT TO:<e@f>
  S: 250 2.1.5 ...
`;

const OPTIONS: PlayOptions = {
  profile: {
    ...LMTP,
    maxSize: 10,
    asks: { rcpt: true },
    disabled: [
      "PIPELINING",
      "SIZE",
      "8BITMIME",
      "BINARYMIME",
      "SMTPUTF8",
      "DSN",
      "LIMITS",
      "DELIVERBY",
      "HELP",
    ],
  },
  policy: () => (ask, machine) => {
    if (ask.ask === "rcpt" && ask.address.localPart === "no") return "deny";
    if (ask.ask !== "message") return undefined;
    const last = machine.state.envelope!.recipients.at(-1)!;
    if (last.address.localPart === "e") {
      last.reply = new SmtpReply(452, "Full", { enhanced: "4.2.2" });
    }
    return undefined;
  },
};

/** `TWO` offers CHUNKING too. */
const SCRIPT = TWO.replace(
  "S: 250 ENH",
  "S: 250-CHUNKING\n  S: 250 ENH",
);

const DIALOGUES: [name: string, script: string][] = [
  [
    "gives one reply for each accepted recipient after DATA",
    `${SCRIPT}
    C: DATA
    S: 354 ...
    C: a
    C: .
    S: 250 2.0.0 ...
    S: 452 4.2.2 Full
    C: NOOP
    S: 250 2.0.0 ...`,
  ],
  [
    "gives one reply for each accepted recipient after BDAT LAST",
    `${SCRIPT}
    C: BDAT 1
    C| a
    S: 250 2.0.0 1 bytes received
    C: BDAT 0 LAST
    S: 250 2.0.0 ...
    S: 452 4.2.2 Full`,
  ],
  [
    "refuses a body that is too large once for each recipient",
    `${SCRIPT}
    C: DATA
    S: 354 ...
    C: 0123456789
    C: .
    S: 552 5.3.4 ...
    S: 552 5.3.4 ...`,
  ],
  [
    "refuses a bare LF once for each recipient",
    `${SCRIPT}
    C: DATA
    S: 354 ...
    C| a\\nb\\r\\n.\\r\\n
    S: 550 5.6.0 ...
    S: 550 5.6.0 ...`,
  ],
  [
    "refuses the last chunk of a lost message once for each recipient",
    `${SCRIPT}
    C: BDAT 11
    C| 01234567890
    S: 552 5.3.4 ...
    C: BDAT 0 LAST
    S: 503 5.5.1 ...
    S: 503 5.5.1 ...
    C: MAIL FROM:<a@b>
    S: 250 2.1.0 ...`,
  ],
  [
    "answers 503 to DATA where every recipient was refused",
    `S: 220 ...
    C: LHLO x
    S: 250-mx.test
    S: 250-CHUNKING
    S: 250 ENHANCEDSTATUSCODES
    C: MAIL FROM:<a@b>
    S: 250 2.1.0 ...
    C: RCPT TO:<no@d>
    S: 550 5.1.1 ...
    C: DATA
    S: 503 5.5.1 ...
    C: BDAT 1 LAST
    C| x
    S: 503 5.5.1 ...`,
  ],
  [
    "wants LHLO",
    `S: 220 ...
    C: EHLO x
    S: ${replies.useLhlo}
    C: HELO x
    S: ${replies.useLhlo}
    C: MAIL FROM:<a@b>
    S: 503 5.5.1 ...`,
  ],
];

for (const [name, script] of DIALOGUES) {
  Deno.test(`ServerProtocol LMTP ${name}`, () => play(script, OPTIONS));
}

Deno.test("ServerProtocol LMTP refuses a message once for each recipient", () => {
  const refusal = new SmtpReply(554, "Spam", { enhanced: "5.7.1" });
  const driver = new Driver(
    LMTP,
    (ask) => ask.ask === "message" ? refusal : undefined,
  );
  driver.feed("LHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n");
  driver.feed("RCPT TO:<c@d>\r\nDATA\r\n").take();
  driver.feed("x\r\n.\r\nNOOP\r\n");
  assertEquals(driver.take(), [
    "554 5.7.1 Spam",
    "554 5.7.1 Spam",
    String(replies.ok),
  ]);
});
