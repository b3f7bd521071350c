/** How a log record shows an error: the value thrown, and all its causes. */

import { assert, assertEquals } from "@std/assert";
import { describeError, type LogRecord } from "../lib/log.ts";
import { SmtpServer } from "../lib/server/server.ts";
import { decodeError, encodeError } from "../lib/threads/wire.ts";
import { TestClient } from "./support/server.ts";

/** An error as `fetch` throws it, and one of a connection tried on two addresses. */
function failure(): Error {
  const refused = new AggregateError(
    [new Error("192.0.2.1 refused"), new Error("192.0.2.2 refused")],
    "No address answers",
  );
  const cause = new Error("client error (Connect)", { cause: refused });
  return new TypeError("fetch failed", { cause });
}

const TOLD = [
  "TypeError: fetch failed",
  "Caused by: Error: client error (Connect)",
  "Caused by: AggregateError: No address answers",
  "One of its errors: Error: 192.0.2.1 refused",
  "One of its errors: Error: 192.0.2.2 refused",
];

for (const threads of [0, 1]) {
  Deno.test(`the log tells what made a handler fail, with ${threads} threads`, async () => {
    const records: LogRecord[] = [];
    await using server = new SmtpServer({
      listen: "127.0.0.1:0",
      threads,
      log: (record) => records.push(record),
      handlers: {
        onRcptTo() {
          throw failure();
        },
      },
    });
    await server.start();
    using client = await TestClient.connect(server);
    await client.reply();
    await client.expect(
      ["HELO a.example", "250"],
      ["MAIL FROM:<>", "250"],
      ["RCPT TO:<b@c.example>", "451 4.3.0"],
      ["QUIT", "221"],
    );
    await server.stop();
    const [record] = records.filter(({ level }) => level === "error");
    assertEquals(record?.message, "onRcptTo failed");
    for (const text of TOLD) assert(record?.error?.includes(text), text);
  });
}

Deno.test("describeError() ends where causes lead in a circle, and takes anything", () => {
  const one = new Error("one");
  const two = new Error("two", { cause: one });
  one.cause = two;
  const text = describeError(one);
  assertEquals(text.match(/Error: one/g)?.length, 1);
  assertEquals(text.match(/Caused by: Error: two/g)?.length, 1);
  const across = describeError(decodeError(encodeError(one)));
  assert(across.includes("Caused by: Error: two"), across);
  assertEquals(describeError("text"), "text");
  assertEquals(describeError(Object.create(null)), "A value that has no text");
});

for (const how of ["throws", "rejects"] as const) {
  Deno.test({
    name: `A log function that ${how} ends no session`,
    // The complaint goes to standard error in the background, and may be on its
    // way when the test ends.
    sanitizeOps: false,
    async fn() {
      const seen: string[] = [];
      await using server = new SmtpServer({
        listen: "127.0.0.1:0",
        log: ({ event }) => {
          seen.push(event);
          const error = new Error("Log is full");
          if (how === "throws") throw error;
          return Promise.reject(error);
        },
      });
      await server.start();
      using client = await TestClient.connect(server);
      await client.reply();
      await client.expect(["EHLO x", "250"], ["XBAD", "500"], ["QUIT", "221"]);
      // The server closes once its last write is done.
      assertEquals(await client.rest(), "");
      assert(seen.includes("connect"));
    },
  });
}
