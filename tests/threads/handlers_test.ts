/** Handlers give the same answers and effects on the same thread and across threads. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { DenoTransport } from "../../lib/net/deno_transport.ts";
import { Certificate } from "../../lib/tls/certificate.ts";
import { proxyBlock, tlv } from "../support/proxy.ts";
import { TestClient } from "../support/server.ts";
import { startMode, testModes } from "../support/threads/server.ts";
import { concat, textOf } from "../support/bytes.ts";
import { until } from "../support/wait.ts";
import { replies } from "../../lib/protocol/replies.ts";

testModes("Handlers decide on addresses", async (mode) => {
  await using it = await startMode(mode);
  using client = await TestClient.connect(it.server);
  await client.reply();
  await client.expect(
    ["EHLO no", "550 5.7.1"],
    ["EHLO reply", "452-4.2.2 Two\n452 4.2.2 lines"],
    ["EHLO client.test", "250-mx.test"],
    ["MAIL FROM:<no@a.test>", "550 5.7.1"],
    ["MAIL FROM:<error@a.test>", "553 5.1.8 As an error"],
    ["MAIL FROM:<throws@a.test>", "450 4.7.1 Thrown"],
    ["MAIL FROM:<fault@a.test>", "451 4.3.0 Local error"],
    ["MAIL FROM:<number@a.test>", "451 4.3.0 Local error"],
    ["MAIL FROM:<unsendable@a.test>", "451 4.3.0 Local error"],
    ["MAIL FROM:<unclosable@a.test>", "451 4.3.0 Local error"],
    ["MAIL FROM:<deny@a.test>", "550 5.7.1 My own no"],
    ["MAIL FROM:<allow@a.test> SIZE=100", "250 2.1.0 My own yes"],
    ["RCPT TO:<no@b.test>", "550 5.1.1"],
    ["RCPT TO:<reply@b.test>", "452-4.2.2 Two\n452 4.2.2 lines"],
    ["RCPT TO:<throws@b.test>", "450 4.7.1 Thrown"],
    ["RCPT TO:<yes@b.test> NOTIFY=NEVER", "250 2.1.5"],
    ["RCPT TO:<deny@b.test>", "550 5.7.1 My own no"],
    ["RSET", "250"],
    [
      "XSTEPS",
      "250 connect helo(no) helo(reply) helo(client.test) " +
      "mail(no@a.test,) mail(error@a.test,) mail(throws@a.test,) " +
      "mail(fault@a.test,) mail(number@a.test,) mail(unsendable@a.test,) " +
      "mail(unclosable@a.test,) mail(deny@a.test,) " +
      "mail(allow@a.test,100) rcpt(no@b.test,) rcpt(reply@b.test,) " +
      "rcpt(throws@b.test,) rcpt(yes@b.test,NEVER) rcpt(deny@b.test,) reset",
    ].map((text) => text.replaceAll(",)", ",undefined)")) as [string, string],
  );
  const errors = it.records.filter(({ level }) => level === "error");
  assertEquals(errors.map(({ message }) => message), [
    ...Array(4).fill("onMailFrom failed"),
  ]);
  assertStringIncludes(errors[0]!.error!, "A fault of the handler");
});

testModes("Handlers see what a proxy tells, bytes included", async (mode) => {
  await using it = await startMode(mode, { proxyProtocol: ["127.0.0.1"] });
  using client = await TestClient.connect(it.server);
  const addresses = Uint8Array.of(192, 0, 2, 7, 127, 0, 0, 1, 48, 57, 0, 25);
  const vector = tlv(0x05, Uint8Array.of(0, 128, 255));
  const header = proxyBlock({ bytes: concat([addresses, vector]) });
  await client.send(textOf(header));
  await client.reply();
  await client.expect(["XPROXY", "250 undefined 5 0080ff"]);
});

testModes("Handlers see the encryption, bytes included", async (mode) => {
  const certificate = await Certificate.selfSigned({ names: ["mx.test"] });
  await using it = await startMode(mode, {
    certificate,
    listen: "127.0.0.1:0/smtps",
  });
  const { address, port } = it.server.addresses[0]!;
  const conn = await Deno.startTls(
    await Deno.connect({ hostname: address, port }),
    { hostname: "mx.test", caCerts: [certificate.toPem()] },
  );
  using client = new TestClient(new DenoTransport(conn));
  await client.reply();
  await client.expect(["XTLS", "250 TLS true undefined"]);
});

testModes("Handlers rewrite, swallow and end", async (mode) => {
  await using it = await startMode(mode);
  using client = await TestClient.connect(it.server);
  await client.reply();
  await client.expect(
    ["EHLO client.test", "250-"],
    ["XREWRITE", "250 2.1.5 Name <rewritten@x>"],
    ["VRFY no", "550"],
    ["EXPN all", "250-2.1.5 <a@x>\n250 2.1.5 <b@x>"],
    ["EXPN none", "252"],
    ["XSESSION", "250 client.test true ready  0 smtp false"],
    ["XFAULT", "451 4.3.0"],
    ["NOOP", "250"],
    ["XCLOSE", "421 Closed by the handler"],
  );
  assertEquals(await client.rest(), "");
  await until(() => it.records.some(({ event }) => event === "disconnect"));
  const ends = it.records.filter(({ message }) =>
    message === "onDisconnect failed"
  );
  assertEquals(ends.length, 1);
  assertStringIncludes(ends[0]!.error!, "refused after connect");
});

testModes("Handlers see messages and change them", async (mode) => {
  await using it = await startMode(mode, { memoryLimit: 4096 });
  using client = await TestClient.connect(it.server);
  await client.envelope("yes@b.test", "you@b.test");
  const lines = `${"x".repeat(78)}\r\n`.repeat(2000);
  const again = async () =>
    await client.expect(["MAIL FROM:<a@a.test>", "250"], [
      "RCPT TO:<you@b.test>",
      "250",
    ]);
  assertEquals(
    await client.data(`Subject: measure\r\n\r\n${lines}`),
    `250 ${20 + lines.length + 2} false true`,
  );
  await again();
  assertEquals(
    (await client.data("X-Gone: 1\r\nSubject: edit\r\n\r\n..dot")).slice(0, 9),
    "250 2.0.0",
  );
  await again();
  assertEquals(
    await client.data("Subject: header no\r\n\r\nx"),
    String(replies.refusedHeaders),
  );
  await again();
  await client.data("Subject: replace\r\n\r\nx");
  await again();
  await client.data(`Subject: replace large\r\n\r\nx`);
  await again();
  assertEquals(
    await client.data("Subject: error\r\n\r\nx"),
    "553 5.1.8 As an error",
  );
  await again();
  assertEquals(
    await client.data("Subject: fault\r\n\r\nx"),
    String(replies.localError),
  );
  const texts = it.store.messages.map(({ text }) => text);
  assertEquals(texts[0]!.length, 20 + lines.length + 2);
  assertEquals(texts[1], "X-First: 1\r\nSubject: edited\r\n\r\n.dot\r\n");
  assertEquals(texts[2], "Subject: replaced\r\n\r\nAnother\r\n");
  assertEquals(
    texts[3],
    `Subject: replaced\r\n\r\n${lines.repeat(5)}`,
  );
  assert(it.records.some(({ error }) => error?.includes("A fault of")));
  const steps = await client.say("XSTEPS");
  assertStringIncludes(steps, "start(2) headers(1) message(tagged)");
});

testModes("LMTP handlers answer for each recipient", async (mode) => {
  await using it = await startMode(mode);
  using client = await TestClient.connect(it.server, 1);
  await client.reply();
  const begin = async (...recipients: string[]) => {
    await client.expect(["LHLO x", "250"], ["MAIL FROM:<a@b.test>", "250"]);
    for (const one of recipients) {
      await client.expect([`RCPT TO:<${one}@b.test>`, "250"]);
    }
  };
  await begin("a", "b");
  assertEquals(await client.data("Subject: each\r\n\r\nx"), "250 For number 0");
  assertEquals(await client.reply(), "251 For number 1");
  await begin("partial", "b");
  assertEquals(await client.data("Subject: x\r\n\r\nx"), "552 5.2.2 Full");
  assertEquals((await client.reply()).slice(0, 9), "250 2.0.0");
});

testModes("Handlers choose stores", async (mode) => {
  const folder = await Deno.makeTempDir();
  Deno.env.set("FOLDER", folder);
  try {
    await using it = await startMode(mode);
    using client = await TestClient.connect(it.server);
    await client.envelope("in+maildir@b.test");
    const begin = (to: string) =>
      client.expect(["MAIL FROM:<a@a.test>", "250"], [
        `RCPT TO:<${to}@b.test>`,
        "250",
      ]);
    assertEquals((await client.data("Subject: 1\r\n\r\nx")).slice(0, 3), "250");
    await begin("in+file");
    assertEquals((await client.data("Subject: 2\r\n\r\nx")).slice(0, 3), "250");
    for (const _ of [1, 2]) {
      await begin("in+append");
      await client.data("Subject: 3\r\n\r\nx");
    }
    for (const to of ["full", "two"]) {
      await begin(to);
      assertEquals(
        (await client.data("Subject: 4\r\n\r\nx")).slice(0, 9),
        "452 4.3.1",
      );
    }
    const maildir = await Array.fromAsync(
      Deno.readDir(`${folder}/chosen/in+maildir@b.test/new`),
    );
    assertEquals(maildir.length, 1);
    assertStringIncludes(
      await Deno.readTextFile(`${folder}/chosen.eml`),
      "Subject: 2\r\n\r\nx\r\n",
    );
    const appended = await Deno.readTextFile(`${folder}/appended.mbox`);
    assertEquals(appended.match(/^From a@a\.test /gm)?.length, 2);
    assertEquals(it.store.messages.length, 0);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
