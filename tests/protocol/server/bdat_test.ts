/**
 * BDAT: chunks, LAST, refused chunks and the envelope after them (RFC 3030
 * sections 2 to 4).
 */

import { assertEquals } from "@std/assert";
import { replies } from "../../../lib/protocol/replies.ts";
import { SmtpReply } from "../../../lib/protocol/reply.ts";
import {
  Driver,
  ENVELOPE,
  play,
  type PlayOptions,
} from "../../support/dialogue.ts";

const HELLO = `
  S: 220 ...
  C: HELO x
  S: 250 mx.test
`;

const DIALOGUES: [name: string, script: string, options?: PlayOptions][] = [
  [
    "takes a message in one chunk",
    `${ENVELOPE}
    C: BDAT 5 LAST
    C| a\\r\\nb.
    S: 250 2.0.0 ...
    E: messageStart BDAT
    E: body "a\\r\\nb."
    E: message`,
  ],
  [
    "takes a message in several chunks, commands in between",
    `${ENVELOPE}
    C: BDAT 3
    C| abc
    S: 250 2.0.0 3 bytes received
    C: NOOP
    S: 250 2.0.0 ...
    C: bdat 0
    S: 250 2.0.0 3 bytes received
    C| BDAT 4\\r\\nQUITBDAT 0 last\\r\\n
    S: 250 2.0.0 7 bytes received
    S: 250 2.0.0 ...
    E: messageStart BDAT
    E: body "abcQUIT"
    E: message`,
  ],
  [
    "takes an empty message",
    `${ENVELOPE}
    C: BDAT 0 LAST
    S: 250 2.0.0 ...
    E: messageStart BDAT
    E: message`,
  ],
  [
    "keeps dots and NUL: a chunk has a length; bare line ends go by the policy",
    `${ENVELOPE}
    C: BDAT 16 LAST
    C| ..\\r\\n.\\r\\na\\nb\\rc\\0\\r\\n\\xff
    S: 250 2.0.0 ...
    E: messageStart BDAT
    E: body "..\\r\\n.\\r\\na\\r\\nb c\\u0000\\r\\nÿ"
    E: message`,
    { profile: { bareNewlines: "normalize" } },
  ],
  [
    "keeps bare line ends of a chunk when told so",
    `${ENVELOPE}
    C: BDAT 8 LAST
    C| a\\nb\\rc\\n.\\n
    S: 250 2.0.0 ...
    E: messageStart BDAT
    E: body "a\\nb\\rc\\n.\\n"
    E: message`,
    { profile: { bareNewlines: "keep" } },
  ],
  [
    "refuses a bare CR as the last byte at the end of the last chunk",
    `${ENVELOPE}
    C: BDAT 2
    C| a\\r
    S: 250 2.0.0 2 bytes received
    C: BDAT 0 LAST
    S: 550 5.6.0 Message has a bare CR...
    C: NOOP
    S: 250 2.0.0 ...`,
  ],
  [
    "takes CRLF cut by the end of a chunk for one line end",
    `${ENVELOPE}
    C: BDAT 2
    C| a\\r
    S: 250 2.0.0 ...
    C: BDAT 1 LAST
    C| \\n
    S: 250 2.0.0 ...
    E: messageStart BDAT
    E: body "a\\r\\n"
    E: message`,
    { profile: { bareNewlines: "normalize" } },
  ],
  [
    "takes a binary message by BDAT only",
    `${HELLO}
    C: MAIL FROM:<a@b> BODY=BINARYMIME
    S: 250 2.1.0 ...
    C: RCPT TO:<c@d>
    S: 250 2.1.5 ...
    C: DATA
    S: ${replies.binaryNeedsBdat}
    C: BDAT 1 LAST
    C| \\0
    S: 250 2.0.0 ...`,
  ],
  [
    "swallows a chunk out of order to its last byte",
    `S: 220 ...
    C: BDAT 6
    C| QUIT\\r\\n
    S: ${replies.sayHello}
    C: HELO x
    S: 250 mx.test
    C: BDAT 6 LAST
    C| QUIT\\r\\n
    S: ${replies.noMail}
    C: MAIL FROM:<a@b>
    S: 250 2.1.0 ...
    C: BDAT 6 LAST
    C| QUIT\\r\\n
    S: ${replies.noRecipients}
    C: RCPT TO:<bad
    S: 501 5.1.3 ...
    C: BDAT 6 LAST
    C| QUIT\\r\\n
    S: 554 5.5.1 ...
    C: NOOP
    S: 250 2.0.0 ...`,
  ],
  [
    "swallows a pipelined burst behind refused recipients",
    `${HELLO}
    C| MAIL FROM:<a@b>\\r\\nRCPT TO:<c@d>\\r\\nBDAT 12 LAST\\r\\nRSET\\r\\nQUIT\\r\\nNOOP\\r\\n
    S: 250 2.1.0 ...
    S: 550 5.1.1 ...
    S: 554 5.5.1 ...
    S: 250 2.0.0 ...`,
    {
      profile: { asks: { rcpt: true } },
      policy: () => (ask) => ask.ask === "rcpt" ? "deny" : undefined,
    },
  ],
  [
    "refuses a body past the limit chunk by chunk, to its last byte",
    `${ENVELOPE}
    C: BDAT 4
    C| 0123
    S: 250 2.0.0 4 bytes received
    C: BDAT 8
    C| 4567QUIT
    S: 552 5.3.4 ...
    C: BDAT 6
    C| QUIT\\r\\n
    S: ${replies.bdatLost}
    C: MAIL FROM:<a@b>
    S: 503 5.5.1 ...
    C: BDAT 6 LAST
    C| QUIT\\r\\n
    S: ${replies.bdatLost}
    C: MAIL FROM:<a@b>
    S: 250 2.1.0 ...
    E: messageStart BDAT
    E: drop 552`,
    { profile: { maxSize: 10 } },
  ],
  [
    "refuses a last chunk past the limit",
    `${ENVELOPE}
    C: BDAT 11 LAST
    C| 01234567890
    S: 552 5.3.4 ...
    C: MAIL FROM:<a@b>
    S: 250 2.1.0 ...
    E: messageStart BDAT
    E: drop 552`,
    { profile: { maxSize: 10 } },
  ],
  [
    "is brought back by RSET after a lost chunk",
    `${ENVELOPE}
    C: BDAT 11
    C| 01234567890
    S: 552 5.3.4 ...
    C: RSET
    S: 250 2.0.0 ...
    C: BDAT 2
    C| xx
    S: ${replies.noMail}
    E: messageStart BDAT
    E: drop 552
    E: reset`,
    { profile: { maxSize: 10 } },
  ],
  [
    "swallows the chunk of a message that is refused at its start",
    `${ENVELOPE}
    C: BDAT 6
    C| QUIT\\r\\n
    S: 451 4.7.1 Not now
    C: BDAT 6 LAST
    C| QUIT\\r\\n
    S: 503 5.5.1 ...
    C: NOOP
    S: 250 2.0.0 ...
    E: messageStart BDAT`,
    {
      policy: () => (ask) =>
        ask.ask === "messageStart"
          ? new SmtpReply(451, "Not now", { enhanced: "4.7.1" })
          : undefined,
    },
  ],
  [
    "closes where the length cannot be read",
    `${ENVELOPE}
    C: BDAT x
    S: 501 5.5.4 ...
    C: QUIT
    E: reset
    E: close errors`,
  ],
  [
    "closes where BDAT is not offered",
    `${ENVELOPE}
    C: BDAT 6
    S: 502 5.5.1 ...
    C: QUIT
    E: reset
    E: close errors`,
    { profile: { disabled: ["CHUNKING"] } },
  ],
];

for (const [name, script, options] of DIALOGUES) {
  Deno.test(`ServerProtocol BDAT ${name}`, () => play(script, options));
}

for (
  const argument of [
    "",
    "-1",
    "+1",
    "1.5",
    "0x10",
    "1 LASTS",
    "1 LAST x",
    "LAST",
    "1LAST",
    "9".repeat(16),
    "\u0661",
  ]
) {
  Deno.test(`ServerProtocol closes after "BDAT ${argument}"`, () => {
    const driver = new Driver();
    driver.feed("HELO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n").take();
    driver.feed(new TextEncoder().encode(`BDAT ${argument}\r\n`));
    assertEquals(driver.take()[0]!.slice(0, 9), "501 5.5.4");
    assertEquals(driver.closed, "errors");
  });
}

Deno.test("ServerProtocol counts the bytes of a very large chunk", () => {
  const driver = new Driver();
  driver.feed("HELO x\r\nBDAT 999999999999999\r\n").take();
  const chunk = "NOOP\r\n".repeat(1000);
  for (let round = 0; round < 100; round++) driver.feed(chunk);
  assertEquals(driver.take(), []);
  assertEquals(driver.machine.state.reading, "bdat");
});

Deno.test("ServerProtocol.refuseBody() between chunks refuses the next one", () => {
  const driver = new Driver();
  driver.feed("HELO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 1\r\nx");
  driver.take();
  driver.machine.refuseBody(replies.refusedHeaders);
  driver.feed("BDAT 6\r\nQUIT\r\n");
  driver.feed("BDAT 0 LAST\r\nNOOP\r\n");
  assertEquals(driver.take().map((reply) => reply.slice(0, 9)), [
    "554 5.7.1",
    "503 5.5.1",
    "250 2.0.0",
  ]);
});
