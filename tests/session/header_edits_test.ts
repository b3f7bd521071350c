/** Edits of header fields by handlers: where they are kept and in which form. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import type { SmtpHandlers } from "../../lib/session/handlers.ts";
import type { Message } from "../../lib/message/message.ts";
import { MessageHeaders } from "../../lib/protocol/headers.ts";
import { connectInMemory } from "../../lib/testing/mod.ts";

/** The kept text of a message after these handlers. */
async function keep(
  handlers: SmtpHandlers,
  parameters = "",
  content = "Subject: =?utf-8?Q?Gr=C3=BC?=\r\n\r\nBody",
): Promise<{ text: string }> {
  await using session = await connectInMemory({
    handlers,
    addReceived: false,
  });
  const { client } = session;
  await client.expect(220);
  await client.expect(250, "EHLO a.example");
  await client.expect(250, `MAIL FROM:<a@b.example>${parameters}`);
  await client.expect(250, "RCPT TO:<c@d.example>");
  await client.expect(354, "DATA");
  await client.expect(250, `${content}\r\n.`);
  const [message] = session.messages;
  return { text: message!.text };
}

/** A value as a mail reader shows it: without blanks between two encoded words. */
function shown(value: string | undefined): string {
  return (value ?? "").replace(/\?=[ \t]+(?==\?)/g, "?=").replace(
    /=\?utf-8\?([QB])\?([^?]*)\?=/g,
    (_whole, form: string, word: string) => {
      const bytes = form === "B"
        ? Uint8Array.fromBase64(word)
        : Uint8Array.from(
          word.replaceAll("_", " ").replace(
            /=([0-9A-F]{2})/g,
            (_code, hex: string) => String.fromCharCode(parseInt(hex, 16)),
          ),
          (char) => char.charCodeAt(0),
        );
      return new TextDecoder().decode(bytes);
    },
  );
}

Deno.test("onHeaders may set any text: it is kept in a form that every host takes", async () => {
  const { text } = await keep({
    onHeaders(_session, _message, headers) {
      headers.set("Subject", `[Außen] ${headers.get("Subject")}`);
      headers.add("From", '"Müller, Änne" <ann@b.example>, bob@b.example');
      headers.prepend("X-Note", "plain ü plain");
      headers.add(
        "Content-Type",
        'text/plain; charset=utf-8; name="Größe 1.txt"',
      );
      headers.add("X-Long", "漢".repeat(400));
    },
  });
  // deno-lint-ignore no-control-regex
  assert(!/[^\x00-\x7f]/.test(text), text);
  const headers = MessageHeaders.parse(new TextEncoder().encode(text));
  assertEquals(shown(headers.get("Subject")), "[Außen] Grü");
  assertEquals(
    shown(headers.get("From")),
    "Müller, Änne <ann@b.example>, bob@b.example",
  );
  assertEquals(shown(headers.get("X-Note")), "plain ü plain");
  assertEquals(shown(headers.get("X-Long")), "漢".repeat(400));
  assertEquals(
    headers.get("Content-Type"),
    "text/plain; charset=utf-8; name*=utf-8''Gr%C3%B6%C3%9Fe%201.txt",
  );
  for (const line of text.split("\r\n")) assert(line.length <= 78, line);
  assert(text.endsWith("\r\n\r\nBody\r\n"), text);
});

Deno.test("onHeaders sets UTF-8 as it is in a message with SMTPUTF8", async () => {
  const { text } = await keep({
    onHeaders: (_session, _message, headers) =>
      headers.set("Subject", "[Außen]"),
  }, " SMTPUTF8");
  assert(text.startsWith("Subject: [Außen]\r\n"), text);
});

Deno.test("edits of header fields that would be lost throw, and change nothing", async (t) => {
  const edits: Record<string, (headers: MessageHeaders) => void> = {
    set: (headers) => headers.set("Subject", "x"),
    add: (headers) => headers.add("X", "x"),
    prepend: (headers) => headers.prepend("X", "x"),
    remove: (headers) => void headers.remove("Subject"),
    clear: (headers) => headers.clear(),
  };
  for (const [name, edit] of Object.entries(edits)) {
    await t.step(name, async () => {
      let held: MessageHeaders | undefined;
      let last: MessageHeaders | undefined;
      let late: Message | undefined;
      let seen = 0;
      const look = (headers: MessageHeaders) => {
        assertThrows(() => edit(headers), TypeError, "edit those that onHead");
        assertEquals(headers.get("Subject"), "=?utf-8?Q?Gr=C3=BC?=");
        seen++;
      };
      const { text } = await keep({
        onHeaders(_session, _message, headers) {
          held = headers;
        },
        onMessage(_session, message: Message) {
          look(held!);
          late = message;
          last = message.headers;
        },
        onDisconnect: () => look(last!),
      });
      assertEquals(seen, 2);
      assertThrows(() => edit(late!.headers), TypeError, "edit those that");
      assertEquals(text, "Subject: =?utf-8?Q?Gr=C3=BC?=\r\n\r\nBody\r\n");
    });
  }
});

Deno.test("text that follows fields without an empty line gets one, edits or not", async () => {
  const content = "Subject: a\r\nhello world\r\nTo: b@c.example\r\n\r\nmore";
  const text = "hello world\r\nTo: b@c.example\r\n\r\nmore\r\n";
  const plain = await keep({}, "", content);
  assertEquals(plain.text, `Subject: a\r\n\r\n${text}`);
  const edited = await keep(
    {
      onHeaders(_session, _message, headers) {
        assertEquals([...headers], [["Subject", "a"]]);
        headers.set("X-A", "b");
      },
    },
    "",
    content,
  );
  assertEquals(edited.text, `Subject: a\r\nX-A: b\r\n\r\n${text}`);
});

Deno.test("content that replaces a message joins no field in front of it", async () => {
  for (
    const [content, want] of [
      ["hello world\r\n", "\r\nhello world\r\n"],
      [" (forged)\r\n", "\r\n (forged)\r\n"],
      ["A: b\r\nhello\r\n", "A: b\r\n\r\nhello\r\n"],
      ["A: b\r\n\r\nhello", "A: b\r\n\r\nhello"],
      ["hello", "\r\nhello"],
    ] as const
  ) {
    for (
      const given of [
        content,
        ReadableStream.from([...new TextEncoder().encode(content)]).pipeThrough(
          new TransformStream<number, Uint8Array>({
            transform: (byte, to) => to.enqueue(Uint8Array.of(byte)),
          }),
        ),
      ]
    ) {
      const { text } = await keep({
        onMessage: (_session, message) => message.replace(given),
      });
      assertEquals(text, want);
    }
  }
});
