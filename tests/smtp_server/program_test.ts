/**
 * A program that was written against the types of the package smtp-server
 * compiles and runs here: `program.ts`, with its import changed.
 */

import { assertEquals } from "@std/assert";
import { Certificate } from "../../lib/tls/certificate.ts";
import { ScriptedClient } from "../../lib/testing/mod.ts";
import { dial, plainResponse, secure } from "../support/tls.ts";
import type { SmtpServer } from "../../lib/server/server.ts";
import { within } from "../support/wait.ts";
import { options, Program, seen } from "./program.ts";

Deno.test("a TypeScript program of that package runs with another import", async () => {
  const certificate = await Certificate.selfSigned({ names: ["mx.example"] });
  const tls = {
    cert: certificate.toPem(),
    key: [{ pem: certificate.keyPem() }],
  };
  const program = new Program(options(tls, { "mx.example": tls }));
  const port = await within(
    new Promise<number>((done) => program.begin(done)),
    "the port",
  );
  const place = { address: "127.0.0.1", port };
  const transport = await dial({ addresses: [place] } as unknown as SmtpServer);
  await using plain = await ScriptedClient.connect(transport);
  await plain.expect(220);
  await plain.expect(250, "EHLO c.example");
  await plain.expect(220, "STARTTLS");
  using encrypted = await secure(transport, { serverName: "mx.example" });
  const { client } = encrypted;
  const replies: string[] = [];
  for (
    const line of [
      "EHLO C.example",
      `AUTH PLAIN ${plainResponse("ann", "secret")}`,
      "VRFY ann",
      "MAIL FROM:<a@b.example> SIZE=12 RET=HDRS",
      "RCPT TO:<deny@d.example>",
      "RCPT TO:<c@d.example> NOTIFY=NEVER",
      "DATA",
      "Subject: x\r\n\r\ny\r\n.",
      "QUIT",
    ]
  ) replies.push(await client.say(line));
  assertEquals(replies.map((reply) => reply.slice(0, 3)), [
    ...["250", "235", "500", "250", "550", "250", "354", "250", "221"],
  ]);
  assertEquals(replies.at(-2)?.trim(), "250 Kept by ann");
  await within(new Promise<void>((done) => program.end(done)), "the end");
  assertEquals(seen, [
    "connect host-127-0-0-1.example",
    "event 127.0.0.1 host-127-0-0-1.example",
    "secure true mx.example",
    "auth PLAIN ann secret",
    "mail a@b.example 12 EHLO HDRS",
    "rcpt c@d.example NEVER",
    "data a@b.example 1 17",
    "close c.example ESMTPSA",
    "event close",
  ]);
});
