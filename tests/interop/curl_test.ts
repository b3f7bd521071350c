/**
 * curl as a mail client: one recipient and several, a file and a pipe, TLS from
 * the first byte.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-3.3 | RFC 5321 section 3.3}
 */

import { assertEquals } from "@std/assert";
import {
  assertStored,
  awkwardMessage,
  bigMessage,
  InteropServer,
  readFolder,
  readMaildir,
} from "../support/interop/server.ts";
import { run } from "../support/process.ts";
import { bytesOf } from "../support/bytes.ts";
import { TestFolder } from "../support/folder.ts";

const ENVELOPE = ["--mail-from", "sender@example.org"];

function recipients(...names: string[]): string[] {
  return names.flatMap((name) => ["--mail-rcpt", name]);
}

Deno.test("curl uploads a file", async () => {
  await using folder = await TestFolder.create();
  const cwd = folder.path;
  await using server = await InteropServer.start(["--store", "file:eml"], {
    cwd,
  });
  const message = awkwardMessage("curl file");
  await Deno.writeFile(`${cwd}/message`, bytesOf(message));
  await run("curl", [
    ...["-sS", `smtp://127.0.0.1:${server.port}/client.example`, ...ENVELOPE],
    ...[...recipients("user@example.com"), "--upload-file", `${cwd}/message`],
  ]);
  const stored = await readFolder(`${cwd}/eml`);
  assertEquals(stored.length, 1);
  assertStored(stored[0], {
    sent: message,
    from: "sender@example.org",
    protocol: "ESMTP",
    newline: "\r\n",
  });
});

Deno.test("curl uploads a file whose lines end with LF", async () => {
  await using folder = await TestFolder.create();
  const cwd = folder.path;
  await using server = await InteropServer.start(["--store", "file:eml"], {
    cwd,
  });
  const message = "Subject: LF\n\n.\n.leading dot\nText\n";
  await Deno.writeFile(`${cwd}/message`, bytesOf(message));
  await run("curl", [
    ...["-sS", `smtp://127.0.0.1:${server.port}/client.example`, ...ENVELOPE],
    ...[...recipients("user@example.com"), "--upload-file", `${cwd}/message`],
  ]);
  const stored = await readFolder(`${cwd}/eml`);
  assertEquals(stored.length, 1);
  assertStored(stored[0], {
    // curl adds a CRLF to a last line without one.
    sent: `${message.replaceAll("\n", "\r\n")}\r\n`,
    from: "sender@example.org",
    protocol: "ESMTP",
    newline: "\r\n",
  });
});

Deno.test("curl sends 5 MB from a pipe to several recipients", async () => {
  await using folder = await TestFolder.create();
  const cwd = folder.path;
  await using server = await InteropServer.start([], { cwd });
  const message = bigMessage("curl pipe", 5_000_000);
  const names = ["one@example.com", "two@example.com", "three@example.com"];
  await run("curl", [
    ...["-sS", `smtp://127.0.0.1:${server.port}/client.example`, ...ENVELOPE],
    ...[...recipients(...names), "--upload-file", "-"],
  ], { input: bytesOf(message) });
  for (const name of names) {
    const stored = await readMaildir(`${cwd}/mail/${name}`);
    assertEquals(stored.length, 1, name);
    assertStored(stored[0], {
      sent: message,
      from: "sender@example.org",
      protocol: "ESMTP",
    });
  }
});

Deno.test("curl sends two messages over one connection", async () => {
  await using folder = await TestFolder.create();
  const cwd = folder.path;
  await using server = await InteropServer.start([], { cwd });
  const message = awkwardMessage("curl twice");
  await Deno.writeFile(`${cwd}/message`, bytesOf(message));
  const url = `smtp://127.0.0.1:${server.port}/client.example`;
  const send = [url, ...ENVELOPE, ...recipients("user@example.com")];
  const upload = ["--upload-file", `${cwd}/message`];
  await run("curl", ["-sS", ...send, ...upload, "--next", ...send, ...upload]);
  const stored = await readMaildir(`${cwd}/mail/user@example.com`);
  assertEquals(stored.length, 2);
  for (const copy of stored) {
    assertStored(copy, {
      sent: message,
      from: "sender@example.org",
      protocol: "ESMTP",
    });
  }
});

Deno.test("curl speaks TLS from the first byte and by STARTTLS", async () => {
  await using folder = await TestFolder.create();
  const cwd = folder.path;
  await using server = await InteropServer.start(["--self-signed"], {
    cwd,
    listeners: ["smtps", "smtp"],
  });
  const message = awkwardMessage("curl tls");
  await Deno.writeFile(`${cwd}/message`, bytesOf(message));
  const [implicit, explicit] = server.ports;
  for (
    const url of [
      `smtps://127.0.0.1:${implicit}/client.example`,
      `smtp://127.0.0.1:${explicit}/client.example`,
    ]
  ) {
    await run("curl", [
      ...["-sS", "--insecure", "--ssl-reqd", url, ...ENVELOPE],
      ...[...recipients("user@example.com"), "-T", `${cwd}/message`],
    ]);
  }
  const stored = await readMaildir(`${cwd}/mail/user@example.com`);
  assertEquals(stored.length, 2);
  for (const copy of stored) {
    assertStored(copy, {
      sent: message,
      from: "sender@example.org",
      protocol: "ESMTPS",
    });
  }
});
