/**
 * Python's smtplib: parameters of MAIL and RCPT, UTF-8 addresses, a thousand
 * recipients, refusals.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.1.1 | RFC 5321 section 4.1.1},
 * {@link https://www.rfc-editor.org/rfc/rfc6531#section-3.1 | RFC 6531 section 3.1}
 */

import { assert, assertEquals } from "@std/assert";
import {
  assertStored,
  InteropServer,
  readMaildir,
  runPython,
} from "../support/interop/server.ts";
import { TestFolder } from "../support/folder.ts";

const MESSAGE =
  "From: Sender <sender@example.org>\r\nSubject: smtplib\r\n\r\n.\r\nText\r\n";
const HIGH = String.fromCharCode(
  ...Array.from({ length: 128 }, (_, i) => i + 128),
);

/** UTF-8 bytes, one character each. */
function utf8(text: string): string {
  return String.fromCharCode(...new TextEncoder().encode(text));
}

interface Row {
  /** The function of the script. */
  readonly name: string;
  readonly args?: readonly string[];
  readonly sent?: string;
  readonly from?: string;
  readonly to?: readonly string[];
  readonly protocol?: string;
}

const ROWS: readonly Row[] = [
  { name: "plain" },
  {
    name: "utf8",
    sent: MESSAGE.replace("smtplib", utf8("grüße")),
    from: utf8("sänder@example.org"),
    to: ["üser@example.com"],
    protocol: "UTF8SMTP",
  },
  { name: "eight_bit", sent: `${MESSAGE}${HIGH}\r\n` },
  {
    name: "line_feeds",
    sent: [
      "From: sender@example.org",
      "Subject: smtplib",
      'Content-Type: text/plain; charset="utf-8"',
      "Content-Transfer-Encoding: 7bit",
      "MIME-Version: 1.0",
      "",
      ".one dot",
      "..two dots",
      ".",
      "Text",
      // smtplib adds a CRLF to a last line without one.
      "",
      "",
    ].join("\r\n"),
  },
  { name: "dsn" },
  {
    name: "many",
    args: ["--max-recipients", "1000"],
    to: Array.from({ length: 1000 }, (_, i) => `user${i}@example.com`),
  },
  { name: "too_big", args: ["--max-size", "20000"] },
  { name: "commands" },
];

/** The Maildir of an address: what is not plain in its name is percent-encoded. */
function maildirOf(root: string, address: string): string {
  const name = address.replaceAll(
    /[^A-Za-z0-9._+=@-]/g,
    (character) => encodeURIComponent(character),
  );
  return `${root}/mail/${name}`;
}

for (const row of ROWS) {
  Deno.test(`smtplib: ${row.name}`, async () => {
    await using folder = await TestFolder.create();
    const cwd = folder.path;
    await using server = await InteropServer.start(row.args ?? [], { cwd });
    const { stdout } = await runPython("smtplib_peer.py", [
      row.name,
      server.port,
    ]);
    const offered = Object.keys(JSON.parse(stdout));
    for (const keyword of ["size", "pipelining", "8bitmime", "smtputf8"]) {
      assert(offered.includes(keyword), `"${keyword}" is not offered`);
    }
    for (const address of row.to ?? ["user@example.com"]) {
      const stored = await readMaildir(maildirOf(cwd, address));
      assertEquals(stored.length, 1, address);
      assertStored(stored[0], {
        sent: row.sent ?? MESSAGE,
        from: row.from ?? "sender@example.org",
        protocol: row.protocol ?? "ESMTP",
      });
    }
  });
}
