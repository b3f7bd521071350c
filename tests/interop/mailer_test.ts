/**
 * The mail programs of a Unix desk: msmtp and s-nail.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-3.3 | RFC 5321 section 3.3}
 */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import {
  assertStored,
  awkwardMessage,
  InteropServer,
  readMaildir,
  readMbox,
} from "../support/interop/server.ts";
import { run } from "../support/process.ts";
import { bytesOf } from "../support/bytes.ts";
import { TestFolder } from "../support/folder.ts";

Deno.test("msmtp sends what it is given", async () => {
  await using folder = await TestFolder.create();
  const cwd = folder.path;
  await using server = await InteropServer.start([], { cwd });
  const message = awkwardMessage("msmtp");
  await run("msmtp", [
    ...["--host=127.0.0.1", `--port=${server.port}`, "--auth=off", "--tls=off"],
    ...["--domain=client.example", "--from=sender@example.org", "--"],
    ...["user@example.com", "other@example.com"],
  ], { input: bytesOf(message.replaceAll("\r\n", "\n")) });
  for (const name of ["user@example.com", "other@example.com"]) {
    const stored = await readMaildir(`${cwd}/mail/${name}`);
    assertEquals(stored.length, 1, name);
    assertStored(stored[0], {
      sent: message,
      from: "sender@example.org",
      protocol: "ESMTP",
    });
  }
});

Deno.test("msmtp logs in by CRAM-MD5 and SCRAM-SHA-256", async () => {
  await using folder = await TestFolder.create();
  const cwd = folder.path;
  await using server = await InteropServer.start(
    ["--self-signed", "--user", "alice:open sesame"],
    { cwd, listeners: ["submission"] },
  );
  const message = awkwardMessage("msmtp auth");
  const mechanisms = ["cram-md5", "scram-sha-256"];
  for (const mechanism of mechanisms) {
    await run("msmtp", [
      ...["--host=127.0.0.1", `--port=${server.port}`, `--auth=${mechanism}`],
      ...["--user=alice", "--passwordeval=echo open sesame", "--tls=on"],
      ...[
        "--tls-starttls=on",
        "--tls-certcheck=off",
        "--domain=client.example",
      ],
      ...["--from=sender@example.org", "--", "user@example.com"],
    ], { input: bytesOf(message.replaceAll("\r\n", "\n")) });
  }
  const stored = await readMaildir(`${cwd}/mail/user@example.com`);
  assertEquals(stored.length, mechanisms.length);
  for (const copy of stored) {
    assertStored(copy, {
      sent: message,
      from: "sender@example.org",
      protocol: "ESMTPSA",
    });
  }
});

Deno.test("s-nail sends into one mailbox file", async () => {
  await using folder = await TestFolder.create();
  const cwd = folder.path;
  await using server = await InteropServer.start(
    ["--store", "mbox:all.mbox"],
    { cwd },
  );
  // s-nail encodes what a mail system might change; the rest goes as it is.
  const plain = "First line\n\n..two dots\n.a\n\nlast line\n";
  const bodies = [
    { text: plain, sent: plain },
    {
      text: "First line\n.\nFrom here\n",
      sent: "First line\n=2E\n=46rom here\n",
    },
  ];
  for (const { text } of bodies) {
    await run("s-nail", [
      ...["-:/", "-S", "v15-compat", "-S", "smtp-auth=none"],
      ...["-S", `mta=smtp://127.0.0.1:${server.port}`],
      ...["-S", "hostname=client.example", "-r", "sender@example.org"],
      ...["-s", "From s-nail", "user@example.com", "other@example.com"],
    ], { input: text, env: { HOME: cwd } });
  }
  const stored = await readMbox(`${cwd}/all.mbox`);
  assertEquals(stored.length, bodies.length);
  for (const [index, message] of stored.entries()) {
    const [head = "", ...rest] = message.split("\n\n");
    assertEquals(rest.join("\n\n"), bodies[index]?.sent);
    assertMatch(head, /^Return-Path: <sender@example\.org>\nReceived: from /);
    assertStringIncludes(head, "\nSubject: From s-nail");
  }
});
