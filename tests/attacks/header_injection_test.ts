/**
 * Header injection: texts of a peer (HELO, addresses, parameters, replies) get
 * into Received, Return-Path, the mbox separator and DSNs, and must not become a
 * field, a line or a part there.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.4 | RFC 5321 section 4.4}
 */

import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { join } from "node:path";
import { MessageHeaders } from "../../lib/protocol/headers.ts";
import { SmtpReply } from "../../lib/protocol/reply.ts";
import { FileStore } from "../../lib/store/file_store.ts";
import { MaildirStore } from "../../lib/store/maildir_store.ts";
import { MboxStore } from "../../lib/store/mbox_store.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { readNotice } from "../fuzz/notice_reader.ts";
import { startPair } from "../support/queue/relaying.ts";
import { startServer, TestClient } from "../support/server.ts";
import { TestFolder } from "../support/folder.ts";
import { textOf, utf8 } from "../support/bytes.ts";
import { within } from "../support/wait.ts";

const HELLOS = [
  ...[
    "a;b",
    "(",
    ")",
    "((((",
    ")by(evil.test",
    "[127.0.0.1])",
    "a\\",
    '"',
    "a,b",
  ],
  ...[
    "x.test;Mon,1Jan2001",
    "<script>",
    "=?utf-8?q?=0d=0aX:_y?=",
    "\u00e9.test",
  ],
  ...[
    "a\u2028X:y",
    "a\u0085b",
    "\u202eevil",
    "__proto__",
    "x".repeat(255),
    "%0d%0a",
  ],
];

/** Received by the grammar of RFC 5321 section 4.4, in one line. */
const RECEIVED =
  /^from [\w.:[\]?-]+ \(\[[\w.:]+\]\) by mx\.test with E?SMTP id [\w-]+(?: for <[^\r\n]+>)?; \w{3}, \d\d \w{3} \d{4} [\d:]{8} [+-]\d{4}$/;

Deno.test("SmtpServer puts no HELO into Received that could be read as more", async () => {
  const store = new MemoryStore();
  await using server = await startServer({ store, limits: { maxErrors: 0 } });
  using client = await TestClient.connect(server);
  await client.reply();
  for (const hello of HELLOS) {
    for (const verb of ["HELO", "EHLO"]) {
      store.clear();
      await client.expect(
        [`${verb} ${textOf(utf8(hello))}`, "250"],
        ["MAIL FROM:<a@b.test>", "250"],
        ["RCPT TO:<c@d.test>", "250"],
      );
      await client.data("Subject: x\r\n\r\ntext");
      const { headers } = store.messages[0]!;
      const names = [...headers].map(([name]) => name);
      assertEquals(names, ["Received", "Subject"], hello);
      const received = headers.get("Received")!.replaceAll("\t", " ");
      assert(RECEIVED.test(received), received);
    }
  }
});

const BAD_HELLOS = [
  "",
  " ",
  "a b",
  "a\tb",
  "a\0b",
  "a\x1b[2Jb",
  "a\x7f",
  "x".repeat(256),
];

Deno.test("SmtpServer takes no HELO of several words or with control characters", async () => {
  await using server = await startServer({ limits: { maxErrors: 0 } });
  using client = await TestClient.connect(server);
  await client.reply();
  for (const hello of BAD_HELLOS) {
    assertEquals((await client.say(`HELO ${hello}`))[0], "5", hello);
  }
  for (const hello of ["a\rX: y", "a\nX: y"]) {
    assertEquals((await client.say(`EHLO ${hello}`)).slice(0, 3), "500");
  }
  // A bare LF is answered at once, and the rest of the line is refused.
  assertEquals((await client.reply()).slice(0, 3), "500");
  await client.expect(["MAIL FROM:<a@b.test>", "503"]);
});

/** Valid addresses that look like header fields or commands. */
const SENDERS = [
  '"x> X: y <"@b.test',
  '"a;b"@b.test',
  '"(c)"@b.test',
  '"From  me"@b.test',
  '"\\""@b.test',
  "From@b.test",
  "=?utf-8?q?=0d=0aX=3a_y?=@b.test",
  "--=_x@b.test",
];

Deno.test("SmtpServer puts no address into Received, Return-Path or an mbox that could be read as more", async () => {
  await using folder = await TestFolder.create();
  const path = join(folder.path, "all.mbox");
  await using server = await startServer({
    store: new MboxStore({ path, sync: false }),
  });
  using client = await TestClient.connect(server);
  await client.reply();
  await client.expect(["EHLO client.test", "250"]);
  for (const address of SENDERS) {
    await client.expect(
      [`MAIL FROM:<${address}>`, "250"],
      [`RCPT TO:<${address}>`, "250"],
    );
    await client.data("Subject: x\r\n\r\nFrom evil\r\n\r\nFrom a@b Mon\r\n");
  }
  const text = await Deno.readTextFile(path);
  const messages = text.split(/^(?=From )/m);
  assertEquals(messages.length, SENDERS.length);
  for (const [index, message] of messages.entries()) {
    const [separator, ...rest] = message.split("\n");
    assert(
      /^From \S+ \w{3} \w{3} [ \d]\d [\d:]{8} \d{4}$/.test(separator!),
      separator,
    );
    const headers = MessageHeaders.parse(utf8(rest.join("\r\n")));
    assertEquals(
      [...headers].map(([name]) => name),
      ["Return-Path", "Received", "Subject"],
    );
    assertEquals(headers.get("Return-Path"), `<${SENDERS[index]}>`);
  }
});

Deno.test("SmtpServer makes no field of what a handler is given to add", async () => {
  const thrown: string[] = [];
  await using server = await startServer({
    handlers: {
      onHeaders(session, _message, headers) {
        const values = ["a\r\nX: y", "a\nX: y", "a\rX: y", "a\0", "a\r\n\r\nb"];
        for (const value of values) {
          try {
            headers.add("X-Helo", `${session.helo} ${value}`);
          } catch (error) {
            thrown.push((error as Error).name);
          }
        }
        for (const name of ["X y", "X:y", "X\r\nY", "", "X\0", "\u00fc"]) {
          try {
            headers.set(name, "z");
          } catch (error) {
            thrown.push((error as Error).name);
          }
        }
      },
    },
  });
  using client = await TestClient.connect(server);
  await client.envelope();
  await client.data("Subject: x");
  assertEquals(thrown, new Array(11).fill("TypeError"));
});

/** Texts of peers that a DSN quotes. */
const STRANGE = {
  envid: "QQ+0D+0AX:+20y",
  orcpt: "rfc822;a+0D+0AAction:+20delivered+40b",
  reply:
    "No\r\nAction: delivered\r\n\r\n--=_x\r\nFinal-Recipient: rfc822; z@z\x1b[2J",
};

Deno.test("SmtpServer takes no ENVID or ORCPT with a line end in it", async () => {
  await using server = await startServer({ limits: { maxErrors: 0 } });
  using client = await TestClient.connect(server);
  await client.reply();
  await client.expect(
    ["EHLO client.test", "250"],
    [`MAIL FROM:<a@b.test> ENVID=${STRANGE.envid}`, "501"],
    ["MAIL FROM:<a@b.test> ENVID=QQ", "250"],
    [`RCPT TO:<c@d.test> ORCPT=${STRANGE.orcpt}`, "501"],
    ["RCPT TO:<c@d.test> ORCPT=utf-8;a\\x{0D}\\x{0A}@b", "501"],
    ["RCPT TO:<c@d.test> ORCPT=utf-8;a\\x{85}@b", "501"],
  );
});

Deno.test("SmtpServer lets no reply of another server add to a notice", async () => {
  await using pair = await startPair({
    near: { domains: ["near.test"] },
    far: {
      handlers: {
        onRcptTo: () =>
          new SmtpReply(550, STRANGE.reply, { enhanced: "5.1.1" }),
      },
    },
  });
  using client = await TestClient.connect(pair.near);
  await client.reply();
  await client.expect(
    ["EHLO x)(;", "250"],
    ['MAIL FROM:<"x> To: <y"@near.test> ENVID=a+2B=b', "501"],
    ['MAIL FROM:<"x> To: <y"@near.test> ENVID=a+2Bb', "250"],
    ['RCPT TO:<"you\\"; x"@dest.test> ORCPT=x-y;z+28', "250"],
  );
  await client.data("Subject: x\r\n\r\ntext");
  const notice = await within(pair.nearStore.next(), "the notice");
  const text = textOf(notice.bytes);
  // The store puts its own fields in front.
  const { header, groups, returned } = readNotice(text);
  assertEquals(header.filter(([name]) => name === "To"), [
    ["To", '<"x> To: <y"@near.test>'],
  ]);
  assertEquals(groups.length, 2);
  assertEquals(groups[1]!.filter(([name]) => name === "Action"), [
    ["Action", "failed"],
  ]);
  assertEquals(groups[0]![0], ["Original-Envelope-Id", "a+b"]);
  assertStringIncludes(returned, "Subject: x");
});

Deno.test("The first line of a message joins no field that the server puts in front", async () => {
  for (
    const line of [
      " (forged); Thu, 01 Jan 1970 00:00:00 +0000",
      "\tby forged.example",
      "hello world",
      "   ",
      "From ann@b.example Mon Nov 30 10:00:00 2026",
      ">From ann@b.example Mon Nov 30 10:00:00 2026",
    ]
  ) {
    const folder = await Deno.makeTempDir();
    const memory = new MemoryStore();
    await using server = await startServer({
      store: memory,
      handlers: {
        onMessage(_session, message) {
          message.store = [
            memory,
            new FileStore({ folder: `${folder}/eml` }),
            new MaildirStore({ folder: `${folder}/maildir` }),
            new MboxStore({ path: `${folder}/all.mbox` }),
          ];
        },
      },
    });
    using client = await TestClient.connect(server);
    await client.envelope();
    const content = `${line}\r\nSubject: text\r\n`;
    await client.send(`BDAT ${content.length} LAST\r\n${content}`);
    assertEquals((await client.reply()).slice(0, 3), "250");
    const files = await filesIn(folder);
    assertEquals(files.length, 3);
    for (const text of [memory.messages[0]!.text, ...files]) {
      const headers = MessageHeaders.parse(
        utf8(text.replace(/^From .*\n/, "").replace(/\r?\n/g, "\r\n")),
      );
      const names = [...headers].map(([name]) => name)
        .filter((name) => name !== "Return-Path");
      const want = line.includes("From ")
        ? ["Received", "X-Mailbox-Line", "Subject"]
        : ["Received"];
      assertEquals(names, want, `${line}: ${text}`);
      assertMatch(headers.get("Received")!, /\d{4} [\d:]{8} [+-]\d{4}$/);
    }
    await Deno.remove(folder, { recursive: true });
  }
});

/** The texts of all files below a folder. */
async function filesIn(folder: string): Promise<string[]> {
  const texts: string[] = [];
  for await (const { name, isFile, isDirectory } of Deno.readDir(folder)) {
    const path = `${folder}/${name}`;
    if (isDirectory) texts.push(...await filesIn(path));
    if (isFile && !name.endsWith(".lock")) {
      texts.push(await Deno.readTextFile(path));
    }
  }
  return texts;
}
