/** Verdicts without a reply, after which a handler has sent its own. */

import { assertEquals } from "@std/assert";
import { replies } from "../../../lib/protocol/replies.ts";
import type { Verdict } from "../../../lib/protocol/server/effects.ts";
import { Driver, ENVELOPE, play, type Policy } from "../../support/dialogue.ts";

/** Answers the question before the content, after sending a reply. */
function startWith(verdict: Verdict): () => Policy {
  return () => (ask, machine) => {
    if (ask.ask !== "messageStart") return undefined;
    machine.send("250 Said already\r\n");
    return verdict;
  };
}

const DIALOGUES: [name: string, verdict: Verdict, script: string][] = [
  [
    "the first of two chunks, allowed",
    "silent-allow",
    `C: BDAT 3
    S: 250 Said already
    C| abc
    C: BDAT 3 LAST
    C| def
    S: 250 2.0.0 ...
    C: NOOP
    S: 250 2.0.0 ...
    E: messageStart BDAT
    E: body "abcdef"
    E: message`,
  ],
  [
    "an only chunk, allowed",
    "silent-allow",
    `C: BDAT 3 LAST
    S: 250 Said already
    C| abc
    S: 250 2.0.0 ...
    C: NOOP
    S: 250 2.0.0 ...
    E: messageStart BDAT
    E: body "abc"
    E: message`,
  ],
  [
    "the first of two chunks, denied",
    "silent-deny",
    `C: BDAT 3
    S: 250 Said already
    C| abc
    C: BDAT 3 LAST
    C| def
    S: ${replies.bdatLost}
    C: NOOP
    S: 250 2.0.0 ...
    E: messageStart BDAT`,
  ],
  [
    "an only chunk, denied",
    "silent-deny",
    `C: BDAT 3 LAST
    S: 250 Said already
    C| abc
    C: MAIL FROM:<a@b.test>
    S: 250 2.1.0 ...
    E: messageStart BDAT`,
  ],
];

for (const [name, verdict, script] of DIALOGUES) {
  Deno.test(`ServerProtocol says no more than a handler has left to say of ${name}`, () => {
    play(`${ENVELOPE}${script}`, { policy: startWith(verdict) });
  });
}

Deno.test("ServerProtocol says 354 again after a silent chunk", () => {
  play(
    `${ENVELOPE}
    C: BDAT 1 LAST
    S: 250 Said already
    C| x
    S: 250 2.0.0 ...
    C: MAIL FROM:<a@b.test>
    S: 250 2.1.0 ...
    C: RCPT TO:<c@d.test>
    S: 250 2.1.5 ...
    C: DATA
    S: 354 ...
    C: .
    S: 250 2.0.0 ...`,
    {
      policy: () => (ask, machine) => {
        if (ask.ask !== "messageStart" || ask.via === "DATA") return undefined;
        machine.send("250 Said already\r\n");
        return "silent-allow";
      },
    },
  );
});

const ENDS: [command: string, rest: string, want: string[]][] = [
  ["DATA\r\nx\r\n.\r\n", "", []],
  ["BDAT 1 LAST\r\nx", "", []],
  ["BDAT 1\r\nx", "BDAT 0 LAST\r\n", ["503 5.5.1"]],
];

for (const [command, rest, want] of ENDS) {
  Deno.test(`ServerProtocol.refuseBody() may be silent in ${JSON.stringify(command)}`, () => {
    const driver = new Driver();
    driver.feed("HELO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n");
    driver.feed(command.slice(0, command.indexOf("\n") + 1)).take();
    const { machine } = driver;
    machine.receive(
      new TextEncoder().encode(command.slice(command.indexOf("\n") + 1)),
    );
    // The end arrives together with these bytes, but the refusal is still in
    // time.
    assertEquals(machine.next().effect, "body");
    machine.refuseBody(replies.refusedHeaders, { silent: true });
    assertEquals(machine.next().effect, "drop");
    driver.feed(`${rest}NOOP\r\n`);
    assertEquals(driver.take().map((reply) => reply.slice(0, 9)), [
      ...want,
      "250 2.0.0",
    ]);
    assertEquals(driver.closed, undefined);
  });
}
