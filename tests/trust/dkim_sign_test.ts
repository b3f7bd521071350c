/**
 * Signing: which fields, in what form, and that nothing can be added or changed
 * afterwards.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc6376#section-5 | RFC 6376 section 5},
 * {@link https://www.rfc-editor.org/rfc/rfc8463#appendix-A | RFC 8463 appendix A}
 */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { Buffer } from "node:buffer";
import { type DkimKey, DkimPrivateKey, signDkim } from "../../lib/trust/mod.ts";
import {
  latin1Bytes,
  rawFields,
  signedText,
} from "../../lib/trust/canonical_header.ts";
import { bytesOf } from "../support/bytes.ts";
import { keyTable, resultsOf } from "../support/dkim_table.ts";

const rsa = await DkimPrivateKey.generate("rsa");
const ed25519 = await DkimPrivateKey.generate("ed25519");
const RSA: DkimKey = { domain: "example.com", selector: "r", key: rsa };
const ED: DkimKey = { domain: "example.com", selector: "e", key: ed25519 };
const DNS = keyTable({
  "r._domainkey.example.com": rsa,
  "e._domainkey.example.com": ed25519,
});

const MESSAGE = [
  "Received: from a by b; Mon, 1 Jan 2024 00:00:00 +0000",
  "From: Ann <ann@example.com>",
  "To: bob@example.org,",
  "\tcarl@example.net",
  "Subject:  hello   world ",
  "List-Id: <list.example.com>",
  "",
  "Text  with \t blanks \t",
  "",
  ". dots, and \xe9",
  "",
  "",
  "",
].join("\r\n");

async function signed(
  text: string,
  key: DkimKey | readonly DkimKey[],
): Promise<string> {
  return await signDkim(bytesOf(text), key) + text;
}

/** The value of a tag, without white space. */
function tag(field: string, name: string): string | undefined {
  return new RegExp(`[; ]${name}=([^;]*)`).exec(
    field.replace(/[\r\n \t]+/g, " "),
  )?.[1]?.replaceAll(" ", "");
}

Deno.test("several keys make a signature each, and both hold", async () => {
  const message = await signed(MESSAGE, [RSA, ED]);
  assertEquals(await resultsOf(bytesOf(message), DNS), [
    "pass rsa-sha256 r",
    "pass ed25519-sha256 e",
  ]);
});

Deno.test("the field is folded at 78 columns and says what it must", async () => {
  const before = Math.floor(Date.now() / 1000);
  const field = await signDkim(bytesOf(MESSAGE), {
    ...RSA,
    expireAfterMs: 86_400_000,
  });
  assert(field.endsWith("\r\n"));
  for (const line of field.split("\r\n")) assert(line.length <= 78, line);
  assertMatch(field, /^DKIM-Signature: v=1; a=rsa-sha256; c=relaxed\/relaxed;/);
  const time = Number(tag(field, "t"));
  assert(time >= before && time <= before + 60);
  assertEquals(Number(tag(field, "x")), time + 86_400);
  assertEquals(tag(field, "l"), undefined);
  assertEquals(
    tag(field, "h"),
    "from:from:to:to:cc:subject:subject:date:reply-to:content-type:list-id",
  );
});

Deno.test("every cut of the message makes the same signature", async () => {
  const whole = bytesOf(MESSAGE);
  const hashes = new Set<string | undefined>();
  for (let at = 0; at <= whole.length; at++) {
    const stream = ReadableStream.from([whole.slice(0, at), whole.slice(at)]);
    const field = await signDkim(stream, ED);
    hashes.add(`${tag(field, "bh")} ${tag(field, "h")}`);
  }
  assertEquals(hashes.size, 1);
});

Deno.test("line ends of a file count as CRLF", async () => {
  const field = await signDkim(bytesOf(MESSAGE.replaceAll("\r\n", "\n")), ED);
  assertEquals(await resultsOf(bytesOf(field + MESSAGE), DNS), [
    "pass ed25519-sha256 e",
  ]);
});

Deno.test("a field that readers see cannot be added, changed or removed", async () => {
  const message = await signed(MESSAGE, ED);
  const changes: string[] = [
    ...["From: eve@example.com", "Subject: other", "To: eve@example.com"],
    ...["Cc: eve@example.com", "Date: now", "Reply-To: eve@example.com"],
    "Content-Type: text/html",
  ].flatMap((field) => [
    `${field}\r\n${message}`,
    message.replace("\r\n\r\n", `\r\n${field}\r\n\r\n`),
  ]);
  changes.push(
    message.replace("carl", "karl"),
    message.replace("dots", "Dots"),
  );
  for (const changed of changes) {
    assertEquals(
      await resultsOf(bytesOf(changed), DNS),
      ["fail ed25519-sha256 e"],
      changed.slice(0, 60),
    );
  }
});

Deno.test("what other hosts add or change does not matter", async () => {
  const message = await signed(MESSAGE, ED);
  const changes = [
    `Received: from c by d\r\nReturn-Path: <ann@example.com>\r\n${message}`,
    `Authentication-Results: mx; none\r\n${message}`,
    message.replace("Subject:  hello   world ", "subject: hello\r\n world"),
    message.replace("blanks \t", "blanks"),
  ];
  for (const changed of changes) {
    assertEquals(await resultsOf(bytesOf(changed), DNS), [
      "pass ed25519-sha256 e",
    ]);
  }
});

Deno.test("messages of every shape can be signed", async () => {
  const shapes = [
    "From: ann@example.com\r\n",
    "From: ann@example.com\r\n\r\n",
    "From: ann@example.com\r\n\r\n\r\n\r\n",
    "From: ann@example.com\r\n\r\nno line end",
    "From: ann@example.com\r\nX-\xe9: \xe9\r\n\r\n\xe9\r\n",
    `From: ann@example.com\r\n\r\n${"x".repeat(200_000)}\r\n`,
  ];
  for (const shape of shapes) {
    const message = await signed(shape, [RSA, ED]);
    const whole = message.includes("\r\n\r\n") ? message : `${message}\r\n`;
    assertEquals(await resultsOf(bytesOf(whole), DNS), [
      "pass rsa-sha256 r",
      "pass ed25519-sha256 e",
    ]);
  }
});

Deno.test("the fields may be chosen; From is always among them", async () => {
  const field = await signDkim(bytesOf(MESSAGE), {
    ...ED,
    headers: ["Subject", "X-Absent"],
  });
  assertEquals(tag(field, "h"), "from:from:subject:subject");
});

Deno.test("names are A-labels in lower case", async () => {
  const field = await signDkim(bytesOf(MESSAGE), {
    ...ED,
    domain: "Bücher.Example",
    selector: "2026",
  });
  assertEquals(tag(field, "d"), "xn--bcher-kva.example");
  assertEquals(tag(field, "s"), "2026");
});

Deno.test("options that cannot be used are errors that show no key", async () => {
  const pem = ed25519.toPem();
  const table: readonly [object, string][] = [
    [{ ...ED, domain: "" }, "domain"],
    [{ ...ED, domain: "a b" }, "domain"],
    [{ ...ED, domain: "x;d=evil.test" }, "domain"],
    [{ ...ED, selector: "a\r\nb" }, "selector"],
    [{ ...ED, key: 7 }, "key"],
    [{ ...ED, key: pem.slice(0, -30) }, "Cannot read the DKIM key"],
    [{ ...ED, headers: ["Received"] }, "headers[0]"],
    [{ ...ED, headers: ["a:b"] }, "headers[0]"],
    [{ ...ED, expireAfterMs: 10 }, "expireAfterMs"],
    [{ ...ED, privateKey: pem }, "no such option"],
    [[ED, ED], "two keys"],
  ];
  for (const [key, reason] of table) {
    const error = await assertRejects(
      () => signDkim(bytesOf(MESSAGE), key as DkimKey),
      Error,
      reason,
    );
    assert(!Deno.inspect(error).includes(pem.split("\n")[1]!));
  }
});

Deno.test("a message that cannot be signed is an error", async () => {
  const table = [
    ["Subject: x\r\n\r\n", "without From"],
    ["", "without From"],
    ["From: a@example.com\r\n".repeat(60_000), "header over 1 MiB"],
    [`${"From: a@example.com\r\n".repeat(1001)}\r\n`, "1000 fields"],
  ] as const;
  for (const [text, reason] of table) {
    await assertRejects(() => signDkim(bytesOf(text), ED), Error, reason);
  }
});

Deno.test("the key of RFC 8463 signs its example as the RFC does", async () => {
  const message = `DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

`.replaceAll("\n", "\r\n");
  const seed = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
  const der = Buffer.concat([
    Buffer.from("302e020100300506032b657004220420", "hex"),
    Buffer.from(seed, "base64"),
  ]);
  const key = await DkimPrivateKey.load(
    `-----BEGIN PRIVATE KEY-----\n${
      der.toString("base64")
    }\n-----END PRIVATE KEY-----\n`,
  );
  const [own, ...fields] = rawFields(bytesOf(message));
  const names = tag(own!.text, "h")!.split(":");
  const text = signedText(fields, { names, form: "relaxed", own: own! });
  const made = Buffer.from(await key.sign(latin1Bytes(text)));
  assertEquals(made.toString("base64"), tag(own!.text, "b"));
});
