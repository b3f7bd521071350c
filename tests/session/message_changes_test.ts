/**
 * Changes of handlers to a message: edits of its header in onMessage, fields on
 * top, another content made from the old one. On sockets, on one thread and
 * across threads, with the content in memory and in a file.
 */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import type { Message } from "../../lib/message/message.ts";
import type { MessageHeaders } from "../../lib/protocol/headers.ts";
import type { SmtpServerOptions } from "../../lib/server/options.ts";
import { SmtpServer } from "../../lib/server/server.ts";
import { MaildirStore } from "../../lib/store/maildir_store.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { TestFolder } from "../support/folder.ts";
import { TestClient } from "../support/server.ts";
import { namesIn } from "../support/store_message.ts";

/** Where a message is while handlers change it. */
const PLACES: Readonly<Record<string, SmtpServerOptions>> = {
  "in memory": {},
  "in a file": { memoryLimit: 0 },
  "on two threads": { threads: 2 },
  "on two threads, in a file": { threads: 2, memoryLimit: 10 },
};

const CONTENT = `Subject: Hello\r\nX-Long: a\r\n b\r\n\r\n${
  "0123456789\r\n".repeat(9000)
}end\r\n`;

/** Sends one message by BDAT or DATA to a server with such handlers; gives what its Maildir has, and the last reply. */
async function keep(
  options: SmtpServerOptions,
  { mail = "", content = CONTENT, byBdat = false } = {},
): Promise<{ text: string | undefined; reply: string }> {
  const errors: unknown[] = [];
  await using folder = await TestFolder.create();
  await using server = new SmtpServer({
    listen: "127.0.0.1:0",
    hostname: "mx.test",
    store: new MaildirStore({ folder: folder.path, newline: "crlf" }),
    log: ({ error }) => errors.push(error),
    ...options,
  });
  await server.start();
  using client = await TestClient.connect(server);
  await client.reply();
  await client.expect(
    ["EHLO client.test", "250"],
    [`MAIL FROM:<a@a.test>${mail}`, "250"],
    ["RCPT TO:<b@b.test>", "250"],
  );
  let reply;
  if (byBdat) {
    await client.send(`BDAT ${content.length} LAST\r\n${content}`);
    reply = await client.reply();
  } else {
    await client.expect(["DATA", "354"]);
    await client.send(`${content}.\r\n`);
    reply = await client.reply();
  }
  // What a handler asserts.
  assertEquals(errors.filter((error) => error !== undefined), []);
  const [mailbox] = await namesIn(folder.path);
  const [name] = mailbox === undefined
    ? []
    : await namesIn(`${folder.path}/${mailbox}/new`);
  return {
    text: name && await folder.read(`${mailbox}/new/${name}`),
    reply,
  };
}

const RETURN_PATH = "Return-Path: <a@a.test>\r\n";

for (const [place, options] of Object.entries(PLACES)) {
  for (const byBdat of [false, true]) {
    Deno.test(`Edits of the header in onMessage are kept (${place}, ${byBdat ? "BDAT" : "DATA"})`, async () => {
      const sizes: number[] = [];
      const { text } = await keep({
        ...options,
        addReceived: false,
        handlers: {
          async onMessage(_session, message) {
            const { headers } = message;
            assertEquals(headers, message.headers);
            sizes.push(message.size);
            headers.set("Subject", "Grüße");
            headers.add("X-New", "1");
            headers.remove("X-Long");
            sizes.push(message.size);
            // The content has the edits at once, and further ones are possible.
            const seen = await message.text();
            assert(seen.includes("X-New: 1\r\n\r\n0123"), seen.slice(0, 200));
            sizes.push(message.size, seen.length);
            headers.add("X-Newer", "2");
          },
        },
      }, { byBdat });
      const header =
        "Subject: =?utf-8?B?R3LDvMOfZQ==?=\r\nX-New: 1\r\nX-Newer: 2\r\n";
      const rest = CONTENT.slice(CONTENT.indexOf("\r\n\r\n"));
      assertEquals(text, RETURN_PATH + header.slice(0, -2) + rest);
      const edited = header.length - 2 - "X-Newer: 2\r\n".length + rest.length;
      assertEquals(sizes, [CONTENT.length, edited, edited, edited]);
    });
  }

  Deno.test(`A header that was only read is kept byte for byte (${place})`, async () => {
    const { text } = await keep({
      ...options,
      addReceived: false,
      handlers: {
        onMessage: (_session, { headers }) => headers.get("X-Long") === "a b",
      },
    });
    assertEquals(text, RETURN_PATH + CONTENT);
  });

  Deno.test(`Fields on top stand above Received, the last one first (${place})`, async () => {
    const { text } = await keep({
      ...options,
      handlers: {
        onMessageStart: (_session, message) => message.prepend("X-One", "1"),
        onHeaders: (_session, message) =>
          message.prepend("X-Two", "endlich-zwölf"),
        onMessage(_session, message) {
          assert(message.traceText.startsWith("X-Two: =?utf-8?Q?endlich"));
          message.prepend("X-Three", "3");
          assertEquals(message.size, CONTENT.length);
        },
      },
    });
    assert(
      text!.startsWith(
        `${RETURN_PATH}X-Three: 3\r\nX-Two: =?utf-8?Q?endlich-zw=C3=B6lf?=\r\nX-One: 1\r\nReceived: from `,
      ),
      text!.slice(0, 200),
    );
    assert(text!.endsWith(CONTENT));
  });

  Deno.test(`Fields on top and edits go with a new content (${place})`, async () => {
    const { text } = await keep({
      ...options,
      handlers: {
        async onMessage(_session, message) {
          message.prepend("X-Gone", "1");
          message.headers.set("X-Gone-Too", "1");
          await message.replace("Subject: New\r\n\r\nnew\r\n");
          message.headers.set("X-Edit", "2");
          message.prepend("X-Top", "1");
          message.headers.prepend("X-First", "3");
        },
      },
    });
    assertEquals(
      text,
      `${RETURN_PATH}X-Top: 1\r\nX-First: 3\r\nSubject: New\r\nX-Edit: 2\r\n\r\nnew\r\n`,
    );
  });

  Deno.test(`A content may be made from the old one (${place})`, async () => {
    const { text } = await keep({
      ...options,
      handlers: {
        async onMessage(_session, message) {
          message.headers.set("X-Edit", "1");
          message.prepend("X-Top", "0");
          const chars = message.stream().pipeThrough(new TextDecoderStream());
          const changed = chars.pipeThrough(
            new TransformStream<string, string>({
              transform: (text, out) => out.enqueue(text.replaceAll("9", "n")),
            }),
          );
          await message.replace(changed.pipeThrough(new TextEncoderStream()));
        },
      },
    });
    assert(text!.startsWith(`${RETURN_PATH}X-Top: 0\r\nReceived: `), text);
    const want = CONTENT.replaceAll("9", "n")
      .replace("\r\n\r\n", "\r\nX-Edit: 1\r\n\r\n");
    assert(text!.endsWith(want));
  });

  Deno.test(`A stream that fails leaves the old content (${place})`, async () => {
    const { text } = await keep({
      ...options,
      addReceived: false,
      handlers: {
        async onMessage(_session, message) {
          message.headers.set("X-Edit", "1");
          let chunks = 0;
          const failing = new TransformStream<Uint8Array, Uint8Array>({
            transform(chunk, out) {
              if (++chunks > 1) throw new RangeError("Broken");
              out.enqueue(chunk.slice(0, 10));
            },
            flush() {
              throw new RangeError("Broken");
            },
          });
          await assertRejects(
            () => message.replace(message.stream().pipeThrough(failing)),
            RangeError,
            "Broken",
          );
          const words = ReadableStream.from(["text"]);
          await assertRejects(
            () => message.replace(words as unknown as ReadableStream),
            TypeError,
            "bytes",
          );
        },
      },
    });
    const want = CONTENT.replace("\r\n\r\n", "\r\nX-Edit: 1\r\n\r\n");
    assertEquals(text, RETURN_PATH + want);
  });
}

Deno.test("An edit of a message with SMTPUTF8 is kept in UTF-8", async () => {
  const { text } = await keep({
    addReceived: false,
    handlers: {
      onMessage(_session, message) {
        message.headers.set("Subject", "Grüße");
        message.prepend("X-Top", "ä");
      },
    },
  }, { mail: " SMTPUTF8", content: "Subject: a\r\n\r\nb\r\n" });
  assertEquals(text, `${RETURN_PATH}X-Top: ä\r\nSubject: Grüße\r\n\r\nb\r\n`);
});

Deno.test("Edits of a refused message are not written, and a text without a header gets one", async () => {
  const refused = await keep({
    handlers: {
      onMessage(_session, message) {
        message.headers.set("Subject", "no");
        return false;
      },
    },
  });
  assertEquals(refused.reply.slice(0, 3), "554");
  const bare = await keep({
    addReceived: false,
    handlers: {
      onMessage: (_session, message) => message.headers.set("Subject", "yes"),
    },
  }, { content: "only text\r\n" });
  assertEquals(bare.text, `${RETURN_PATH}Subject: yes\r\n\r\nonly text\r\n`);
});

Deno.test("prepend() lets nothing out of its field", async () => {
  let seen = 0;
  await keep({
    handlers: {
      onMessage(_session, message) {
        for (
          const [name, value] of [
            ["X", "a\r\nBcc: b"],
            ["X", "a\nb"],
            ["X", "a\r\n\r\nb"],
            ["X", "a\0"],
            ["X: a\r\nY", "b"],
            ["", "b"],
            ["X Y", "b"],
            ["Größe", "b"],
          ] as const
        ) {
          assertThrows(() => message.prepend(name, value), TypeError);
          seen++;
        }
        assertThrows(() => message.prepend("X", "a".repeat(999)), RangeError);
        assertEquals(message.traceText.split("\r\nX").length, 1);
      },
    },
  });
  assertEquals(seen, 8);
});

Deno.test("Edits reach copies for some recipients, and stores that a handler calls", async () => {
  const store = new MemoryStore();
  let headers: MessageHeaders | undefined;
  let copy: Message | undefined;
  const { text } = await keep({
    addReceived: false,
    memoryLimit: 0,
    handlers: {
      async onMessage(_session, message) {
        headers = message.headers;
        headers.set("X-Edit", "1");
        copy = message.forRecipients(message.recipients);
        copy.prepend("X-Copy", "1");
        headers.set("X-Edit", "2");
        message.prepend("X-All", "1");
        await store.save(copy);
        await store.save(message);
      },
    },
  }, { content: "Subject: a\r\n\r\nb\r\n" });
  assertEquals(
    store.messages.map(({ text }) => text),
    [
      "X-Copy: 1\r\nSubject: a\r\nX-Edit: 1\r\n\r\nb\r\n",
      "X-All: 1\r\nSubject: a\r\nX-Edit: 2\r\n\r\nb\r\n",
    ],
  );
  assertEquals(
    text,
    `${RETURN_PATH}X-All: 1\r\nSubject: a\r\nX-Edit: 2\r\n\r\nb\r\n`,
  );
  assertThrows(() => headers!.set("X", "y"), TypeError);
});
