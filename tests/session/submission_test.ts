/** Changes to the header of a submitted message, and of no other. */

import { assertEquals, assertMatch } from "@std/assert";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { MessageHeaders } from "../../lib/protocol/headers.ts";
import { openSession, startServer, TestClient } from "../support/server.ts";
import { AccountList } from "../../lib/sasl/accounts.ts";

const BLIND = "From: ann@b.example\r\nBcc: x@y,\r\n z@y\r\n" +
  "To: bob@b.example\r\nbcc:w@y\r\nResent-Bcc: v@y\r\n\r\nBcc: text\r\n";

/** The text that a session with this context keeps of a message. */
async function kept(
  content: string,
  init: Parameters<typeof openSession>[0],
  way: "DATA" | "BDAT" = "DATA",
): Promise<{ text: string; to: string[] }> {
  const store = new MemoryStore();
  await using it = openSession({ store, ...init });
  await it.client.envelope("bob@b.example", "x@y.example");
  if (way === "DATA") {
    assertEquals((await it.client.data(content)).slice(0, 3), "250");
  } else {
    await it.client.send(`BDAT ${content.length} LAST\r\n`);
    for (const byte of content) await it.client.send(byte);
    assertEquals((await it.client.reply()).slice(0, 3), "250");
  }
  const { text, recipients } = store.messages[0]!;
  return { text, to: recipients.map(({ address }) => String(address)) };
}

Deno.test("Bcc and Resent-Bcc do not leave a submission listener, their recipients stay", async () => {
  for (const way of ["DATA", "BDAT"] as const) {
    const { text, to } = await kept(BLIND, { kind: "submission" }, way);
    const rest = way === "DATA" ? "Bcc: text\r\n\r\n" : "Bcc: text\r\n";
    assertEquals(
      text,
      `From: ann@b.example\r\nTo: bob@b.example\r\n\r\n${rest}`,
    );
    assertEquals(to, ["bob@b.example", "x@y.example"]);
  }
});

Deno.test("Bcc stays in a message that is not submitted", async () => {
  const { text } = await kept(BLIND, { kind: "smtp" }, "BDAT");
  assertEquals(text, BLIND);
});

Deno.test("Bcc does not leave an smtp listener where the client has logged in", async () => {
  const store = new MemoryStore();
  await using server = await startServer({
    store,
    addReceived: false,
    allowInsecureAuth: true,
    accounts: new AccountList({ ann: "secret" }),
  });
  using client = await TestClient.connect(server);
  await client.reply();
  await client.expect(
    ["EHLO x", "250"],
    [`AUTH PLAIN ${btoa("\0ann\0secret")}`, "235"],
    ["MAIL FROM:<ann@b.example>", "250"],
    ["RCPT TO:<x@y.example>", "250"],
  );
  await client.data("Bcc: x@y.example\r\nSubject: x\r\n\r\nText");
  assertEquals(store.messages[0]!.text, "Subject: x\r\n\r\nText\r\n");
});

Deno.test("A submitted message gets Date, Message-ID and the author's domain where they are missing", async () => {
  for (const way of ["DATA", "BDAT"] as const) {
    const { text } = await kept("From: Ann <ann>\r\n\r\nText\r\n", {
      complete: { domain: "b.example" },
    }, way);
    const headers = MessageHeaders.parse(new TextEncoder().encode(text));
    assertEquals([...headers].map(([name]) => name), [
      ...["From", "Date", "Message-ID"],
    ]);
    assertEquals(headers.get("From"), "Ann <ann@b.example>");
    assertEquals(headers.get("Message-ID"), "<ID2@mx.test>");
    assertMatch(
      headers.get("Date")!,
      /^\w{3}, \d\d \w{3} \d{4} [\d:]{8} [+-]\d{4}$/,
    );
  }
});

Deno.test("A submitted message that has all of it stays as it is, however large its header", async () => {
  const whole = "Date: x\r\nMessage-ID: <y>\r\nFrom: a@b\r\n\r\nText\r\n";
  const large = `${"X: y\r\n".repeat(60_000)}\r\nText\r\n`;
  const init = { complete: { domain: "b.example" } };
  assertEquals((await kept(whole, init, "BDAT")).text, whole);
  assertEquals((await kept(large, init)).text, `${large}\r\n`);
});

Deno.test("An author's field of more than 16 KiB is not completed, its message is", async () => {
  const list = "ann, ".repeat(4000).trimEnd();
  const { text } = await kept(`From: ${list}\r\n\r\nText\r\n`, {
    complete: { domain: "b.example" },
  });
  const headers = MessageHeaders.parse(new TextEncoder().encode(text));
  assertEquals(headers.get("From"), list);
  assertEquals(headers.get("Message-ID"), "<ID2@mx.test>");
});

Deno.test("Headers are completed on submission listeners by default, and elsewhere by option only", async () => {
  for (
    const [complete, want] of [
      [undefined, [true, false]],
      [true, [true, true]],
      [false, [false, false]],
    ] as const
  ) {
    const store = new MemoryStore();
    await using server = await startServer({
      store,
      listen: ["127.0.0.1:0/submission", "127.0.0.1:0"],
      domains: ["b.example"],
      allowInsecureAuth: true,
      accounts: new AccountList({ ann: "secret" }),
      ...(complete === undefined ? {} : { complete }),
    });
    const seen: boolean[] = [];
    for (const index of [0, 1]) {
      using client = await TestClient.connect(server, index);
      await client.reply();
      await client.expect(["EHLO x", "250"]);
      await client.expect([`AUTH PLAIN ${btoa("\0ann\0secret")}`, "235"]);
      await client.expect(["MAIL FROM:<ann@b.example>", "250"]);
      await client.expect(["RCPT TO:<bob@b.example>", "250"]);
      await client.data("From: ann\r\n\r\nText");
      const { headers } = store.messages[index]!;
      seen.push(headers.has("Date") && headers.has("Message-ID"));
      assertEquals(
        headers.get("From"),
        seen[index] ? "ann@b.example" : "ann",
      );
    }
    assertEquals(seen, [...want]);
  }
});

Deno.test("Bcc is left out behind a line that is no field, too", async () => {
  const content =
    "From: ann@b.example\r\nno field\r\nBcc: x@y\r\n\r\nBcc: z\r\n";
  const { text } = await kept(content, { kind: "submission" }, "BDAT");
  assertEquals(
    text,
    "From: ann@b.example\r\n\r\nno field\r\n\r\nBcc: z\r\n",
  );
});
