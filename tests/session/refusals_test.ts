/** Log records of refused commands: one for each. */

import { assert, assertEquals } from "@std/assert";
import type { LogRecord } from "../../lib/log.ts";
import { AccountList } from "../../lib/sasl/accounts.ts";
import { startServer, TestClient } from "../support/server.ts";
import { within } from "../support/wait.ts";

/** A line, and the verb and the beginning of the reply in its record. */
const REFUSED: [line: string, verb: string, reply: string][] = [
  ["FOO hunter2", "", "500 5.5.2"],
  ["NOOP\n", "", "500 5.5.2"],
  ["NOOP \xff", "", "500 5.5.2"],
  ["MAIL FROM:<a b@c>", "MAIL", "501 5.1.7"],
  ["MAIL FROM:<a@b> FOO=1", "MAIL", "555 5.5.4"],
  ["MAIL FROM:<\xc3\xa9@b>", "MAIL", "553 5.6.7"],
  ["RCPT TO:<a@b>", "RCPT", "503 5.5.1"],
  ["DATA", "DATA", "503 5.5.1"],
  ["BDAT 0", "BDAT", "503 5.5.1"],
  ["EHLO", "EHLO", "501 5.5.4"],
  ["HELO bad.test", "HELO", "550 5.7.1"],
  ["EXPN x", "EXPN", "502 5.5.1"],
  ["STARTTLS", "STARTTLS", "502 5.5.1"],
  ["AUTH hunter2 hunter2", "AUTH", "504 5.5.4"],
  [`NOOP ${"x".repeat(600)}`, "NOOP", "500 5.5.2"],
];

Deno.test("each refused command leaves one record with session, address, verb and reply", async () => {
  const records: LogRecord[] = [];
  await using server = await startServer({
    domains: ["near.test"],
    accounts: new AccountList({ ann: "hunter2" }),
    allowInsecureAuth: true,
    log: (record) => records.push(record),
    limits: { maxErrors: 0 },
    handlers: {
      onHelo: (_session, name) => name !== "bad.test",
      onMailFrom: (_session, address) => address.domain !== "bad.test",
      onMessageStart: () => false,
    },
  });
  const seen = () => records.filter(({ event }) => event === "refused");
  using client = await TestClient.connect(server);
  await client.reply();
  await client.expect(["EHLO x", "250"]);
  for (const [line, verb, reply] of REFUSED) {
    records.length = 0;
    const crlf = line.endsWith("\n") ? "" : "\r\n";
    await client.send(`${line}${crlf}`);
    assertEquals((await client.reply()).slice(0, reply.length), reply, line);
    const [record, ...more] = seen();
    assertEquals(more, [], line);
    assertEquals(record!.fields!.verb, verb, line);
    assertEquals(record!.fields!.address, "127.0.0.1");
    assert(`${record!.fields!.reply}`.startsWith(reply), record!.message);
    assert(record!.session !== undefined);
    assert(!JSON.stringify(records).includes("hunter2"), line);
    if (crlf === "") await client.expect(["", "500"]);
    await client.expect(["EHLO x", "250"]);
  }
  records.length = 0;
  await client.expect(
    ["MAIL FROM:<a@bad.test>", "550"],
    ["MAIL FROM:<a@b.test>", "250"],
    ["RCPT TO:<c@far.test>", "550 5.7.1"],
    ["RCPT TO:<c@near.test>", "250"],
    ["DATA", "554"],
  );
  assertEquals(seen().map(({ message }) => message), [
    "Refused MAIL FROM:<a@bad.test>: 550 5.7.1 Sender refused",
    "Refused RCPT TO:<c@far.test>: 550 5.7.1 Relaying denied",
    "Refused DATA: 554 5.7.1 Message refused",
  ]);
});

Deno.test("the records of one session are bounded by its errors", async () => {
  const records: LogRecord[] = [];
  await using server = await startServer({
    log: (record) => records.push(record),
    limits: { maxErrors: 5 },
  });
  using client = await TestClient.connect(server);
  await client.reply();
  await client.send("FOO\r\n".repeat(5000));
  await within(client.rest(), "the end");
  assertEquals(records.filter(({ event }) => event === "refused").length, 6);
});
