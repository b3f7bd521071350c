/**
 * Secrets that clients send in the wrong place: a trace and `onDialogue` must not
 * have them. AUTH is covered by `tests/session/dialogue_test.ts`; here are
 * mistyped verbs, logins of other protocols, and a message whose DATA was refused.
 */

import { assert, assertStringIncludes } from "@std/assert";
import { AccountList } from "../../lib/sasl/accounts.ts";
import { startServer, TestClient } from "../support/server.ts";

const SECRET = "sEcReT99x";
const PLAIN = btoa(`\0ann\0${SECRET}`);

/** What the client sends, and what is shown of it. */
const LINES: readonly (readonly [sent: string, shown: string])[] = [
  [`AUHT PLAIN ${PLAIN}`, "AUHT ***"],
  [`XAUTH PLAIN ${PLAIN}`, "XAUTH ***"],
  [`PLAIN ${PLAIN}`, "PLAIN ***"],
  [`PASS ${SECRET}`, "PASS ***"],
  [`LOGIN ann ${SECRET}`, "LOGIN ***"],
  [`a1 LOGIN ann ${SECRET}`, "***"],
  [SECRET, "***"],
  [PLAIN, "***"],
  [`Subject: ${SECRET}`, "***"],
  ["XYZZY", "XYZZY"],
  ["VRFY ann", "VRFY ann"],
];

Deno.test("a secret behind a verb that is not known is in no trace", async () => {
  let trace = "";
  await using server = await startServer({
    accounts: new AccountList({ ann: "another" }),
    trace: ["127.0.0.1"],
    limits: { maxErrors: 0 },
    log: (record) => trace += `${JSON.stringify(record)}\n`,
    handlers: {
      onDialogue(_session, line) {
        trace += `${JSON.stringify(line)}\n`;
      },
    },
  });
  using client = await TestClient.connect(server);
  await client.reply();
  await client.expect(["EHLO client.test", "250-"]);
  for (const [sent] of LINES) await client.say(sent);
  for (const secret of [SECRET, PLAIN]) {
    assert(!trace.includes(secret), trace);
  }
  for (const [, shown] of LINES) {
    assertStringIncludes(trace, `"line":"${shown}"`);
  }
});
